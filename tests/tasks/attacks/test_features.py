"""The feature loss against a direct double loop, and how features are read from a model."""

import math

import numpy as np
import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.features import feature_similarity
from segtransfer.tasks.attacks.layers import read_features
from segtransfer.tasks.attacks.losses import LOSSES, LossContext
from segtransfer.tasks.models.defences.levels import BitDepth
from segtransfer.tasks.models.defended import DefendedSegmenter
from tests.tasks.attacks.specs import FEATURE_LOSSES, tensors
from tests.tasks.cases import ids, spec, toy

STAGED = toy("staged")


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize(("step", "steps"), [(0, 4), (1, 4), (3, 4), (0, 1)])
def test_feature_similarity_by_a_double_loop(step: int, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 2, 3, dtype=torch.float64, generator=generator)
    clean = torch.randn(2, 4, 2, 3, dtype=torch.float64, generator=generator)
    found = feature_similarity(features, clean, LossContext(step, steps))
    for image in range(2):
        own = features[image].flatten(1).T.numpy()
        reference = clean[image].flatten(1).T.numpy()
        external = np.mean([cosine(own[i], reference[i]) for i in range(6)])
        pairs = [
            (i, j)
            for i in range(6)
            for j in range(6)
            if i != j and cosine(reference[i], reference[j]) > math.cos(math.pi / 3)
        ]
        assert pairs
        internal = np.mean([cosine(own[i], own[j]) for i, j in pairs]) / 2
        share = step / steps
        expected = -share * external - (1 - share) * internal
        assert found[image].item() == pytest.approx(expected, abs=1e-12)


def test_fspgd_gradient_equals_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    clean = torch.randn(1, 3, 2, 3, dtype=torch.float64, generator=generator)
    features = clean + 0.3 * torch.randn(clean.shape, dtype=torch.float64, generator=generator)
    for step in (0, 2):
        assert torch.autograd.gradcheck(
            lambda f, step=step: feature_similarity(f, clean, LossContext(step, 4)),
            features.requires_grad_(True),
        )


def test_a_single_position_and_equal_features_are_no_nan() -> None:
    for shape in ((1, 3, 1, 1), (1, 3, 2, 2)):
        features = torch.zeros(shape, requires_grad=True)
        loss = feature_similarity(features, torch.zeros(shape), LossContext(1, 4))
        loss.sum().backward()
        assert features.grad is not None
        assert features.grad.isfinite().all()


@pytest.mark.parametrize("name", FEATURE_LOSSES)
def test_an_images_loss_does_not_depend_on_its_batch(name: str) -> None:
    features, clean = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6)
    together = LOSSES[name](features, clean, LossContext(1, 3))
    for i in range(3):
        alone = LOSSES[name](features[i : i + 1], clean[i : i + 1], LossContext(1, 3))
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize("transforms", [[], ["ds"]], ids=str)
def test_first_step_with_equal_features_has_a_gradient(
    transforms: list[str],
) -> None:
    images, labels = tensors(2)
    rule = spec("fspgd", steps=3, layer="backbone", transforms=transforms)
    (found,), health = loop.run(STAGED, rule, images, labels, ids(2), seed=0, group=0)
    assert max(health.zero_gradients[0]) < 0.2
    assert (found - images).abs().mean() > 1 / 255
    # No label is read.
    (other,), _ = loop.run(STAGED, rule, images, labels * 0 + 255, ids(2), seed=0, group=0)
    assert torch.equal(found, other)


def test_fspgd_moves_features_away_from_clean_features() -> None:
    images, labels = tensors(2)
    rule = spec("fspgd", layer="backbone", steps=10)
    (found,), _ = loop.run(STAGED, rule, images, labels, ids(2), seed=0, group=0)
    noise = spec("noise")
    (noisy,), _ = loop.run(None, noise, images, labels, ids(2), seed=0, group=0)
    clean = read_features(STAGED, images, "backbone")

    def alike(x: torch.Tensor) -> torch.Tensor:
        return -feature_similarity(read_features(STAGED, x, "backbone"), clean, LossContext(1, 1))

    assert (alike(found) < alike(noisy) - 0.02).all()


def test_the_middle_stage_of_a_backbone_is_read() -> None:
    images, _ = tensors(2)
    features = read_features(STAGED, images, "backbone")
    assert features.shape == (2, 6, 6, 8)
    assert torch.equal(features, STAGED.module.backbone(images)[1])  # type: ignore[union-attr, operator]
    assert read_features(STAGED, images, "head").shape == (2, 3, 3, 4)
    assert torch.equal(read_features(STAGED, images, "module.backbone"), features)


def test_the_models_own_feature_layer_is_the_default() -> None:
    images, _ = tensors(1)
    model = toy("staged")
    model.feature_layer = "head"
    assert torch.equal(read_features(model, images, None), read_features(model, images, "head"))


def test_layers_that_cannot_be_read_are_refused() -> None:
    images, _ = tensors(1)
    with pytest.raises(
        InputError, match=r"no modules? named 'neck'; give layer, for example .*backbone"
    ):
        read_features(STAGED, images, "neck")
    with pytest.raises(InputError, match="a feature loss needs a layer"):
        read_features(STAGED, images, None)
    vector = toy("convolutional")
    vector.module.register_module("flat", torch.nn.Flatten())  # type: ignore[union-attr, operator]
    forward = vector.module.forward  # type: ignore[union-attr]
    vector.module.forward = lambda x: (vector.module.flat(x), forward(x))[1]  # type: ignore
    with pytest.raises(InputError, match="the output of layer 'flat' is no tensor N x C x h x w"):
        read_features(vector, images, "flat")


def test_example_layers_are_named_as_in_the_network_of_a_defended_model() -> None:
    images, _ = tensors(1)
    defended = DefendedSegmenter(DefendedSegmenter(toy("staged"), BitDepth()), BitDepth())
    with pytest.raises(InputError, match=r"for example backbone, "):
        read_features(defended, images, None)


def test_layer_name_of_two_modules_is_refused() -> None:
    images, _ = tensors(1)
    model = toy("staged")
    model.register_module("again", toy("staged").module)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 modules named 'head'"):
        read_features(model, images, "head")
    assert read_features(model, images, "module.head").shape == (1, 3, 3, 4)


def test_a_layer_that_runs_more_than_once_is_refused() -> None:
    images, _ = tensors(1)
    model = toy("staged")
    forward = model.module.forward  # type: ignore[union-attr]
    model.module.forward = lambda x: forward(x) + forward(x)  # type: ignore
    with pytest.raises(InputError, match="layer 'head' ran 2 times per image"):
        read_features(model, images, "head")


def test_no_hook_is_left_behind() -> None:
    images, _ = tensors(1)
    read_features(STAGED, images, "backbone")
    assert not any(module._forward_hooks for module in STAGED.modules())


def test_a_forward_of_a_feature_loss_costs_a_backward_too() -> None:
    model = toy("staged")
    images, labels = tensors(2)
    rule = spec("fspgd", steps=4, layer="backbone")
    loop.run(model, rule, images, labels, ids(2), seed=0, group=0)
    # The clean features are read once.
    assert (model.cost.forwards, model.cost.backwards) == (2 * 5, 2 * 4)
