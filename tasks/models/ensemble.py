"""Ensembles: several models as a single model, with averaged logits or gradients."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce

import torch
from torch import nn
from typing_extensions import override

from segtransfer.tasks.models.base import Cost, Segmenter
from segtransfer.tasks.models.ensemble_description import check_agree, ensemble_of
from segtransfer.tasks.models.spec import ModelSpec


class EnsembleSegmenter(Segmenter):
    """Members with weights; ``model(images)`` is the weighted mean of the members' logits.

    Members count their own work; the ensemble's cost is the sum.
    """

    def __init__(
        self,
        members: Sequence[Segmenter],
        weights: Sequence[float],
        *,
        average: str,
        own_scales: bool,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(members)
        self.weights = tuple(weights)
        self._image_weights: torch.Tensor | None = None
        self.num_classes, self.classifier = members[0].num_classes, members[0].classifier
        self.size_divisor = math.lcm(*(member.size_divisor for member in members))
        self.least_side = max(member.least_side for member in members)
        self.align_corners = all(member.align_corners for member in members)
        self.average = average
        self.normalise_gradients = average == "gradients"
        self.own_scales = own_scales

    @override
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        if self._image_weights is None:
            parts = (weight * member(images) for member, weight in self._weighted())
        else:
            columns = self._image_weights[..., None, None, None].unbind(1)
            parts = (w * member(images) for member, w in zip(self.parts, columns, strict=True))
        return reduce(torch.add, parts)

    @override
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images)

    @override
    def pixels_seen(self, height: int, width: int) -> int:
        return sum(member.pixels_seen(height, width) for member, _ in self._weighted())

    def members(self) -> list[tuple[Segmenter, float]]:
        """Return the models differentiated by an attack, with weights of sum 1.

        Returns:
            The ensemble alone if logits are averaged, else its members.
        """
        return [(self, 1.0)] if self.average == "logits" else self._weighted()

    @override
    def all_members(self) -> list[tuple[Segmenter, float]]:
        return self._weighted()

    @override
    @contextmanager
    def weighted(self, weights: torch.Tensor | None) -> Iterator[None]:
        self._image_weights = weights
        try:
            yield
        finally:
            self._image_weights = None

    @override
    @property
    def cost(self) -> Cost:
        return sum((member.cost for member, _ in self._weighted()), super().cost)

    def _weighted(self) -> list[tuple[Segmenter, float]]:
        return list(zip(self.parts, self.weights, strict=True))  # type: ignore[arg-type]


def combine(spec: ModelSpec, members: Sequence[Segmenter]) -> EnsembleSegmenter:
    """Combine loaded members into a single model.

    Args:
        spec: The ensemble.
        members: A model per member, in the order of the spec.

    Returns:
        The ensemble in evaluation mode.

    Raises:
        InputError: If the members predict different numbers of classes.
    """
    ensemble = ensemble_of(spec)
    check_agree(spec, "num_classes", [member.num_classes for member in members])
    return EnsembleSegmenter(
        members,
        ensemble.normalised_weights,
        average=ensemble.average,
        own_scales=ensemble.own_scales,
    ).eval()
