"""Losses on features of an intermediate layer, without logits and labels at any time."""

from __future__ import annotations

import math

import torch

from segtransfer.tasks.attacks.losses import LOSSES, LossContext, reads_features

# Two positions are similar if the cosine of their clean features exceeds cos(pi / 3).
AFFINITY = math.cos(math.pi / 3)


@LOSSES.add("fspgd")
@reads_features
def feature_similarity(
    features: torch.Tensor, clean: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """Return -(l_t L_ex + (1 - l_t) L_in), l_t = t / T (FSPGD, Park et al., arXiv 2502.01262).

    L_ex is the mean over positions of the cosine of attacked and clean features. L_in is half the
    mean cosine of the attacked features over pairs of similar positions: cosine of the clean
    features above cos(pi / 3). Features are normalised in both terms, so every position has the
    same weight. The authors' code computes the same loss for a batch of a single image; L_in of a
    larger batch is there a mean over the pairs of all images. Without a similar pair L_in is 0
    here, 0 / 0 in the code. The spec refuses a target for this loss.

    Args:
        features: Features of the iterate x_t, float N x C x h x w.
        clean: Features of the clean image in the same view, float N x C x h x w.
        context: The step t and the number of steps T.

    Returns:
        N losses, each in [-1, 1].
    """
    share = min(context.step / max(context.steps, 1), 1.0)
    own = torch.nn.functional.normalize(features, dim=1).flatten(2)
    reference = torch.nn.functional.normalize(clean, dim=1).flatten(2)
    external = (own * reference).sum(1).mean(1)
    pairs = torch.bmm(reference.transpose(1, 2), reference) > AFFINITY
    pairs.diagonal(dim1=1, dim2=2).fill_(False)
    similar = torch.bmm(own.transpose(1, 2), own) * pairs
    internal = similar.sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1) / 2
    return -share * external - (1 - share) * internal


@LOSSES.add("dr")
@reads_features
def dispersion(features: torch.Tensor, clean: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Return minus the standard deviation of all values of the features.

    Features of little contrast serve no task. Dispersion reduction (Lu et al., CVPR 2020), judged
    on segmentation among other tasks. The deviation is an image's, in the authors' code the
    batch's.

    Args:
        features: Features of the iterate x_t, float N x C x h x w.
        clean: Unused.
        context: Unused; the rule is the same at every step.

    Returns:
        N losses, 0 or less.
    """
    return -features.flatten(1).std(1)
