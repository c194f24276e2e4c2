"""Multi-scale and flip testing, against loops written out."""

import torch
import torch.nn.functional as F

from segtransfer.tasks.models.base import Segmenter
from tests.tasks.models.defences.toys import pixels, toy

WEIGHTS = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]


def probabilities(model: Segmenter, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(images).softmax(1)


def mean_of_views(
    images: torch.Tensor, sizes: list[tuple[int, int]], *, mirrored: bool
) -> torch.Tensor:
    """The mean of softmax over sizes, and over mirror images, as mmsegmentation's TTA has it."""
    network, total, count = toy(), torch.zeros(len(images), 3, *images.shape[-2:]), 0
    for size in sizes:
        for mirror in (False, True) if mirrored else (False,):
            view = F.interpolate(images.flip(-1) if mirror else images, size, mode="bilinear")
            with torch.inference_mode():
                logits = F.interpolate(network(view), images.shape[-2:], mode="bilinear")
            total += (logits.flip(-1) if mirror else logits).softmax(1)
            count += 1
    return total / count


def test_scales_are_the_mean_of_softmax_over_resized_images() -> None:
    images = pixels(2, 3, 24, 32)
    expected = mean_of_views(images, [(12, 16), (24, 32), (36, 48)], mirrored=False)
    found = probabilities(toy({"scales": [0.5, 1, 1.5]}), images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_flip_around_scales_is_the_mean_over_all_views() -> None:
    images = pixels(2, 3, 24, 32)
    expected = mean_of_views(images, [(18, 24), (24, 32), (30, 40)], mirrored=True)
    found = probabilities(toy("flip", "scales"), images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_flip_of_a_network_without_neighbourhood_is_the_network() -> None:
    images = pixels(2, 3, 9, 14)
    found = probabilities(toy("flip", function="linear", weights=WEIGHTS), images)
    own = probabilities(toy(function="linear", weights=WEIGHTS), images)
    torch.testing.assert_close(found, own)


def test_flip_answers_to_a_mirrored_image_with_the_mirrored_prediction() -> None:
    images = pixels(1, 3, 24, 33)
    model = toy("flip")
    mirrored = probabilities(model, images.flip(-1)).flip(-1)
    torch.testing.assert_close(mirrored, probabilities(model, images))
    plain = toy()
    assert not torch.allclose(
        probabilities(plain, images.flip(-1)).flip(-1), probabilities(plain, images), atol=1e-3
    )


def test_scale_of_one_is_the_network() -> None:
    images = pixels(1, 3, 13, 17)
    torch.testing.assert_close(
        probabilities(toy({"scales": [1]}), images), probabilities(toy(), images)
    )
