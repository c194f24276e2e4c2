"""The gradient of one step: its mean over copies, members and neighbours; smoothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segtransfer.tasks.attacks.components import Smoothing
from segtransfer.tasks.attacks.gradients import loss_gradient, reduce_variance, smooth
from segtransfer.tasks.attacks.losses import LossContext
from segtransfer.tasks.attacks.magnitudes import normalise
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import views
from segtransfer.tasks.attacks.transforms.views import align
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.randomness import image_noise
from tests.tasks.attacks.specs import context_of, make, step_context, tensors
from tests.tasks.cases import ids, spec, toy

FIRST = LossContext(0, 4)
MODEL, OTHER = toy("convolutional", seed=0), toy("convolutional", seed=1)


class Pair(Segmenter):
    """Two members that an attack averages."""

    num_classes = 3

    def __init__(self, weights: tuple[float, float], normalised: bool, own_scales: bool) -> None:
        super().__init__()
        self.weights = weights
        self.normalise_gradients, self.own_scales = normalised, own_scales

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return MODEL(images) / 2 + OTHER(images) / 2

    def members(self) -> list[tuple[Segmenter, float]]:
        return [(MODEL, self.weights[0]), (OTHER, self.weights[1])]


def random_of(count: int, step: int = 0) -> StepRandom:
    return StepRandom(0, 0, step, ids(count))


def plain(
    model: Segmenter, x: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient and loss of torch's own cross-entropy, image by image."""
    gradients, losses = [], []
    for image, label in zip(x, labels, strict=True):
        image = image[None].clone().requires_grad_(True)
        loss = F.cross_entropy(model(image), label[None], ignore_index=255)
        gradients.append(torch.autograd.grad(loss, image)[0])
        losses.append(loss.detach())
    return torch.cat(gradients), torch.stack(losses)


def test_the_gradient_of_a_plain_loss_is_torchs() -> None:
    images, labels = tensors(3)
    found = loss_gradient(context_of(MODEL, spec(), images, labels), images, random_of(3), FIRST)
    gradient, losses = plain(MODEL, images, labels)
    assert torch.allclose(found.values, gradient, rtol=1e-4, atol=1e-7)
    assert torch.allclose(found.losses, losses, rtol=1e-5)
    assert found.ratios == [1]
    assert not found.values.requires_grad
    assert not images.requires_grad


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.25, 0.75)])
@pytest.mark.parametrize("normalised", [False, True])
def test_members_are_averaged_by_weight(weights: tuple[float, float], normalised: bool) -> None:
    images, labels = tensors(2)
    context = context_of(Pair(weights, normalised, False), spec(), images, labels)
    found = loss_gradient(context, images, random_of(2), FIRST)
    parts = [plain(member, images, labels) for member in (MODEL, OTHER)]
    expected = sum(
        weight * (normalise(g) if normalised else g)
        for weight, (g, _) in zip(weights, parts, strict=True)
    )
    assert torch.allclose(found.values, expected, rtol=1e-4, atol=1e-6)
    losses = weights[0] * parts[0][1] + weights[1] * parts[1][1]
    assert torch.allclose(found.losses, losses, rtol=1e-5)


def test_members_share_their_scales_or_draw_their_own() -> None:
    images, labels = tensors(2, 24, 32)
    for own in (False, True):
        context = context_of(Pair((0.5, 0.5), True, own), spec("ds"), images, labels)
        ratios = loss_gradient(context, images, random_of(2), FIRST).ratios
        assert len(ratios) == 2
        assert (ratios[0] != ratios[1]) == own
    alone = loss_gradient(
        context_of(MODEL, spec("ds"), images, labels), images, random_of(2), FIRST
    )
    assert alone.ratios == ratios[:1]


def parts_of(rule: AttackSpec, images: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """The gradient of each copy, by autograd through its view."""
    x = images.clone().requires_grad_(True)
    found = []
    for view in views(x, rule.transforms, step_context(images)):
        logits, aligned = align(view, MODEL(view.images), labels, rule.label_version)
        loss = F.cross_entropy(logits, aligned, ignore_index=255, reduction="none").sum((1, 2))
        loss = loss / (aligned != 255).sum((1, 2))
        found.append(torch.autograd.grad(loss.sum(), x)[0])
    return found


@pytest.mark.parametrize("version", ["logits", "labels"])
def test_several_scales_are_averaged_each_divided_by_its_mean_magnitude(version: str) -> None:
    images, labels = tensors(2, 24, 32)
    rule = spec("ds", transforms=[{"ds": {"scales": 3}}], label_version=version)
    found = loss_gradient(context_of(MODEL, rule, images, labels), images, random_of(2), FIRST)
    expected = sum(normalise(part) for part in parts_of(rule, images, labels)) / 3
    assert torch.allclose(found.values, expected, rtol=1e-3, atol=1e-5)
    assert len(set(found.ratios)) == 3


@pytest.mark.parametrize("scaling_first", [True, False])
def test_copies_of_one_scale_are_summed_before_they_are_divided(scaling_first: bool) -> None:
    """With x / 2^i for i < 2, gradients of halved images are small, and must stay small."""
    images, labels = (t[:2] for t in tensors(5, 24, 32))
    transforms: list[Any] = [{"ds": {"scales": 2}}, {"si": {"copies": 2}}]
    rule = spec(transforms=transforms if scaling_first else transforms[::-1], steps=1)
    first, second, third, fourth = parts_of(rule, images, labels)
    by_scale = (
        [(first, second), (third, fourth)] if scaling_first else [(first, third), (second, fourth)]
    )
    expected = sum(normalise(one + other) for one, other in by_scale) / 2
    found = loss_gradient(context_of(MODEL, rule, images, labels), images, random_of(2), FIRST)
    assert torch.allclose(found.values, expected, rtol=1e-3, atol=1e-5)
    made = make(MODEL, rule, chosen=[0, 1], height=24, width=32).images[0]
    stepped = (images + rule.step_size * expected.sign()).clamp(0, 1) * 255
    assert np.mean(made == stepped.round().numpy()) > 0.999


@pytest.mark.parametrize("average", ["logits", "gradients", "loss"])
@pytest.mark.parametrize("transform", ["si", "ssa", "ds", {"ds": {"scales": 2}}], ids=str)
def test_ensemble_of_equal_members_equals_the_member(transform: Any, average: str) -> None:
    source = {"callable": "tests.toys:convolutional"}
    members = [{"name": name, "torch": source} for name in ("a", "b")]
    ensemble = {"members": members, "average": average}
    pair = adapters.load(ModelSpec.model_validate({"name": "pair", "ensemble": ensemble}))
    rule = spec(transforms=[transform], steps=3, step_size="eps/2")
    alone, together = (make(model, rule, chosen=[0, 1]).images for model in (MODEL, pair))
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("kind", ["si", "admix", "ssa"])
def test_copies_of_other_transforms_are_averaged_without_normalisation(kind: str) -> None:
    images, labels = tensors(2, 24, 32)
    rule = spec(transforms=[{kind: {"copies": 3}}])
    found = loss_gradient(context_of(MODEL, rule, images, labels), images, random_of(2), FIRST)
    expected = sum(parts_of(rule, images, labels)) / 3
    assert torch.allclose(found.values, expected, rtol=1e-4, atol=1e-6)


def test_the_variance_is_the_mean_over_the_neighbours_less_the_gradient() -> None:
    images, labels = tensors(2)
    rule = spec("vt", eps="8/255", variance={"neighbours": 3, "bound": 2})
    context = context_of(MODEL, rule, images, labels)
    here = loss_gradient(context, images, random_of(2, 5), FIRST)
    found = reduce_variance(context, images, here, random_of(2, 5), FIRST)
    mean = torch.zeros_like(images)
    for neighbour in range(3):
        noise = torch.stack(
            [image_noise(0, i, (3, 12, 16), "neighbour", neighbour, 5) for i in ids(2)]
        )
        mean += plain(MODEL, images + 16 / 255 * noise, labels)[0] / 3
    expected = mean - plain(MODEL, images, labels)[0]
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_neighbour_gets_the_scale_of_its_step() -> None:
    seen: list[tuple[int, ...]] = []
    model = toy("convolutional")
    model.register_forward_pre_hook(lambda _m, inputs: seen.append(tuple(inputs[0].shape)))
    images, labels = tensors(1, 24, 32)
    rule = spec("ds-vt", variance={"neighbours": 4})
    context = context_of(model, rule, images, labels)
    here = loss_gradient(context, images, random_of(1, 2), FIRST)
    reduce_variance(context, images, here, random_of(1, 2), FIRST)
    assert len(seen) == 5
    assert len(set(seen)) == 1
    assert seen[0][-2:] != (24, 32)


@pytest.mark.parametrize(("kernel", "sigmas"), [(3, 1.0), (15, 3.0), (5, 0.5), (9, 10.0)])
def test_smoothing_is_a_convolution_with_a_gaussian_of_sum_one(kernel: int, sigmas: float) -> None:
    """Separable equals the two-dimensional kernel; symmetric; zeros beyond the border."""
    offsets = torch.arange(kernel).double() - kernel // 2
    squares = offsets[:, None] ** 2 + offsets[None] ** 2
    gaussian = torch.exp(-squares * (sigmas / (kernel // 2)) ** 2 / 2)
    gaussian = gaussian / gaussian.sum()
    gradient = torch.randn(2, 3, 13, 21, dtype=torch.float64)
    weight = gaussian.expand(3, 1, kernel, kernel)
    expected = F.conv2d(gradient, weight, padding=kernel // 2, groups=3)
    found = smooth(gradient, Smoothing(kernel=kernel, sigmas=sigmas))
    assert torch.allclose(found, expected, atol=1e-6)
    impulse = torch.zeros(1, 3, 41, 41)
    impulse[:, :, 20, 20] = 1
    answer = smooth(impulse, Smoothing(kernel=kernel, sigmas=sigmas))[0, 0]
    assert answer.sum().item() == pytest.approx(1, rel=1e-5)
    assert torch.allclose(answer, answer.flip(0), atol=1e-7)
    assert torch.allclose(answer, answer.flip(1), atol=1e-7)
    assert torch.allclose(answer, answer.T, atol=1e-7)


def test_a_kernel_of_one_pixel_is_the_identity() -> None:
    gradient = torch.randn(2, 3, 7, 9)
    assert torch.equal(smooth(gradient, None), gradient)
    for sigmas in (0.5, 3.0, 10.0):
        assert torch.equal(smooth(gradient, Smoothing(kernel=1, sigmas=sigmas)), gradient)


def test_normalising_divides_each_image_by_its_own_mean_magnitude() -> None:
    gradient = torch.tensor([[1.0, -3.0], [0.0, 0.0], [1e-30, -1e-30]]).view(3, 2, 1, 1)
    assert normalise(gradient).flatten().tolist() == [0.5, -1.5, 0, 0, 1, -1]


def test_only_the_inputs_get_a_gradient() -> None:
    images, labels = tensors(2)
    context = context_of(MODEL, spec("ds"), images, labels)
    before = replace(context)
    loss_gradient(context, images, random_of(2), FIRST)
    assert all(parameter.grad is None for parameter in MODEL.parameters())
    assert context.clean is before.clean
