import pytest
import torch
import torch.nn.functional as F

from tasks.attacks.spec import DynamicScaling
from tasks.attacks.transforms import (
    dynamic_scaling,
    expected_cost,
    identity,
    schedule_draw,
    snap,
)
from tests.tasks.cases import toy

RATIOS = [0.5, 0.6, 0.83, 1.0, 1.21, 1.5, 2.0]


def fixed(ratio: float, label_version: str = "logits") -> DynamicScaling:
    return DynamicScaling.model_validate({"low": ratio, "width": 0, "label_version": label_version})


@pytest.mark.parametrize("ratio", RATIOS)
def test_autograd_of_the_resize_is_its_adjoint(ratio: float) -> None:
    """<S x, y> == <x, S^T y>, with S^T y from autograd, in double precision."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 14, 19, dtype=torch.float64, generator=generator, requires_grad=True)
    scaled = dynamic_scaling(x, fixed(ratio), 0.3, 1).images
    y = torch.rand(scaled.shape, dtype=torch.float64, generator=generator)
    left = (scaled * y).sum()
    (adjoint,) = torch.autograd.grad(left, x)
    assert left.item() == pytest.approx((x * adjoint).sum().item(), rel=1e-12)


@pytest.mark.parametrize(("ratio", "share"), [(0.5, 0.0), (0.45, 0.19), (0.4, 0.36), (0.8, 0.0)])
def test_below_one_half_source_pixels_lose_their_gradient(ratio: float, share: float) -> None:
    x = torch.rand(1, 3, 200, 200, requires_grad=True)
    dynamic_scaling(x, fixed(ratio), 0.0, 1).images.sum().backward()
    assert x.grad is not None
    assert (x.grad == 0).float().mean().item() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("divisor", [1, 4, 8, 32])
@pytest.mark.parametrize("ratio", RATIOS)
def test_scaled_sizes_are_divisible_and_nearest(ratio: float, divisor: int) -> None:
    native = (240, 322)
    size = snap(*native, ratio, divisor)
    if ratio == 1.0:
        assert size == native
        return
    for scaled, length in zip(size, native, strict=True):
        assert scaled % divisor == 0
        assert scaled >= divisor
        assert abs(scaled - ratio * length) <= max(divisor / 2, divisor - ratio * length)


def test_a_scaled_size_is_never_empty() -> None:
    assert snap(3, 3, 0.1, 1) == (1, 1)
    assert snap(16, 20, 0.1, 32) == (32, 32)


def test_the_recorded_ratio_is_the_realised_one() -> None:
    seen = dynamic_scaling(torch.rand(1, 3, 30, 50), fixed(0.5), 0.0, 8)
    assert seen.images.shape[-2:] == (16, 24)
    assert seen.ratio == pytest.approx((16 * 24 / 1500) ** 0.5)


def test_the_logits_version_leaves_labels_untouched_and_brings_logits_back() -> None:
    labels = torch.randint(0, 3, (2, 12, 20))
    seen = dynamic_scaling(torch.rand(2, 3, 12, 20), fixed(1.4), 0.0, 1)
    logits, aligned = seen.align(torch.rand(2, 3, *seen.images.shape[-2:]), labels)
    assert aligned is labels
    assert logits.shape == (2, 3, 12, 20)


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_labels_version_keeps_void_and_invents_no_class(ratio: float) -> None:
    labels = torch.randint(0, 2, (2, 12, 20)) * 7 + 3
    labels[:, :, :10] = 255
    seen = dynamic_scaling(torch.rand(2, 3, 12, 20), fixed(ratio, "labels"), 0.0, 1)
    raw = torch.rand(2, 11, *seen.images.shape[-2:])
    logits, aligned = seen.align(raw, labels)
    assert logits is raw
    assert aligned.dtype == torch.int64
    assert aligned.shape == (2, *seen.images.shape[-2:])
    assert set(aligned.unique().tolist()) == {3, 10, 255}
    assert (aligned == 255).float().mean().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("label_version", ["logits", "labels"])
@pytest.mark.parametrize("ratio", [0.5, 0.75, 1.25, 1.5, 2.0])
def test_labels_stay_on_their_pixels_for_a_toy_that_scales_along(
    ratio: float, label_version: str
) -> None:
    """Red left of a diagonal edge and green right of it; a toy that reads the colour off. The
    prediction on the scaled image meets the aligned labels everywhere but beside the edge."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    distance = columns - 20 - rows / 2
    labels = (distance > 0).long()[None]
    images = torch.stack([1.0 - labels, labels, torch.zeros_like(labels)], 1).float()
    model = toy("linear", weights=[[1.0, 0, 0], [0, 1.0, 0]])
    assert torch.equal(model(images).argmax(1), labels)

    seen = dynamic_scaling(images, fixed(ratio, label_version), 0.0, 1)
    logits, aligned = seen.align(model(seen.images), labels)
    away = F.interpolate(distance[None, None], size=aligned.shape[-2:], mode="bilinear")
    away = away[0].abs() > 2.5
    assert away.float().mean() > 0.85
    assert torch.equal(logits.argmax(1)[away], aligned[away])


def test_the_identity_changes_nothing() -> None:
    images, logits, labels = torch.rand(1, 3, 4, 4), torch.rand(1, 2, 4, 4), torch.zeros(1, 4, 4)
    seen = identity(images)
    assert seen.images is images
    assert seen.align(logits, labels) == (logits, labels)
    assert seen.ratio == 1


def test_a_schedule_is_drawn_from_seed_group_and_step_alone() -> None:
    drawn = {(s, g, t): schedule_draw(s, g, t) for s in (0, 1) for g in (0, 1) for t in range(50)}
    assert len(set(drawn.values())) == len(drawn)
    assert all(0 <= value < 1 for value in drawn.values())
    torch.manual_seed(5)
    assert schedule_draw(1, 1, 7) == drawn[1, 1, 7]


@pytest.mark.parametrize(
    ("low", "width", "cost"), [(0.5, 1.0, 13 / 12), (0.5, 1.5, 1.75), (0.75, 0.5, 49 / 48)]
)
def test_the_expected_cost_is_the_mean_of_the_squared_ratio(
    low: float, width: float, cost: float
) -> None:
    assert expected_cost(DynamicScaling(low=low, width=width)) == pytest.approx(cost)
