"""Ensembles: several models as a single model, with averaged logits or gradients."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce

import torch
from torch import nn
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import Cost, ModelInfo, Segmenter
from segtransfer.tasks.models.spec import EnsembleSpec, ModelSpec

ADAPTER_VERSION = 1


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
    ensemble = _source(spec)
    _check_agree(spec, "num_classes", [member.num_classes for member in members])
    return EnsembleSegmenter(
        members,
        ensemble.normalised_weights,
        average=ensemble.average,
        own_scales=ensemble.own_scales,
    ).eval()


def describe(spec: ModelSpec, infos: Sequence[ModelInfo]) -> ModelInfo:
    """Describe an ensemble from the descriptions of its members.

    Args:
        spec: The ensemble.
        infos: A description per member, in the order of the spec.

    Returns:
        The description; the fingerprint covers the members' fingerprints and weights, ``average``
        and ``own_scales``.

    Raises:
        InputError: If the members' known class lists differ, or only some are classifiers.
    """
    ensemble = _source(spec)
    kinds = {info.classifier: info.name for info in infos}
    if len(kinds) > 1:
        raise InputError(
            f"ensemble '{spec.name}': member '{kinds[True]}' is a classifier and '{kinds[False]}' "
            "predicts a class per pixel, and their logits have no mean; give members of one kind"
        )
    _check_agree(spec, "classes", [info.classes for info in infos])
    _check_agree(spec, "num_classes", [info.num_classes for info in infos])
    identity = [
        ADAPTER_VERSION,
        "ensemble",
        [info.fingerprint for info in infos],
        ensemble.normalised_weights,
        ensemble.average,
        ensemble.own_scales,
    ]
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
        backbone=spec.backbone or "+".join(sorted({info.backbone for info in infos})),
        num_classes=next((i.num_classes for i in infos if i.num_classes is not None), None),
        classes=next((info.classes for info in infos if info.classes is not None), None),
        members=tuple((info.fingerprint, info.backbone) for info in infos),
        undefended=tuple((info.undefended or (info.fingerprint,))[0] for info in infos)
        if any(info.undefended for info in infos)
        else (),
        classifier=infos[0].classifier,
    )


def _source(spec: ModelSpec) -> EnsembleSpec:
    assert spec.ensemble is not None
    return spec.ensemble


def _check_agree(spec: ModelSpec, what: str, values: Sequence[object]) -> None:
    """Refuse members whose known values differ."""
    known = [
        (member.name, value)
        for member, value in zip(_source(spec).members, values, strict=True)
        if value is not None
    ]
    for name, value in known[1:]:
        if value != known[0][1]:
            raise InputError(
                f"ensemble '{spec.name}': {what} of '{known[0][0]}' is {_shown(known[0][1])}, of "
                f"'{name}' {_shown(value)}; give members of the same class list, or map a member's "
                "classes with its label_map"
            )


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
