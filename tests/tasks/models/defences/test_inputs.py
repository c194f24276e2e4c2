"""Defences on pixels, against closed forms and other libraries."""

import math
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from tests.tasks.models.defences.toys import defended, pixels, toy


def table_entry(quality: int) -> int:
    """The first entry, 16, of the JPEG standard's luminance table at a quality of libjpeg."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return min(255, max(1, (16 * scale + 50) // 100))


@pytest.mark.parametrize("quality", [5, 10, 50, 75, 95])
def test_jpeg_of_a_constant_grey_image_is_its_rounded_mean_coefficient(quality: int) -> None:
    step = table_entry(quality)
    for grey in (3, 77, 128, 200, 254):
        seen = defended({"jpeg": quality}, torch.full((1, 3, 16, 24), grey / 255)) * 255
        coefficient = math.floor(8 * abs(grey - 128) / step + 0.5)  # halves away from zero
        level = 128 + math.copysign(coefficient, grey - 128) * step / 8
        assert seen.unique().numel() == 1
        assert abs(seen.unique().item() - min(255, max(0, level))) <= 0.5 + 1e-4


def test_jpeg_is_the_codecs_own_file_of_each_image() -> None:
    images = pixels(3, 3, 20, 30)
    seen = (defended({"jpeg": {"quality": 60}}, images) * 255).round().byte()
    for image, found in zip(images, seen, strict=True):
        file = BytesIO()
        array = (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(array).save(file, "JPEG", quality=60)
        assert np.array_equal(np.asarray(Image.open(file)), found.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_bits_of_a_ramp_are_the_nearest_of_two_to_the_bits_levels(bits: int) -> None:
    ramp = (torch.arange(256) / 255).expand(1, 3, 1, 256)
    seen = defended({"bits": bits}, ramp)[0, 0, 0]
    levels = torch.arange(2**bits, dtype=torch.float64) / (2**bits - 1)
    nearest = levels[(ramp[0, 0, 0, :, None] - levels).abs().argmin(1)]
    assert len(seen.unique()) == 2**bits
    torch.testing.assert_close(seen.double(), nearest, rtol=0, atol=1e-7)


@pytest.mark.parametrize("sigma", [0.4, 1, 2.5])
def test_smoothing_is_scipys_gaussian_and_keeps_constants(sigma: float) -> None:
    images = pixels(2, 3, 14, 19)
    seen = defended({"smooth": {"sigma": sigma}}, images)
    for image, found in zip(images.flatten(0, 1), seen.flatten(0, 1), strict=True):
        expected = gaussian_filter(image.double().numpy(), sigma, mode="nearest", truncate=4)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    flat = torch.full((1, 3, 9, 9), 77 / 255)
    torch.testing.assert_close(defended({"smooth": sigma}, flat), flat, rtol=0, atol=1e-6)


@pytest.mark.parametrize("defence", [{"jpeg": 30}, {"bits": 2}])
def test_backward_of_a_step_without_gradient_is_the_identity(defence: object) -> None:
    images = pixels(2, 3, 16, 16).requires_grad_()
    weight = torch.rand(2, 3, 16, 16)
    (defended(defence, images) * weight).sum().backward()
    assert images.grad is not None
    assert torch.equal(images.grad, weight)


def test_gradient_through_smoothing_is_exact() -> None:
    images, weight = pixels(1, 3, 12, 13).double().requires_grad_(), pixels(1, 3, 12, 13, seed=1)
    value = (defended({"smooth": 1}, images) * weight).sum()
    (gradient,) = torch.autograd.grad(value, images)
    # Smoothing is linear, so its value is the scalar product of gradient and image.
    torch.testing.assert_close((gradient * images).sum(), value)
    (through,) = torch.autograd.grad(toy({"smooth": 1})(images.float()).sum(), images)
    seen = defended({"smooth": 1}, images.float()).detach().requires_grad_()
    (inside,) = torch.autograd.grad(toy()(seen).sum(), seen)
    (outside,) = torch.autograd.grad((defended({"smooth": 1}, images) * inside).sum(), images)
    torch.testing.assert_close(through, outside, rtol=1e-4, atol=1e-4)
