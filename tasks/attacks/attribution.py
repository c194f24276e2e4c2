"""Feature losses with weights or a direction computed once, before the first step.

The loss of each is linear in the features, so a constant of the papers' formulas (features of the
clean or the black image) has no gradient and is left out. Classifiers have a single label; here the
score at the label is the mean over the labelled pixels.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from segtransfer.tasks.attacks.losses import (
    LOSSES,
    LossContext,
    mean_labelled,
    prepared_by,
    reads_features,
)
from segtransfer.tasks.attacks.magnitudes import euclidean_norm, over
from segtransfer.tasks.attacks.preparation import LogitScore, Preparation
from segtransfer.tasks.labels import IGNORE_INDEX

COPIES = 30  # images whose gradients are averaged, in FIA and NAA
KEPT = 0.7  # share of values that a mask of FIA keeps
NOISE = 0.1  # standard deviation of NAA's noise: 0.2 of the range [-1, 1] in the authors' code


def importance(preparation: Preparation) -> torch.Tensor:
    """Return FIA's weights: the unit sum of gradients of the label's logit at 30 masked images.

    Args:
        preparation: The source and the clean images; each value of each image is kept with
            probability 0.7, else set to 0.

    Returns:
        float32 N x C x h x w, of Euclidean norm 1 per image.
    """
    images = preparation.images
    masked = (images * (preparation.uniform("fia", n) < KEPT) for n in range(COPIES))
    return _unit_sum(preparation, masked, label_logit)


def attribution(preparation: Preparation) -> torch.Tensor:
    """Return NAA's weights: the unit sum of gradients of the label's probability on a path.

    Args:
        preparation: The source and the clean images x. The path is (1 - n / 30) (x + N(0, 0.1^2))
            for n = 0 .. 29, towards black.

    Returns:
        float32 N x C x h x w, of Euclidean norm 1 per image.
    """
    images = preparation.images
    path = (
        (1 - n / COPIES) * (images + NOISE * preparation.normal("naa", n)) for n in range(COPIES)
    )
    return _unit_sum(preparation, path, label_probability)


def direction(preparation: Preparation) -> torch.Tensor:
    """Return ILA's direction d / |d|^2, d = h(x') - h(x), x' the first attack's image.

    Args:
        preparation: The source, the clean images x and the attacked images x'.

    Returns:
        float32 N x C x h x w; 0 for an image whose features the first attack left as they were.
    """
    moved = preparation.features(preparation.attacked) - preparation.features(preparation.images)
    return over(moved, moved.square().sum((1, 2, 3), keepdim=True))


@LOSSES.add("fia")
@prepared_by(importance, forwards=COPIES)
@reads_features
def feature_importance(
    features: torch.Tensor, weights: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """Return -mean(w h(x_t)): important features shrink (FIA, ICCV 2021).

    w is the sum of gradients of the label's logit to the features h, at 30 images with 30 % of
    their values set to 0, divided by its norm. Weights belong to the clean image, so transforms
    of moved or resized content are refused; the authors' code combines FIA with DI regardless.
    Wang et al., "Feature Importance-aware Transferable Adversarial Attacks".

    Args:
        features: Features of the iterate x_t, float N x C x h x w.
        weights: w, float N x C x h x w.
        context: Unused; the rule is the same at every step.

    Returns:
        N losses.
    """
    return -(weights * features).mean((1, 2, 3))


@LOSSES.add("naa")
@prepared_by(attribution, forwards=COPIES)
@reads_features
def neuron_attribution(
    features: torch.Tensor, weights: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """Return -mean(w h(x_t)), w from gradients on a path to black (NAA, Zhang et al., CVPR 2022).

    w is the sum of gradients of the label's probability to the features h at (1 - n / 30) (x + e),
    n = 0 .. 29, e ~ N(0, 0.1^2), divided by its norm. The authors' defaults: linear transformation,
    positive and negative attributions of equal weight (gamma = 1). The noise is in their code.

    Args:
        features: Features of the iterate x_t, float N x C x h x w.
        weights: w, float N x C x h x w.
        context: Unused; the rule is the same at every step.

    Returns:
        N losses.
    """
    return -(weights * features).mean((1, 2, 3))


@LOSSES.add("ila")
@prepared_by(direction, forwards=2, first_loss="cross-entropy", draws=False)
@reads_features
def intermediate_level(
    features: torch.Tensor, towards: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """Return <h(x_t), d> / |d|^2, d = h(x') - h(x) (ILA's projection, Huang et al., ICCV 2019).

    x' is the result of a first attack, which has the cross-entropy as its loss and all other
    fields of the spec, its steps among them; then the run starts again. So a run costs twice its
    steps.

    Args:
        features: Features of the iterate x_t, float N x C x h x w.
        towards: d / |d|^2, float N x C x h x w.
        context: Unused; the rule is the same at every step.

    Returns:
        N losses.
    """
    return (features * towards).sum((1, 2, 3))


def label_logit(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean logit of the label over the labelled pixels of each image.

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.

    Returns:
        N numbers.
    """
    index = torch.where(labels == IGNORE_INDEX, 0, labels)[:, None]
    return mean_labelled(logits.gather(1, index)[:, 0], labels)


def label_probability(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean probability of the label over the labelled pixels of each image.

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.

    Returns:
        N numbers in [0, 1].
    """
    return label_logit(logits.softmax(1), labels)


def _unit_sum(
    preparation: Preparation, inputs: Iterable[torch.Tensor], score: LogitScore
) -> torch.Tensor:
    """Return the sum over images of a score's gradient to the features, of norm 1 per image."""
    total: torch.Tensor | None = None
    for images in inputs:
        gradient = preparation.feature_gradient(images, score)
        total = gradient if total is None else total + gradient
    assert total is not None
    return over(total, euclidean_norm(total))
