"""Models of another class list, with predictions in the classes of the data."""

import torch
from typing_extensions import override

from segtransfer.tasks.models.base import Segmenter, WrappedSegmenter, freeze
from segtransfer.tasks.models.label_map import Groups, groups_of
from segtransfer.tasks.models.spec import ModelSpec


class MappedSegmenter(WrappedSegmenter):
    """A segmenter whose channel k is the largest logit among the classes of ``groups[k]``.

    The prediction is the model's own, renamed. Classes outside every group are dropped.
    """

    def __init__(self, inner: Segmenter, groups: Groups) -> None:
        super().__init__(inner)
        self.groups, self.num_classes = groups, len(groups)

    @override
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.inner.checked_logits(images)
        return torch.stack([logits[:, list(group)].amax(1) for group in self.groups], 1)

    @override
    def pixels_seen(self, height: int, width: int) -> int:
        return self.inner.pixels_seen(height, width)


def apply(model: Segmenter, spec: ModelSpec, classes: tuple[str, ...] | None) -> Segmenter:
    """Wrap a model in the spec's label map.

    Args:
        model: The model, with K channels.
        spec: The spec with ``label_map``, in the order of the data's classes.
        classes: The model's own class names by index, None if unknown.

    Returns:
        A frozen model with a channel per class of the data.

    Raises:
        InputError: If the map does not fit the model's classes.
    """
    groups = groups_of(spec, classes, model.num_classes)
    return freeze(MappedSegmenter(model, groups))
