"""Models behind defences: the network, the description, and the code."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import torch
from typing_extensions import override

from segtransfer.tasks.models.base import ModelInfo, Segmenter, WrappedSegmenter, freeze
from segtransfer.tasks.models.defences.base import DefenceSpec


class DefendedSegmenter(WrappedSegmenter):
    """A segmenter behind a defence; errors of a defence are reported as the model's."""

    def __init__(self, inner: Segmenter, defence: DefenceSpec) -> None:
        super().__init__(inner)
        self.defence = defence

    @override
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.defence.logits(images, self.inner)

    @override
    def pixels_seen(self, height: int, width: int) -> int:
        return self.defence.pixels_seen(height, width, self.inner)


def apply(model: Segmenter, defences: Sequence[DefenceSpec]) -> Segmenter:
    """Put defences around a model; the first acts on the image first.

    Args:
        model: The model.
        defences: The defences, in the order of the spec.

    Returns:
        The model itself without defences, else a frozen model around it.
    """
    for defence in reversed(defences):
        model = freeze(DefendedSegmenter(model, defence))
    return model


def describe(info: ModelInfo, defences: Sequence[DefenceSpec]) -> ModelInfo:
    """Return the description of a model with defences.

    Args:
        info: The description without defences.
        defences: The defences, in the order of the spec.

    Returns:
        The same description without defences; else with a fingerprint that covers the fields and
        the version of each defence, and with the network's own fingerprint in ``undefended``.
    """
    if not defences:
        return info
    parts = [[defence.version, defence.identity_fields()] for defence in defences]
    text = json.dumps([info.fingerprint, "defences", parts], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return replace(info, fingerprint=fingerprint, undefended=(info.fingerprint,))


def import_code(defences: Sequence[DefenceSpec]) -> None:
    """Import the code of defences of packages and of the user.

    Args:
        defences: The defences.

    Raises:
        InputError: If code is missing or has another hash.
    """
    for defence in defences:
        defence.typed()
