"""Input diversity: sizes, places, probability."""

from typing import Any

import numpy as np
import pytest
import torch

from segtransfer.tasks.attacks.transforms import relative_cost
from segtransfer.tasks.attacks.transforms.diversity import InputDiversity, ResizedDiversity
from segtransfer.tasks.attacks.transforms.views import View
from tests.tasks.attacks.specs import step_context


def diverse(
    images: torch.Tensor, kind: str, *, step: int = 0, divisor: int = 1, **fields: Any
) -> View:
    spec = {"di": InputDiversity, "rdi": ResizedDiversity}[kind].model_validate(fields)
    return spec.view(images, step_context(images, step=step, divisor=divisor))


def shown(view: View, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of what the view shows of the image."""
    labels = view.labels(torch.ones(1, *shape, dtype=torch.int64))[0]
    rows, columns = (labels == 1).any(1).nonzero(), (labels == 1).any(0).nonzero()
    top, left = int(rows.min()), int(columns.min())
    height, width = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
    assert (labels[top : top + height, left : left + width] == 1).all()
    return top, left, height, width


def test_di_resizes_to_the_range_and_pads_at_every_place() -> None:
    images, found = torch.ones(1, 3, 20, 30), []
    for step in range(400):
        view = diverse(images, "di", step=step, low=1, high=1.3, probability=1)
        assert view.images.shape[-2:] == (26, 39)
        top, left, height, width = shown(view, (20, 30))
        assert view.images[..., top : top + height, left : left + width].allclose(torch.ones(1))
        assert view.images.sum() == pytest.approx(3 * height * width, rel=1e-5)
        assert view.ratio == pytest.approx((height * width / 600) ** 0.5)
        assert height / 20 == pytest.approx(width / 30, abs=0.05)
        found.append((top, left, height, width))
    tops, lefts, heights, _ = (np.array(n) for n in zip(*found, strict=True))
    assert set(heights) == set(range(20, 27))
    small = heights <= 21
    assert set(tops[small]) >= set(range(6))
    assert lefts.max() >= 8
    assert (tops + heights <= 26).all()


def test_rdi_is_di_resized_back() -> None:
    images = torch.rand(1, 3, 20, 30)
    fields = {"low": 1.0, "high": 1.3, "probability": 1.0}
    for step in range(10):
        wide = diverse(images, "di", step=step, **fields)
        back = diverse(images, "rdi", step=step, **fields)
        assert back.images.shape == images.shape
        expected = torch.nn.functional.interpolate(wide.images, size=(20, 30), mode="bilinear")
        assert torch.equal(back.images, expected)
        assert back.ratio == pytest.approx(wide.ratio / 1.3, rel=0.01)
        assert back.whole


def test_the_defaults_are_the_papers_ratios() -> None:
    assert InputDiversity().high == pytest.approx(330 / 299, abs=0.004)
    assert (InputDiversity().low, InputDiversity().probability) == (1, 0.5)
    assert ResizedDiversity().high == 340 / 299
    assert ResizedDiversity().probability == 1


@pytest.mark.parametrize("kind", ["di", "rdi"])
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_an_image_is_diversified_with_its_probability(kind: str, probability: float) -> None:
    images = torch.ones(1, 3, 20, 30)
    views = [diverse(images, kind, step=t, high=1.3, probability=probability) for t in range(300)]
    share = np.mean([view.images is not images for view in views])
    assert share == pytest.approx(probability, abs=0.08)


@pytest.mark.parametrize("divisor", [1, 8, 32])
def test_the_canvas_is_divisible(divisor: int) -> None:
    images = torch.ones(1, 3, 64, 96)
    for step in range(20):
        view = diverse(images, "di", step=step, high=1.2, probability=1, divisor=divisor)
        assert all(length % divisor == 0 for length in view.images.shape[-2:])
        _, _, height, width = shown(view, (64, 96))
        assert height <= view.images.shape[-2]
        assert width <= view.images.shape[-1]


@pytest.mark.parametrize("kind", ["di", "rdi"])
def test_a_tiny_ratio_still_shows_something(kind: str) -> None:
    """12 pixels at a ratio of 0.03 round to none."""
    view = diverse(torch.ones(1, 3, 12, 16), kind, low=0.03, high=0.03, probability=1)
    assert view.images.numel() > 0


def test_relative_cost_of_di_and_rdi() -> None:
    assert relative_cost((InputDiversity(high=1.2, probability=0.25),)) == pytest.approx(1.11)
    assert relative_cost((ResizedDiversity(),)) == 1
