"""Sliding windows: ours against mmseg's own, and how they lie over an image."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.inference import Inference
from segtransfer.tasks.models.mmseg import MmsegSegmenter
from segtransfer.tasks.models.probe import examine
from segtransfer.tasks.models.sliding import SlidingSegmenter, stitch, windows
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.models.test_mmseg import config_file, street, tensor
from tests.tasks.models.test_mmseg import spec as mmseg_spec

WINDOWS = {"mode": "slide", "crop": [48, 64], "stride": [32, 48]}


def toy_spec(**fields: Any) -> ModelSpec:
    source = {"callable": "tests.toys:convolutional"}
    return ModelSpec.model_validate({"name": "m", "torch": source, **fields})


def zoo_spec(**fields: Any) -> ModelSpec:
    return ModelSpec.model_validate({"zoo": "fcn-r18", **fields})


def fingerprint(spec: ModelSpec) -> str:
    return adapters.describe(spec).fingerprint


@cache
def zoo() -> Segmenter:
    return adapters.load(zoo_spec())


@pytest.mark.parametrize("size", [(70, 81), (48, 64), (96, 160), (40, 100), (100, 40), (30, 30)])
@pytest.mark.parametrize(("crop", "stride"), [((48, 64), (32, 48)), ((32, 32), (32, 32))])
def test_windows_cover_every_pixel_and_lie_inside(
    size: tuple[int, int], crop: tuple[int, int], stride: tuple[int, int]
) -> None:
    count = torch.zeros(size)
    for top, bottom, left, right in windows(*size, crop, stride):
        assert (bottom - top, right - left) == (min(crop[0], size[0]), min(crop[1], size[1]))
        assert 0 <= top < bottom <= size[0]
        assert 0 <= left < right <= size[1]
        count[top:bottom, left:right] += 1
    assert (count >= 1).all()


def test_the_last_window_of_a_row_is_moved_inside() -> None:
    assert windows(10, 25, (10, 10), (10, 8)) == [
        (0, 10, 0, 10),
        (0, 10, 8, 18),
        (0, 10, 15, 25),
    ]
    assert windows(10, 26, (10, 10), (10, 8))[-1] == (0, 10, 16, 26)


@pytest.mark.parametrize("size", [(120, 160), (101, 137), (40, 160), (30, 30)])
def test_ours_equals_mmsegs_own_windows_in_logits_and_gradient(size: tuple[int, int]) -> None:
    images = tensor(street()[: size[0], : size[1]])
    mmsegs = adapters.load(zoo_spec(inference=WINDOWS))
    assert isinstance(mmsegs, MmsegSegmenter)
    assert mmsegs.network.test_cfg.mode == "slide"
    ours = SlidingSegmenter(adapters.load(zoo_spec()), (48, 64), (32, 48))
    # To a size divisor mmseg pads the image once, we every window.
    mmsegs.pads_to = ours.inner.pads_to = 1
    found = []
    for model in (mmsegs, ours):
        inputs = images.clone().requires_grad_(True)
        logits = model(inputs)
        found.append((logits.detach(), model.gradient(logits.logsumexp(1).sum(), inputs)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    largest = found[0][1].abs().max().item()
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-5 * largest)
    assert ours.cost.pixels == mmsegs.cost.pixels
    if min(size) > 64:
        with torch.inference_mode():
            assert not torch.allclose(found[0][0], zoo()(images), atol=1e-2)


def test_logits_are_averaged_where_windows_overlap() -> None:
    model, plain = adapters.load(toy_spec(inference=WINDOWS)), adapters.load(toy_spec())
    images = torch.rand(2, 3, 48, 100)
    with torch.inference_mode():
        left, right, whole = plain(images[..., :64]), plain(images[..., 36:]), model(images)
    assert whole.shape == (2, 3, 48, 100)
    assert torch.equal(whole[..., :36], left[..., :36])
    assert torch.equal(whole[..., 64:], right[..., 28:])
    torch.testing.assert_close(whole[..., 36:64], (left[..., 36:] + right[..., :28]) / 2)


def test_an_image_smaller_than_a_window_is_seen_whole() -> None:
    images = torch.rand(1, 3, 40, 50)
    with torch.inference_mode():
        windowed = adapters.load(toy_spec(inference=WINDOWS))(images)
        assert torch.equal(windowed, adapters.load(toy_spec())(images))


def test_cost_counts_an_image_once_and_the_pixels_of_every_window() -> None:
    model = adapters.load(toy_spec(inference=WINDOWS))
    images = torch.rand(2, 3, 48, 100, requires_grad=True)
    model.gradient(model(images).sum(), images)
    cost = model.cost
    assert (cost.forwards, cost.backwards, cost.pixels) == (2, 2, 2 * 2 * 48 * 64)


def test_mmsegs_padding_counts_with_and_without_windows(tmp_path: Path) -> None:
    padded = config_file(tmp_path, data_preprocessor={"test_cfg": {"size_divisor": 32}})
    images = torch.rand(1, 3, 70, 81)
    for inference, pixels in ((None, 96 * 96), (WINDOWS, 3 * 2 * 48 * 64)):
        read = mmseg_spec(padded).model_copy(
            update={"inference": inference and Inference.model_validate(inference)}
        )
        model = adapters.load(read)
        with torch.inference_mode():
            model(images)
        assert model.cost.pixels == pixels


def test_the_spec_wins_over_what_an_mmseg_config_says(tmp_path: Path) -> None:
    sliding = {"mode": "slide", "crop_size": (48, 64), "stride": (32, 48)}
    config = config_file(tmp_path, test_cfg=sliding)
    as_configured = mmseg_spec(config)
    whole = as_configured.model_copy(update={"inference": Inference(mode="whole")})
    assert fingerprint(as_configured) == fingerprint(zoo_spec(inference=WINDOWS))
    assert fingerprint(whole) == fingerprint(zoo_spec()) != fingerprint(as_configured)
    images = torch.rand(1, 3, 70, 81)
    with torch.inference_mode():
        assert torch.equal(adapters.load(whole)(images), zoo()(images))
        assert not torch.equal(adapters.load(as_configured)(images), zoo()(images))


@pytest.mark.parametrize("spec", [toy_spec, zoo_spec])
def test_the_fingerprint_follows_windows_and_whole_is_the_default(spec: Any) -> None:
    found = [
        fingerprint(spec(inference=inference))
        for inference in (
            None,
            WINDOWS,
            WINDOWS | {"stride": [16, 16]},
            WINDOWS | {"crop": [64, 64]},
        )
    ]
    assert len(set(found)) == 4
    assert fingerprint(spec(inference={"mode": "whole"})) == found[0]


def test_what_a_feature_loss_reads_is_found_behind_the_windows() -> None:
    model = SlidingSegmenter(zoo(), (48, 64), (32, 48))
    assert model.feature_layer is not None
    inner = zoo().get_submodule(zoo().feature_layer or "")
    assert model.get_submodule(model.feature_layer) is inner


@pytest.mark.parametrize(
    ("inference", "told"),
    [
        ({"mode": "slide"}, "mode is slide; give crop and stride"),
        ({"mode": "slide", "crop": [32, 32]}, "mode is slide; give crop and stride"),
        ({"mode": "whole", "crop": [32, 32]}, "mode is whole, and crop is given"),
        (
            {"mode": "slide", "crop": [32, 32], "stride": [32, 33]},
            r"stride \[32, 33\] exceeds crop \[32, 32\]",
        ),
        ({"mode": "slide", "crop": [0, 32], "stride": [1, 1]}, "greater than or equal to 1"),
        ({"mode": "tile"}, "'whole' or 'slide'"),
    ],
    ids=str,
)
def test_windows_that_cannot_be_are_refused(inference: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        toy_spec(inference=inference)


class Remembering(torch.nn.Module):
    """Two convolutions between which a large activation is kept for the gradient; counts calls."""

    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 2, 1)
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.second(self.first(images).tanh())


def test_a_gradient_over_windows_keeps_the_activations_of_one_at_a_time() -> None:
    """What autograd keeps beside the windows' logits does not grow with their number."""
    network = Remembering()

    def kept(width: int) -> int:
        images = torch.rand(1, 3, 32, width).requires_grad_(True)
        saved: list[int] = []

        def note(tensor: torch.Tensor) -> torch.Tensor:
            saved.append(tensor.numel())
            return tensor

        network.calls = 0
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            logits = stitch(network, images, windows(32, width, (32, 32), (32, 16)), again=True)
        assert network.calls == len(windows(32, width, (32, 32), (32, 16)))
        forward = sum(saved)
        torch.autograd.grad(logits.sum(), images)
        return forward

    few, many = kept(64), kept(512)
    assert few < 8 * 32 * 32 * 3, "less than the activations of the three windows"
    per_window = (many - few) / (31 - 3)
    assert per_window <= 4 * 32 * 32, "the window and counts, not eight channels of activations"


def test_the_gradient_over_windows_has_the_bits_of_one_that_keeps_all_graphs() -> None:
    network, images = Remembering(), torch.rand(2, 3, 40, 100).requires_grad_(True)
    logits = stitch(network, images, windows(40, 100, (32, 48), (16, 24)), again=True)
    (ours,) = torch.autograd.grad(logits.square().sum(), images)
    count, total = torch.zeros(1, 1, 40, 100), torch.zeros(2, 2, 40, 100)
    for top, bottom, left, right in windows(40, 100, (32, 48), (16, 24)):
        part = network(images[..., top:bottom, left:right])
        total = total + torch.nn.functional.pad(part, (left, 100 - right, top, 40 - bottom))
        count[..., top:bottom, left:right] += 1
    (whole,) = torch.autograd.grad((total / count).square().sum(), images)
    assert torch.equal(logits, total / count)
    assert torch.equal(ours, whole)


class Noisy(Remembering):
    """Adds a draw of numpy's to its answer: computed again, it would be another."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * float(np.random.rand())


def noisy() -> Noisy:
    return Noisy()


def test_a_network_that_draws_numbers_is_not_computed_again_in_a_backward() -> None:
    """The gradient is of the very draws of the logits: both scale with them."""
    source = {"callable": f"{__name__}:noisy"}
    windowed = {"mode": "slide", "crop": [64, 64], "stride": [64, 64]}
    named = ModelSpec.model_validate({"name": "m", "torch": source, "inference": windowed})
    model = adapters.load(named)
    examine(model)
    assert not model.deterministic
    images = torch.rand(1, 3, 64, 256).requires_grad_(True)
    network = model.get_submodule("inner.module")
    before = network.calls
    logits = model(images)
    model.gradient(logits.square().sum(), images)
    assert network.calls - before == 4, "each window once"
