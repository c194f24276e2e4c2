"""Dynamic scaling: which ratios, how they are spread, what they cost."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import relative_cost
from segtransfer.tasks.attacks.transforms.scaling import DynamicScaling
from segtransfer.tasks.attacks.transforms.views import View
from tests.tasks.attacks.specs import step_context

RATIOS = [0.5, 0.6, 0.83, 1.0, 1.21, 1.5, 2.0]
DRAWS = (np.arange(4000) + 0.5) / 4000


def scaled(
    images: torch.Tensor, *, step: int = 0, divisor: int = 1, group: int = 0, **fields: Any
) -> View:
    context = step_context(images, step=step, divisor=divisor, group=group)
    return DynamicScaling.model_validate(fields).view(images, context)


def ratios_of(
    count: int, *, group: int = 0, shape: tuple[int, int] = (200, 300), **fields: Any
) -> np.ndarray:
    images = torch.zeros(1, 1, *shape)
    return np.array([scaled(images, step=t, group=group, **fields).ratio for t in range(count)])


@pytest.mark.parametrize(("ratio", "share"), [(0.5, 0.0), (0.45, 0.19), (0.4, 0.36), (0.8, 0.0)])
def test_below_one_half_source_pixels_lose_their_gradient(ratio: float, share: float) -> None:
    for antialias in (False, True):
        x = torch.rand(1, 3, 200, 200, requires_grad=True)
        scaled(x, low=ratio, width=0, antialias=antialias).images.sum().backward()
        assert x.grad is not None
        lost = (x.grad == 0).float().mean().item()
        assert lost == pytest.approx(0 if antialias else share, abs=0.01)


def test_recorded_ratio_equals_the_realised_ratio() -> None:
    seen = scaled(torch.rand(1, 3, 30, 50), low=0.5, width=0, divisor=8)
    assert seen.images.shape[-2:] == (16, 24)
    assert seen.ratio == pytest.approx((16 * 24 / 1500) ** 0.5)
    for handling in ("native", "back"):
        other = scaled(torch.rand(1, 3, 30, 50), low=0.5, width=0, divisor=8, handling=handling)
        assert other.images.shape[-2:] == (30, 50)
        assert other.ratio == seen.ratio


@pytest.mark.parametrize("divisor", [1, 8])
@pytest.mark.parametrize("handling", ["whole", "native", "back"])
def test_sizes_are_multiples_of_the_size_divisor(handling: str, divisor: int) -> None:
    images = torch.rand(1, 3, 40, 64)
    for step in range(20):
        seen = scaled(images, step=step, divisor=divisor, handling=handling)
        height, width = seen.images.shape[-2:]
        assert height % divisor == 0
        assert width % divisor == 0
        if handling != "whole":
            assert (height, width) == (40, 64)


@pytest.mark.parametrize(("low", "width"), [(0.5, 1.0), (0.75, 0.5), (0.5, 1.5), (1.25, 0)])
@pytest.mark.parametrize("law", ["uniform", "log-uniform"])
@pytest.mark.parametrize("schedule", ["random", "low-discrepancy"])
def test_realised_ratios_lie_in_the_range_and_follow_the_law(
    schedule: str, law: str, low: float, width: float
) -> None:
    found = ratios_of(150, low=low, width=width, law=law, schedule=schedule, shape=(400, 600))
    assert found.min() >= low - 2e-3
    assert found.max() <= low + width + 2e-3
    if not width:
        return
    quantiles = (found - low) / width
    if law == "log-uniform":
        quantiles = np.log(found / low) / np.log(1 + width / low)
    # Kolmogorov-Smirnov: 1.36 / sqrt(150) = 0.11 at 5 %; a sequence made to be even does better.
    expected = (np.arange(150) + 0.5) / 150
    deviation = np.abs(np.sort(quantiles) - expected).max()
    assert deviation < (0.11 if schedule == "random" else 0.03)


def test_laws_by_their_formula() -> None:
    uniform = DynamicScaling(low=0.5, width=1.5)
    assert [uniform.ratio(u) for u in (0, 0.5, 1)] == [0.5, 1.25, 2]
    logarithmic = DynamicScaling(low=0.5, width=1.5, law="log-uniform")
    assert [logarithmic.ratio(u) for u in (0, 0.5, 1)] == pytest.approx([0.5, 1, 2])
    assert np.median([logarithmic.ratio(u) for u in DRAWS]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("levels", [2, 3, 5, 11])
def test_discrete_levels_are_equally_likely_ends_included(levels: int) -> None:
    spec = DynamicScaling(low=0.5, width=1.0, law="discrete", levels=levels)
    values, counts = np.unique([spec.ratio(u) for u in DRAWS], return_counts=True)
    assert values == pytest.approx(np.linspace(0.5, 1.5, levels))
    assert counts.min() >= 4000 / levels - 1
    assert counts.max() <= 4000 / levels + 1


def test_a_grid_rounds_ratios_to_its_multiples() -> None:
    spec = DynamicScaling(low=0.5, width=1.0, grid=0.25)
    values, counts = np.unique([spec.ratio(u) for u in DRAWS], return_counts=True)
    assert values.tolist() == [0.5, 0.75, 1.0, 1.25, 1.5]
    assert counts[1:-1] == pytest.approx(1000, abs=2)
    assert counts[[0, -1]] == pytest.approx(500, abs=2)


def test_a_grid_stays_within_the_range_and_leaves_a_choice() -> None:
    spec = DynamicScaling(low=0.5, width=0.3, grid=0.1)
    assert {round(spec.ratio(u), 9) for u in DRAWS} == {0.5, 0.6, 0.7, 0.8}
    with pytest.raises(ValidationError, match=r"grid 0\.5 has too few multiples in"):
        DynamicScaling(low=0.75, width=0.5, grid=0.5)


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("steps", [10, 20, 60])
def test_low_discrepancy_ratios_are_spread_more_evenly_than_random_ones(
    steps: int, copies: int
) -> None:
    """Star discrepancy of the first n scales: in the mean over groups below half of what random
    ones have, in every group below 2.2 / n^0.9."""

    def discrepancy(points: list[float]) -> float:
        ordered, n = np.sort(points), len(points)
        return max(((np.arange(n) + 1) / n - ordered).max(), (ordered - np.arange(n) / n).max())

    even, random = [], []
    for group in range(8):
        randoms = [
            StepRandom(0, group, step, (), copy=copy)
            for step in range(steps)
            for copy in range(copies)
        ]
        points = [d.low_discrepancy("scale", copies) for d in randoms]
        assert len(set(points)) == steps * copies
        even.append(discrepancy(points))
        random.append(discrepancy([d.number("scale") for d in randoms]))
    assert np.mean(even) < 0.6 * np.mean(random)
    assert max(even) < 2.2 / (steps * copies) ** 0.9


def test_anisotropy_keeps_the_area_and_stays_in_its_range() -> None:
    images = torch.zeros(1, 1, 400, 600)
    aspects = []
    for step in range(120):
        seen = scaled(images, step=step, low=0.8, width=0, anisotropy=0.5)
        height, width = seen.images.shape[-2] / 400, seen.images.shape[-1] / 600
        assert height * width == pytest.approx(0.64, rel=0.01)
        aspects.append(height / width)
    assert min(aspects) >= 1 / 1.5 - 0.01
    assert max(aspects) <= 1.5 + 0.01
    spread = np.sort(np.log(aspects) / np.log(1.5))  # uniform in [-1, 1]
    assert np.abs(spread - np.linspace(-1, 1, 120)).max() < 0.25
    assert scaled(images, low=0.8, width=0).images.shape[-2:] == (320, 480)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_step_is_scaled_with_its_probability(probability: float) -> None:
    images = torch.zeros(1, 1, 20, 30)
    seen = [scaled(images, step=t, low=2, width=0.5, probability=probability) for t in range(300)]
    share = np.mean([view.images is not images for view in seen])
    assert share == pytest.approx(probability, abs=0.08)
    assert all((v.ratio == 1) == (v.images is images) for v in seen)


def test_probability_leaves_the_scales_that_are_drawn_alone() -> None:
    all_steps = ratios_of(40, low=1.5, width=1)
    some = ratios_of(40, low=1.5, width=1, probability=0.5)
    assert (some[some != 1] == all_steps[some != 1]).all()


@pytest.mark.parametrize(("low", "whole"), [(1.5, False), (0.5, True)])
def test_native_shows_a_window_that_reaches_every_place(low: float, whole: bool) -> None:
    """Zoomed in, the window over the scaled image moves; zoomed out, the image in the canvas."""
    images, corners = torch.ones(1, 1, 20, 32), set()
    numbers = torch.arange(640).view(1, 20, 32) + 1000
    for step in range(300):
        view = scaled(images, step=step, low=low, width=0, handling="native")
        assert view.images.shape == images.shape
        assert view.whole == whole
        labels = view.labels(numbers)[0]
        assert (labels != 255).float().mean() == pytest.approx(1 if not whole else 0.25, abs=0.01)
        assert ((view.images[0, 0] == 0) == (labels == 255)).all()
        place = (labels != 255).nonzero()[0].tolist() if whole else [int(labels[0, 0])]
        corners.add(tuple(place))
    if whole:
        tops, lefts = {c[0] for c in corners}, {c[1] for c in corners}
        assert (tops, lefts) == (set(range(11)), set(range(17)))
    else:
        first = {(c[0] - 1000) // 32 for c in corners}
        assert (min(first), max(first)) == (0, 7)  # the tenth of 30 rows is the seventh of 20


def test_back_blurs_in_place() -> None:
    images = torch.rand(1, 3, 20, 32)
    view = scaled(images, low=0.5, width=0, handling="back")
    logits = torch.rand(1, 2, 20, 32)
    assert view.images.shape == images.shape
    assert view.logits(logits) is logits
    assert not torch.equal(view.images, images)
    assert torch.equal(scaled(images, low=1, width=0, handling="back").images, images)


def test_scales_are_drawn_from_seed_group_step_and_copy_alone() -> None:
    assert (ratios_of(10) == ratios_of(10)).all()
    assert (ratios_of(10) != ratios_of(10, group=1)).all()
    # Neither other options nor the count of copies move what is drawn.
    assert (ratios_of(10, scales=3) == ratios_of(10)).all()
    assert (ratios_of(10, antialias=True) == ratios_of(10)).all()
    assert (ratios_of(10, handling="native") == ratios_of(10)).all()


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        ({"low": 0.5, "width": 1.0}, 13 / 12),
        ({"low": 0.5, "width": 1.5}, 1.75),
        ({"low": 0.75, "width": 0.5}, 49 / 48),
        ({"low": 0.5, "width": 1.0, "scales": 3}, 13 / 4),
        ({"low": 2, "width": 0, "probability": 0.25}, 1.75),
        ({"low": 0.5, "width": 1, "law": "discrete", "levels": 2}, (0.25 + 2.25) / 2),
        ({"low": 0.5, "width": 1, "handling": "native"}, 1),
        ({"low": 0.5, "width": 1, "handling": "back", "scales": 2}, 2),
        ({"low": 2, "width": 0, "law": "log-uniform"}, 4),
    ],
    ids=str,
)
def test_the_relative_cost_is_the_mean_of_the_squared_ratio(
    fields: dict[str, Any], cost: float
) -> None:
    assert relative_cost((DynamicScaling(**fields),)) == pytest.approx(cost)


@pytest.mark.parametrize("law", ["uniform", "log-uniform", "discrete"])
@pytest.mark.parametrize("levels", [3, 49, 98])
def test_relative_cost_equals_the_mean_area_of_the_law(law: str, levels: int) -> None:
    spec = DynamicScaling(low=0.5, width=1.5, law=law, levels=levels)  # type: ignore[arg-type]
    draws = (np.arange(levels * 2000) + 0.5) / (levels * 2000)
    mean = np.mean([spec.ratio(u) ** 2 for u in draws])
    assert spec.relative_cost == pytest.approx(mean, rel=1e-6)
