"""Models of the zoo in double precision, so that few signs of gradients depend on rounding."""

from functools import cache

import torch

from segtransfer.tasks.data.base import load
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter

COUNT, CLASSES = 3, 11  # US-MM mixes each image with one of two others


class Doubled(Segmenter):
    """A model of the zoo with weights, inputs and logits in double precision."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.inner = adapters.load(adapters.ModelSpec.model_validate(name)).double().eval()
        self.num_classes, self.size_divisor = self.inner.num_classes, self.inner.size_divisor
        self.feature_layer = self.inner.feature_layer

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner.logits(images.double())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.logits(images)
        self.count_backward_of(logits)
        return logits


@cache
def doubled(name: str) -> Doubled:
    return Doubled(name)


@cache
def photographs(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of the sample and their labels: float64 N x 3 x H x W, int64 N x H x W."""
    spec = DataSpec.model_validate({"sample": "camvid", "images": COUNT, "size": [height, width]})
    dataset = open_dataset(spec)
    images, labels = zip(*(load(dataset, item, spec) for item in dataset.items), strict=True)
    # Not on whole levels: a sum of steps that ends between two levels ends on neither by rounding.
    pixels = torch.stack([torch.tensor(image) for image in images]).double() / 256 + 1e-3
    return pixels, torch.stack([torch.tensor(label) for label in labels]).long()
