"""Random resize and padding: its draws, its grid, and the way back."""

import pytest
import torch

from segtransfer.tasks.models.defended import DefendedSegmenter
from tests.tasks.models.defences.toys import pixels, toy

WEIGHTS = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]


def seen_by(images: torch.Tensor, *defences: object, **arguments: object) -> torch.Tensor:
    """What the network behind the defences is given."""
    model = toy(*defences, **arguments)
    assert isinstance(model, DefendedSegmenter)
    seen: list[torch.Tensor] = []
    inner = model.inner.logits
    model.inner.logits = lambda x: seen.append(x) or inner(x)  # type: ignore
    with torch.inference_mode():
        model(images)
    return seen[0]


def extent(image: torch.Tensor) -> tuple[int, int, int, int]:
    """Top, left, height and width of what is not grey, 3 x H x W."""
    shown = (image != 0.5).any(0)
    rows, columns = shown.any(1).nonzero(), shown.any(0).nonzero()
    top, left = int(rows.min()), int(columns.min())
    return top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1


def test_image_is_resized_at_random_and_placed_at_random_on_the_canvas() -> None:
    images = pixels(40, 3, 60, 80)
    canvas = seen_by(images, "resize-pad")
    assert canvas.shape == (40, 3, 66, 89)  # 331/299 of 60 x 80
    places = [extent(image) for image in canvas]
    assert all(60 <= height <= 66 and 80 <= width <= 89 for *_, height, width in places)
    assert all(top + height <= 66 and left + width <= 89 for top, left, height, width in places)
    assert min(len({place[i] for place in places}) for i in range(4)) > 3


def test_canvas_heeds_the_networks_divisor() -> None:
    seen = seen_by(pixels(1, 3, 32, 48), {"resize-pad": {"high": 1.2}}, size_divisor=8)
    assert seen.shape[-2:] == (40, 56)


def test_draw_depends_on_the_8_bit_image_alone() -> None:
    images = pixels(3, 3, 24, 32)
    whole = seen_by(images, "resize-pad")
    again = seen_by(images.flip(0) + 1e-4, "resize-pad").flip(0)
    assert [extent(image) for image in whole] == [extent(image) for image in again]
    changed = images.clone()
    changed[:, 0, 0, 0] = (changed[:, 0, 0, 0] * 255 + 1).remainder(256) / 255
    assert [extent(i) for i in whole] != [extent(i) for i in seen_by(changed, "resize-pad")]


def test_logits_return_to_the_native_grid() -> None:
    flat = torch.full((2, 3, 20, 30), 0.25)
    with torch.inference_mode():
        logits = toy("resize-pad", function="linear", weights=WEIGHTS)(flat)
    torch.testing.assert_close(logits[:, 0], torch.full((2, 20, 30), 0.25))
    torch.testing.assert_close(logits[:, 1], torch.full((2, 20, 30), 0.5))
    half = torch.zeros(1, 3, 40, 40)
    half[..., 20:] = 1
    with torch.inference_mode():
        edge = toy("resize-pad", function="linear", weights=WEIGHTS)(half)[0, 0]
    assert ((edge > 0.5) == (half[0, 0] > 0.5)).float().mean() > 0.97


@pytest.mark.parametrize("ratio", [1, 1.25])
def test_equal_ratios_are_a_plain_resize(ratio: float) -> None:
    images = pixels(2, 3, 24, 32)
    fixed = {"resize-pad": {"low": ratio, "high": ratio}}
    with torch.inference_mode():
        found, expected = toy(fixed)(images), toy()(images)
        if ratio != 1:
            seen = torch.nn.functional.interpolate(images, scale_factor=ratio, mode="bilinear")
            expected = torch.nn.functional.interpolate(toy()(seen), (24, 32), mode="bilinear")
    torch.testing.assert_close(found, expected)
