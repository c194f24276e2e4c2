"""Geometry: the adjoint of every spatial view, and where images, labels and logits end up."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms import views
from segtransfer.tasks.attacks.transforms.views import View, align, resize, same, snap, then, window
from tests.tasks.attacks.specs import step_context, tensors
from tests.tasks.cases import spec, toy

RATIOS = [0.5, 0.6, 0.83, 1.0, 1.21, 1.5, 2.0]
SPATIAL: dict[str, list[Any]] = {
    "down": [{"ds": {"low": 0.6, "width": 0}}],
    "up": [{"ds": {"low": 1.6, "width": 0}}],
    "antialias": [{"ds": {"low": 0.6, "width": 0, "antialias": True}}],
    "stretched": [{"ds": {"low": 0.8, "width": 0.4, "anisotropy": 0.5}}],
    "padded": [{"ds": {"low": 0.6, "width": 0, "handling": "native"}}],
    "cut": [{"ds": {"low": 1.6, "width": 0, "handling": "native"}}],
    "back": [{"ds": {"low": 0.6, "width": 0, "handling": "back"}}],
    "di": [{"di": {"low": 1.1, "high": 1.4, "probability": 1}}],
    "shrinking di": [{"di": {"low": 0.7, "high": 1, "probability": 1}}],
    "rdi": [{"rdi": {"low": 1, "high": 1.4}}],
    "shift": [{"shift": {"reach": 0.3}}],
    "ds, di": [
        {"ds": {"low": 1.5, "width": 0, "handling": "native"}},
        {"di": {"low": 0.8, "high": 1.2, "probability": 1}},
    ],
    "di, ds": [
        {"di": {"low": 0.8, "high": 1.2, "probability": 1}},
        {"ds": {"low": 1.5, "width": 0, "handling": "native"}},
    ],
    "rdi, ds, di": [
        "rdi",
        {"ds": {"low": 0.7, "width": 0.6}},
        {"di": {"probability": 1}},
    ],
}
EXACT = {"up", "cut", "di", "rdi", "stretched", "down"}


def chain(name: str) -> tuple[Any, ...]:
    return AttackSpec.model_validate({"name": "a", "transforms": SPATIAL[name]}).transforms


def view_of(name: str, images: torch.Tensor, step: int = 0, divisor: int = 1) -> View:
    (view,) = views(images, chain(name), step_context(images, step=step, divisor=divisor))
    return view


@pytest.mark.parametrize("name", SPATIAL)
def test_every_spatial_view_is_linear_and_autograd_is_its_adjoint(name: str) -> None:
    """<S x, y> == <x, S^T y>, with S^T y from autograd, in double precision."""
    generator = torch.Generator().manual_seed(0)
    for step in range(3):
        x = torch.rand(2, 3, 14, 19, dtype=torch.float64, generator=generator, requires_grad=True)
        other = torch.rand(2, 3, 14, 19, dtype=torch.float64, generator=generator)
        seen = view_of(name, x, step).images
        mixed = view_of(name, 2 * x - 3 * other, step).images
        assert torch.allclose(mixed, 2 * seen - 3 * view_of(name, other, step).images, atol=1e-12)
        y = torch.rand(seen.shape, dtype=torch.float64, generator=generator)
        left = (seen * y).sum()
        (adjoint,) = torch.autograd.grad(left, x)
        assert left.item() == pytest.approx((x * adjoint).sum().item(), rel=1e-12)


@pytest.mark.parametrize("divisor", [1, 8])
@pytest.mark.parametrize("name", SPATIAL)
def test_labels_follow_the_image(name: str, divisor: int) -> None:
    """The image holds its own coordinates and the labels number the pixels, so each seen pixel
    tells where it comes from and must agree with the label that it meets: to a pixel and a bit,
    and to another one for each further rounding to the nearest."""
    height, width = 40, 56
    rows, columns = torch.meshgrid(
        torch.arange(float(height)), torch.arange(float(width)), indexing="ij"
    )
    images = torch.stack([rows, columns, torch.ones_like(rows)])[None]
    numbers = 1000 + torch.arange(height * width).view(1, height, width)
    for step in range(4):
        view = view_of(name, images, step, divisor)
        labels = view.labels(numbers)
        assert labels.shape == view.images[:, 0].shape
        assert labels.dtype == torch.int64
        shown = labels != 255
        covered = view.images[:, 2]
        # Half covered pixels lie on the border of what was padded and then resized.
        assert (covered[shown] > 0.2).all()
        assert (covered[~shown] < 0.8).all()
        full = shown & (covered > 0.999)
        assert full.float().mean() > 0.3
        origin = labels[full] - 1000
        for channel, place in enumerate((origin // width, origin % width)):
            assert (view.images[:, channel][full] - place).abs().max() <= 0.7 * len(
                SPATIAL[name]
            ) + 0.6


@pytest.mark.parametrize("divisor", [1, 8])
@pytest.mark.parametrize("name", SPATIAL)
def test_logits_of_a_model_that_scales_along_come_back_to_their_pixels(
    name: str, divisor: int
) -> None:
    """Seen through the identity as a model, a ramp un-warps to itself: exactly but for the border
    of what is shown where the content only ever grew, else to half a pixel."""
    height, width = 40, 56
    rows, columns = torch.meshgrid(
        torch.arange(float(height)), torch.arange(float(width)), indexing="ij"
    )
    images = torch.stack([rows, columns, torch.ones_like(rows)])[None]
    labels = torch.zeros(1, height, width, dtype=torch.int64)
    for step in range(4):
        view = view_of(name, images, step, divisor)
        logits, kept = align(view, view.images, labels, "logits")
        assert logits.shape == images.shape
        hidden = (kept == 255).float()
        near = F.max_pool2d(hidden[:, None], 7, 1, 3)[:, 0]  # beside the border of what is shown
        inner = near == 0
        inner[:, :3] = inner[:, -3:] = False
        inner[:, :, :3] = inner[:, :, -3:] = False
        assert inner.float().mean() > 0.2
        wrong = (logits - images).abs().amax(1)[inner].max()
        assert wrong <= (1e-3 if name in EXACT else 0.5), wrong


@pytest.mark.parametrize("name", SPATIAL)
def test_the_logits_version_counts_exactly_the_pixels_that_are_shown(name: str) -> None:
    images = torch.ones(1, 3, 40, 56)
    numbers = torch.arange(40 * 56).view(1, 40, 56) + 1000
    labels = torch.full((1, 40, 56), 7)
    for step in range(4):
        view = view_of(name, images, step)
        _, kept = align(view, torch.zeros(1, 2, *view.images.shape[-2:]), labels, "logits")
        assert set(kept.unique().tolist()) <= {7, 255}
        if view.whole:
            assert (kept == 7).all()
            continue
        seen = torch.zeros(40 * 56, dtype=torch.bool)
        met = view.labels(numbers)
        seen[met[met >= 1000] - 1000] = True
        wide = F.max_pool2d(seen.view(1, 1, 40, 56).float(), 3, 1, 1)[0] > 0
        assert (kept == 7).any()
        assert (kept == 255).any()
        assert not (wide.logical_not() & (kept == 7)).any()  # nothing that is not shown counts
        unseen = F.pad(1 - seen.view(1, 40, 56).float(), (2, 2, 2, 2), value=1)
        core = F.max_pool2d(unseen, 5, 1) == 0
        assert (kept[core] == 7).all()


@pytest.mark.parametrize("ratio", RATIOS)
def test_resized_labels_keep_void_and_invent_no_class(ratio: float) -> None:
    labels = torch.randint(0, 2, (2, 12, 20)) * 7 + 3
    labels[:, :, :10] = 255
    view = resize(torch.rand(2, 3, 12, 20), snap(12, 20, (ratio, ratio), 1))
    raw = torch.rand(2, 11, *view.images.shape[-2:])
    logits, aligned = align(view, raw, labels, "labels")
    assert logits is raw
    assert aligned.dtype == torch.int64
    assert aligned.shape == (2, *view.images.shape[-2:])
    assert set(aligned.unique().tolist()) == {3, 10, 255}
    assert (aligned == 255).float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_the_logits_version_leaves_labels_of_a_whole_view_untouched() -> None:
    labels = torch.randint(0, 3, (2, 12, 20))
    view = resize(torch.rand(2, 3, 12, 20), (17, 28))
    logits, aligned = align(view, torch.rand(2, 3, 17, 28), labels, "logits")
    assert aligned is labels
    assert logits.shape == (2, 3, 12, 20)


@pytest.mark.parametrize("label_version", ["logits", "labels"])
@pytest.mark.parametrize("name", SPATIAL)
def test_labels_stay_on_their_pixels_for_a_toy_that_scales_along(
    name: str, label_version: str
) -> None:
    """Red left of a diagonal edge and green right of it; a toy that reads the colour off. The
    prediction on what it is shown meets the aligned labels everywhere but beside the edge."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    away = columns - 20 - rows / 2
    labels = (away > 0).long()[None]
    images = torch.stack([1.0 - labels, labels, torch.zeros_like(labels)], 1).float()
    model = toy("linear", weights=[[1.0, 0, 0], [0, 1.0, 0]])
    assert torch.equal(model(images).argmax(1), labels)
    for step in range(4):
        view = view_of(name, images, step)
        logits, aligned = align(view, model(view.images), labels, label_version)
        counted = aligned != 255
        wrong = (logits.argmax(1) != aligned) & counted
        assert counted.float().mean() > 0.25
        assert wrong.sum() / counted.sum() < 0.06


def test_a_chain_of_two_resizes_moves_labels_as_two_resizes() -> None:
    labels = torch.randint(0, 5, (2, 20, 30))
    images = torch.rand(2, 3, 20, 30)
    first = resize(images, (13, 21))
    both = then(first, resize(first.images, (26, 17)))

    def nearest(labels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()

    assert torch.equal(both.labels(labels), nearest(nearest(labels, (13, 21)), (26, 17)))
    logits = torch.rand(2, 4, 26, 17)
    back = F.interpolate(logits, size=(13, 21), mode="bilinear")
    back = F.interpolate(back, size=(20, 30), mode="bilinear")
    assert torch.equal(both.logits(logits), back)
    assert both.ratio == pytest.approx((26 * 17 / 600) ** 0.5)


def test_a_window_pads_with_zeros_and_void_and_cuts() -> None:
    images = torch.arange(1.0, 13).view(1, 1, 3, 4)
    labels = torch.arange(12).view(1, 3, 4)
    view = window(images, (4, 3), 1, -1)
    assert view.images[0, 0].tolist() == [[0, 0, 0], [2, 3, 4], [6, 7, 8], [10, 11, 12]]
    assert view.labels(labels)[0].tolist() == [[255] * 3, [1, 2, 3], [5, 6, 7], [9, 10, 11]]
    assert view.logits(view.images)[0, 0].tolist() == [[0, 2, 3, 4], [0, 6, 7, 8], [0, 10, 11, 12]]
    assert not view.whole
    _, kept = align(view, view.images, labels, "logits")
    assert kept[0].tolist() == [[255, 1, 2, 3], [255, 5, 6, 7], [255, 9, 10, 11]]
    assert window(images, (5, 6), 1, 2).whole


def test_a_view_of_a_view_is_whole_only_if_both_are() -> None:
    images = torch.rand(1, 3, 6, 6)
    padded, cut = window(images, (8, 8), 1, 1), window(images, (4, 4), -1, -1)
    for first, second in ((padded, cut), (cut, padded), (cut, cut)):
        assert not then(first, second).whole
    assert then(padded, padded).whole


def test_the_plain_view_changes_nothing() -> None:
    images, logits, labels = torch.rand(1, 3, 4, 4), torch.rand(1, 2, 4, 4), torch.zeros(1, 4, 4)
    view = View(images)
    assert align(view, logits, labels, "logits") == (logits, labels)
    assert align(view, logits, labels, "labels") == (logits, labels)
    assert (view.labels, view.logits, view.ratio) == (same, same, 1)
    (seen,) = views(images, (), step_context(images))
    assert seen.images is images


def test_antialias_is_torchs() -> None:
    images = torch.rand(1, 3, 20, 24)
    expected = F.interpolate(images, size=(8, 9), mode="bilinear", antialias=True)
    assert torch.equal(resize(images, (8, 9), antialias=True).images, expected)
    assert not torch.equal(resize(images, (8, 9)).images, expected)


@pytest.mark.parametrize("divisor", [1, 4, 8, 32])
@pytest.mark.parametrize("ratio", RATIOS)
def test_scaled_sizes_are_divisible_and_nearest(ratio: float, divisor: int) -> None:
    native = (240, 322)
    size = snap(*native, (ratio, ratio), divisor)
    if ratio == 1.0:
        assert size == native
        return
    for scaled, length in zip(size, native, strict=True):
        assert scaled % divisor == 0
        assert scaled >= divisor
        assert abs(scaled - ratio * length) <= max(divisor / 2, divisor - ratio * length)


def test_a_scaled_size_is_never_empty() -> None:
    assert snap(3, 3, (0.1, 0.1), 1) == (1, 1)
    assert snap(16, 20, (0.1, 0.1), 32) == (32, 32)
    assert snap(16, 20, (1.0, 0.5), 4) == (16, 8)


@pytest.mark.parametrize("label_version", ["logits", "labels"])
@pytest.mark.parametrize("name", SPATIAL)
def test_a_chain_attacks_and_its_gradient_is_that_of_the_whole_chain(
    name: str, label_version: str
) -> None:
    """One step, its gradient from autograd through the view written out in full."""
    images, labels = tensors(2, 24, 32)
    model = toy("convolutional")
    rule = spec(
        "fgsm", transforms=SPATIAL[name], label_version=label_version, eps="4/255", name="a"
    )
    (found,), health = loop.run(
        model, rule, images, labels, ["image-0", "image-1"], seed=0, group=0
    )
    x = images.clone().requires_grad_(True)
    view = view_of(name, x)
    logits, aligned = align(view, model(view.images), labels, label_version)
    loss = F.cross_entropy(logits, aligned, ignore_index=255, reduction="none").sum((1, 2))
    counts = (aligned != 255).sum((1, 2))
    (gradient,) = torch.autograd.grad((loss / counts).sum(), x)
    expected = (images + 4 / 255 * gradient.sign()).clamp(0, 1)
    assert (found - expected).abs().gt(1e-6).float().mean() < 1e-3
    assert health.ratios == [[pytest.approx(view.ratio)]]
