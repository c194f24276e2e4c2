import numpy as np
import torch

from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.randomness import image_noise, uniform

SHAPE = (3, 4, 5)
CPU = torch.device("cpu")


def test_numbers_belong_to_seed_group_step_and_purpose() -> None:
    """Pinned to the parts: stored results depend on them."""
    assert StepRandom(1, 2, 3, ()).number("scale") == uniform("scale", 1, 2, 3)
    assert StepRandom(1, 2, 3, ("a", "b")).number("scale") == uniform("scale", 1, 2, 3)
    drawn = {
        StepRandom(seed, group, step, (), copy, restart, member).number(what)
        for seed in (0, 1)
        for group in (0, 1)
        for step in (0, 1, 2)
        for copy in (0, 1)
        for restart in (0, 1)
        for member in (0, 1)
        for what in ("scale", "top")
    }
    assert len(drawn) == 2 * 2 * 3 * 2 * 2 * 2 * 2
    assert all(0 <= value < 1 for value in drawn)


def test_nothing_reads_or_moves_the_global_generator() -> None:
    random = StepRandom(0, 0, 0, ("a", "b"))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    shared = random.number("x")
    first = random.start_noise(SHAPE, CPU), random.neighbour_noise(0, SHAPE, CPU), shared
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(random.start_noise(SHAPE, CPU), first[0])
    assert torch.equal(random.neighbour_noise(0, SHAPE, CPU), first[1])
    assert random.number("x") == first[2]


def test_a_start_belongs_to_seed_image_and_restart_alone() -> None:
    noise = StepRandom(3, 0, 0, ("a", "b")).start_noise(SHAPE, CPU)
    assert torch.equal(noise[1], image_noise(3, "b", SHAPE))
    assert torch.equal(StepRandom(3, 5, 7, ("b", "a")).start_noise(SHAPE, CPU), noise.flip(0))
    again = StepRandom(3, 0, 0, ("a", "b"), restart=1).start_noise(SHAPE, CPU)
    assert (again != noise).all((1, 2, 3)).all()


def test_neighbours_differ_by_number_step_image_and_restart() -> None:
    def noise(neighbour: int, step: int = 0, restart: int = 0, name: str = "a") -> torch.Tensor:
        return StepRandom(0, 0, step, (name,), restart=restart).neighbour_noise(
            neighbour, SHAPE, CPU
        )

    drawn = [noise(0), noise(1), noise(0, 1), noise(0, 0, 1), noise(0, name="b")]
    drawn.append(StepRandom(0, 0, 0, ("a",)).start_noise(SHAPE, CPU))
    assert len({tuple(n.flatten().tolist()) for n in drawn}) == 6
    assert all(n.abs().max() <= 1 for n in drawn)
    both = StepRandom(0, 4, 0, ("b", "a")).neighbour_noise(0, SHAPE, CPU)
    assert torch.equal(both[1], noise(0)[0])


def test_a_generator_belongs_to_its_image_and_purpose() -> None:
    random = StepRandom(0, 0, 2, ("a",))
    first = torch.rand(5, generator=random.generator("admix", "a"))
    assert torch.equal(first, torch.rand(5, generator=random.generator("admix", "a")))
    for other in (
        random.generator("spectrum", "a"),
        random.generator("admix", "b"),
        StepRandom(0, 0, 3, ("a",)).generator("admix", "a"),
        StepRandom(0, 0, 2, ("a",), copy=1).generator("admix", "a"),
    ):
        assert not torch.equal(first, torch.rand(5, generator=other))
    of_group = StepRandom(0, 9, 2, ("a",)).generator("admix", "a")
    assert torch.equal(first, torch.rand(5, generator=of_group))


def test_low_discrepancy_numbers_continue_over_copies_and_steps() -> None:
    points = [
        StepRandom(0, 0, step, (), copy=copy).low_discrepancy("scale", 2)
        for step in range(5)
        for copy in range(2)
    ]
    gaps = np.diff(points) % 1
    assert np.allclose(gaps, (5**0.5 - 1) / 2)
    starts = {
        StepRandom(seed, group, 0, (), restart=restart, member=member).low_discrepancy("scale", 1)
        for seed in (0, 1)
        for group in (0, 1)
        for restart in (0, 1)
        for member in (0, 1)
    }
    assert len(starts) == 16
