"""Models behind defences, and the code of defences."""

from collections.abc import Sequence

import torch
from typing_extensions import override

from segtransfer.tasks.models.base import Segmenter, WrappedSegmenter, freeze
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


def import_code(defences: Sequence[DefenceSpec]) -> None:
    """Import the code of defences of packages and of the user.

    Args:
        defences: The defences.

    Raises:
        InputError: If code is missing or has another hash.
    """
    for defence in defences:
        defence.typed()
