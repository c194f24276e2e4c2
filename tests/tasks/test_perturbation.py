import numpy as np
import pytest
import torch

from tasks.perturbation import STATISTICS, levels, quantise, statistics


@pytest.mark.parametrize(
    ("eps", "bound"), [(8 / 255, 8), (0.03, 7), (7.99 / 255, 7), (1 / 255, 1), (0.0, 0), (1.0, 255)]
)
def test_the_integer_bound_is_the_largest_whole_number_of_levels(eps: float, bound: int) -> None:
    assert levels(eps) == bound


def test_every_whole_number_of_levels_survives_float_arithmetic() -> None:
    assert [levels(k / 255) for k in range(256)] == list(range(256))


def test_values_are_rounded_not_truncated() -> None:
    clean = np.full((1, 3, 1, 2), 100, np.uint8)
    raw = torch.tensor([101.6, 98.4]).expand(1, 3, 1, 2) / 255
    assert quantise(raw, clean, 8 / 255)[0, 0, 0].tolist() == [102, 98]


@pytest.mark.parametrize("eps", [0.03, 2 / 255, 0.001, 0.05, 7.5 / 255])
def test_eight_bit_examples_never_leave_the_integer_ball(eps: float) -> None:
    generator = np.random.default_rng(0)
    clean = generator.integers(0, 256, (4, 3, 9, 11), np.uint8)
    signs = torch.tensor(generator.choice([-1.0, 1.0], clean.shape)).float()
    extreme = (torch.tensor(clean).float() / 255 + eps * signs).clamp(0, 1)
    stored = quantise(extreme, clean, eps)
    assert stored.dtype == np.uint8
    assert np.abs(stored.astype(int) - clean).max() == int(np.floor(eps * 255 + 1e-6))


def test_an_image_that_was_not_changed_comes_back_as_it_was() -> None:
    clean = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 3, 16, 16)
    assert np.array_equal(quantise(torch.tensor(clean).float() / 255, clean, 0.0), clean)


def test_statistics_of_a_perturbation_by_hand() -> None:
    clean = np.full((2, 3, 2, 2), 100, np.uint8)
    adversarial = clean.copy()
    adversarial[0, 0] += 8
    adversarial[0, 1] -= 4
    found = statistics(adversarial, clean, 8 / 255)
    assert set(found) == set(STATISTICS)
    rms = ((64 + 16 + 0) / 3) ** 0.5
    assert found["linf"] == [8, 0]
    assert found["rms"] == pytest.approx([rms, 0])
    assert found["mean_abs"] == pytest.approx([4 / 8, 0])
    assert found["at_bound"] == pytest.approx([1 / 3, 0])
    assert found["psnr"][0] == pytest.approx(20 * np.log10(255 / rms))
    assert found["psnr"][1] == np.inf


def test_with_eps_zero_nothing_is_at_the_bound() -> None:
    clean = np.zeros((1, 3, 4, 4), np.uint8)
    found = statistics(clean, clean, 0.0)
    assert found["at_bound"] == [0]
    assert found["mean_abs"] == [0]
