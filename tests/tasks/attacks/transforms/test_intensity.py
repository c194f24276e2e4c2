"""Transforms of intensity: values by formula, pixels in place, draws by image."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import copies, relative_cost, views
from segtransfer.tasks.attacks.transforms.intensity import (
    Admix,
    IntensityScales,
    SpectrumSimulation,
    cosine_matrix,
)
from segtransfer.tasks.attacks.transforms.views import TransformContext, align
from tests.tasks.attacks.specs import step_context, tensors
from tests.tasks.cases import ids, spec, toy

MODEL = toy("convolutional")


def run(rule: AttackSpec) -> torch.Tensor:
    images, labels = tensors(3, 24, 32)
    return loop.run(MODEL, rule, images, labels, ids(3), seed=0, group=0)[0][-1]


def test_si_shows_every_half() -> None:
    images = torch.rand(2, 3, 5, 6)
    seen = list(views(images, (IntensityScales(copies=4),), step_context(images)))
    assert [torch.equal(v.images, images / 2**i) for i, v in enumerate(seen)] == [True] * 4


def test_admix_then_si_shows_every_pair() -> None:
    images = torch.rand(3, 3, 5, 6)
    chain = AttackSpec.model_validate("admix").transforms
    assert (copies(chain), relative_cost(chain)) == (15, 15)
    seen = [view.images for view in views(images, chain, step_context(images))]
    assert len(seen) == 15
    for mixed in range(3):
        for power in range(5):
            assert torch.equal(seen[5 * mixed + power], seen[5 * mixed] / 2**power)


@pytest.mark.parametrize("kind", ["si", "admix", "ssa"])
def test_intensity_transforms_move_no_pixel(kind: str) -> None:
    images = torch.rand(2, 3, 5, 6)
    chain = AttackSpec.model_validate({"name": "a", "transforms": [kind]}).transforms
    for view in views(images, chain, step_context(images)):
        labels, logits = torch.randint(0, 3, (2, 5, 6)), torch.rand(2, 4, 5, 6)
        for version in ("labels", "logits"):
            assert align(view, logits, labels, version) == (logits, labels)
        assert view.ratio == 1
        assert view.images.shape == images.shape


def test_admix_adds_another_image_of_the_shard_and_each_one_in_turn() -> None:
    shard = torch.rand(5, 3, 4, 4)
    names = tuple(ids(5))
    met: dict[int, set[int]] = {1: set(), 3: set()}
    for step in range(60):
        context = TransformContext(1, StepRandom(0, 0, step, [names[1], names[3]]), shard, names)
        mixed = Admix(strength=0.5).view(shard[[1, 3]], context).images
        for row, own in enumerate((1, 3)):
            other = (mixed[row] - shard[own]) / 0.5
            near = [i for i in range(5) if (other - shard[i]).abs().max() < 1e-5]
            assert len(near) == 1
            met[own].add(near[0])
    assert met == {1: {0, 2, 3, 4}, 3: {0, 1, 2, 4}}


def test_admix_of_a_shard_of_one_mixes_the_image_with_itself() -> None:
    images = torch.rand(1, 3, 4, 4)
    mixed = Admix(strength=0.25).view(images, step_context(images)).images
    assert torch.allclose(mixed, 1.25 * images)


@pytest.mark.parametrize("first", ["ds", "di", "rdi"])
def test_admix_after_a_moving_transform_is_refused(first: str) -> None:
    """The images of the shard are at native size and in place; S is linear, so nothing is lost."""
    with pytest.raises(ValidationError, match="admix"):
        spec(transforms=[first, "admix"])
    assert run(spec("fgsm", transforms=["admix", "si", first])).isfinite().all()


@pytest.mark.parametrize("length", [1, 2, 7, 16, 33, 512])
def test_the_cosine_matrix_is_orthonormal(length: int) -> None:
    matrix = cosine_matrix(length).double()
    assert torch.allclose(matrix @ matrix.T, torch.eye(length).double(), atol=2e-6)
    # DCT-II, by its definition.
    k, n = 1 if length > 1 else 0, length // 2
    scale = math.sqrt((1 if k == 0 else 2) / length)
    assert matrix[k, n].item() == pytest.approx(
        scale * math.cos(math.pi * (2 * n + 1) * k / (2 * length)), abs=1e-6
    )


def test_ssa_by_its_formula() -> None:
    """With noise alone: x + N(0, sigma^2). With a mask alone: each coefficient within 1 +- rho."""
    images = torch.rand(2, 3, 40, 50)
    noisy = SpectrumSimulation(sigma=0.1, rho=0).view(images, step_context(images))
    noise = noisy.images - images
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.std().item() == pytest.approx(0.1, rel=0.03)
    masked = SpectrumSimulation(sigma=0, rho=0.5).view(images, step_context(images))
    rows, columns = cosine_matrix(40), cosine_matrix(50)
    ratio = (rows @ masked.images @ columns.T) / (rows @ images @ columns.T)
    large = (rows @ images @ columns.T).abs() > 0.05
    assert ratio[large].min() >= 0.5 - 1e-3
    assert ratio[large].max() <= 1.5 + 1e-3
    assert ratio[large].mean().item() == pytest.approx(1, abs=0.02)
    assert ratio[large].std().item() == pytest.approx(1 / math.sqrt(12), rel=0.05)


def test_ssa_draws_by_image_step_and_copy() -> None:
    images = torch.rand(1, 3, 6, 8).expand(2, 3, 6, 8)
    spec_ = SpectrumSimulation()
    first = spec_.view(images, step_context(images)).images
    assert torch.equal(first, spec_.view(images, step_context(images)).images)
    assert not torch.equal(first[0], first[1])
    later = spec_.view(images, step_context(images, step=1)).images
    assert not torch.equal(first, later)
    seen = list(views(images, (SpectrumSimulation(copies=2),), step_context(images)))
    assert torch.equal(seen[0].images, first)
    assert not torch.equal(seen[1].images, first)


def test_transforms_that_change_nothing_are_mi() -> None:
    plain = run(spec("mi", steps=4))
    assert torch.equal(run(spec("si", steps=4, transforms=[{"si": {"copies": 1}}])), plain)
    assert torch.equal(
        run(spec("mi", steps=4, transforms=[{"admix": {"copies": 1, "strength": 0}}])), plain
    )
    none = run(spec("ssa", steps=4, transforms=[{"ssa": {"copies": 2, "sigma": 0, "rho": 0}}]))
    # The DCT and back costs a rounding, which turns a sign only where a gradient is next to zero.
    assert (none - plain).abs().gt(1e-6).float().mean() < 2e-3


def test_admix_of_strength_zero_is_si() -> None:
    si = run(spec("si", steps=4))
    once = [{"admix": {"copies": 1, "strength": 0}}, "si"]
    assert torch.equal(run(spec("admix", steps=4, transforms=once)), si)
    thrice = run(spec("admix", steps=4, transforms=[{"admix": {"strength": 0}}, "si"]))
    assert (thrice - si).abs().gt(1e-6).float().mean() < 2e-3


def test_the_gradient_of_si_is_the_mean_over_its_intensities() -> None:
    rule = spec("fgsm", eps="4/255", transforms=[{"si": {"copies": 3}}])
    images, labels = tensors(3, 24, 32)
    x = images.clone().requires_grad_(True)
    total = 0
    for power in range(3):
        logits = MODEL(x / 2**power)
        loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=255, reduction="none")
        total = total + (loss.sum((1, 2)) / (labels != 255).sum((1, 2))).sum() / 3
    (gradient,) = torch.autograd.grad(total, x)
    expected = (images + 4 / 255 * gradient.sign()).clamp(0, 1)
    assert (run(rule) - expected).abs().gt(1e-6).float().mean() < 1e-3
    assert np.isfinite(expected.numpy()).all()
