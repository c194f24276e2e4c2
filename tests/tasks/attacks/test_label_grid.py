"""Labels of another size than the images: losses, regions and scores are on their own grids."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.context import make_context
from segtransfer.tasks.attacks.gradients import loss_gradient
from segtransfer.tasks.attacks.losses import LossContext
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.models.ensemble import EnsembleSegmenter
from segtransfer.tasks.models.mapped import MappedSegmenter
from segtransfer.tasks.models.scaled import ScaledSegmenter
from segtransfer.tasks.models.sliding import SlidingSegmenter
from tests.tasks.cases import annotations, as_tensors, ids, pictures, spec, toy

IMAGE, LABEL = (24, 32), (17, 23)


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_gradient_is_that_of_the_loss_of_logits_at_the_labels_size(align_corners: bool) -> None:
    model = toy("convolutional")
    model.align_corners = align_corners
    images, labels = as_tensors(pictures(2, *IMAGE), annotations(2, *LABEL, 3))
    context = make_context(model, spec("pgd"), images, labels, ids(2), seed=0, group=0)
    got = loss_gradient(context, images, StepRandom(0, 0, 0, ids(2)), LossContext(0, 1, False))

    inputs = images.clone().requires_grad_(True)
    logits = F.interpolate(model(inputs), LABEL, mode="bilinear", align_corners=align_corners)
    per_pixel = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    losses = torch.stack([p[t != 255].mean() for p, t in zip(per_pixel, labels, strict=True)])
    (expected,) = torch.autograd.grad(losses.sum(), inputs)
    torch.testing.assert_close(got.losses, losses.detach())
    torch.testing.assert_close(got.values, expected)


@pytest.mark.parametrize("transform", ["ds", "si", "di", "ssa", "admix", "rdi"])
@pytest.mark.parametrize("version", ["logits", "labels"])
def test_every_transform_meets_labels_of_another_size(transform: str, version: str) -> None:
    attacked = spec("pgd", steps=2, transforms=[transform], label_version=version)
    made = attack(
        toy("convolutional"),
        attacked,
        pictures(2, *IMAGE),
        annotations(2, *LABEL, 3),
        ids(2),
        seed=0,
        group=0,
        micro_batch=2,
    )
    assert made.images.shape == (1, 2, 3, *IMAGE)
    assert all(np.isfinite(step).all() for run in made.report["health"] for step in run["losses"])
    assert max(made.report["perturbation"][0]["linf"]) > 0


def test_a_region_of_classes_is_that_of_the_labels_brought_to_the_image() -> None:
    labels = np.zeros((1, 12, 16), np.uint8)
    labels[:, :, 8:] = 1
    images, truth = as_tensors(pictures(1, *IMAGE), labels)
    limited = spec("pgd", steps=1, region={"classes": [1]})
    for attacked in (limited, spec("noise", region={"classes": [1]})):
        model = None if attacked.steps == 0 else toy("convolutional")
        (made,), _ = loop.run(model, attacked, images, truth, ids(1), seed=0, group=0)
        changed = (made != images).any(1)[0]
        assert not changed[:, :16].any()
        assert changed[:, 16:].float().mean() > 0.9


def test_scores_are_at_the_labels_size() -> None:
    model = toy("linear", weights=[[1.0, 0, 0], [0, 1.0, 0]])
    images = np.zeros((1, 3, 4, 4), np.uint8)
    images[:, 0, :, :2], images[:, 1, :, 2:] = 255, 255
    labels = np.array([[[0, 0, 0, 0, 1, 1, 1, 1]] * 2], np.uint8)
    result = evaluate(model, images, labels, num_classes=2, micro_batch=1)
    assert np.array_equal(result.predictions, labels)
    assert np.array_equal(result.confusions, [[[8, 0], [0, 8]]])


def test_scale_label_map_windows_and_ensemble_resize_logits_as_their_network_does() -> None:
    model = toy("convolutional")
    model.align_corners = True
    logits = model(torch.rand(1, 3, *IMAGE))
    wrapped = [
        ScaledSegmenter(model, 0.75),
        MappedSegmenter(model, ((0,), (1, 2))),
        SlidingSegmenter(model, (16, 16), (8, 8)),
        EnsembleSegmenter([model, model], [0.5, 0.5], average="logits", own_scales=False),
    ]
    for outer in wrapped:
        assert torch.equal(outer.at(logits, LABEL), model.at(logits, LABEL))
    model.align_corners = False
    assert not torch.equal(wrapped[0].at(logits, LABEL), model.at(logits, LABEL))
