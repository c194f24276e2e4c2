"""The source before the first step of a run, from which a feature loss computes its reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import torch

from segtransfer.tasks.attacks.layers import read_features, read_layer
from segtransfer.tasks.attacks.step_random import StepRandom

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter

LogitScore: TypeAlias = "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]"


@dataclass(frozen=True)
class Preparation:
    """The source and the images before the first step of a run.

    Attributes:
        model: The source, or a member of an ensemble.
        layer: The module whose output is read, or None for the model's ``feature_layer``.
        images: Clean images, float N x 3 x H x W in [0, 1].
        labels: The truth, int64 N x h x w, 255 ignored.
        attacked: The images after the first attack, float N x 3 x H x W in [0, 1]; the clean images
            without a first attack.
        random: The random numbers of the run's first step.
    """

    model: Segmenter
    layer: str | None
    images: torch.Tensor
    labels: torch.Tensor
    attacked: torch.Tensor
    random: StepRandom

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return features of images, at the cost of a forward.

        Args:
            images: float N x 3 x H x W in [0, 1].

        Returns:
            float32 N x C x h x w, without gradient.
        """
        with torch.no_grad():
            return read_features(self.model, images, self.layer)

    def feature_gradient(self, images: torch.Tensor, score: LogitScore) -> torch.Tensor:
        """Return the gradient of a score of the logits to the features, at the cost of a forward.

        Args:
            images: float N x 3 x H x W.
            score: A function of logits (float N x K x h x w, at the labels' size) and labels, which
                returns N numbers with a gradient.

        Returns:
            float32 N x C x h x w.

        Raises:
            InputError: If the logits do not depend on the layer's output.
        """
        output, logits = read_layer(self.model, images.detach().requires_grad_(True), self.layer)
        size = self.labels.shape[-2], self.labels.shape[-1]
        total = score(self.model.at(logits, size), self.labels).sum()
        return self.model.gradient(total, output).float()

    def uniform(self, what: str, copy: int) -> torch.Tensor:
        """Return uniform noise of the images' shape.

        Args:
            what: The name of the draw; another name gives independent numbers.
            copy: The number of the draw, from 0.

        Returns:
            float32 N x 3 x H x W in [0, 1), each image from (seed, image id, restart, copy).
        """
        return self._draw(torch.rand, what, copy)

    def normal(self, what: str, copy: int) -> torch.Tensor:
        """Return standard normal noise of the images' shape.

        Args:
            what: The name of the draw; another name gives independent numbers.
            copy: The number of the draw, from 0.

        Returns:
            float32 N x 3 x H x W, each image from (seed, image id, restart, copy).
        """
        return self._draw(torch.randn, what, copy)

    def _draw(self, law: Callable[..., torch.Tensor], what: str, copy: int) -> torch.Tensor:
        random, shape = replace(self.random, copy=copy), self.images.shape[1:]
        drawn = [law(shape, generator=random.generator(what, i)) for i in random.image_ids]
        return torch.stack(drawn).to(self.images.device, non_blocking=True)
