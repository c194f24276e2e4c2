"""What every model looks like to an attack: pixels in, logits out, and its cost counted."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Cost:
    """What a model was asked to do.

    ``forwards`` and ``backwards`` count images, ``pixels`` those that forwards saw (so that scaled
    images weigh what they cost); ``seconds`` is thread CPU time on a CPU, wall time elsewhere.
    """

    forwards: int = 0
    backwards: int = 0
    pixels: int = 0
    seconds: float = 0.0

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(
            self.forwards - other.forwards,
            self.backwards - other.backwards,
            self.pixels - other.pixels,
            self.seconds - other.seconds,
        )


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without loading it: identity, family, classes."""

    name: str
    fingerprint: str
    backbone: str
    num_classes: int | None
    classes: tuple[str, ...] | None


class Segmenter(nn.Module, ABC):
    """A frozen segmentation model in evaluation mode.

    ``model(images)`` takes RGB float32 in [0, 1], N x 3 x H x W, and returns logits N x K x H x W
    at the images' resolution. Subclasses define ``logits``; counting and clocks are kept here.
    """

    num_classes: int
    size_divisor: int = 1

    def __init__(self) -> None:
        super().__init__()
        self._forwards = self._backwards = self._pixels = 0
        self._seconds = 0.0

    @abstractmethod
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits at the images' resolution; what an adapter defines."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        began = self._clock()
        logits = self.logits(images)
        self._seconds += self._clock() - began
        count = len(images)
        self._forwards += count
        self._pixels += count * images.shape[-2] * images.shape[-1]
        if logits.requires_grad:
            logits.register_hook(lambda _: self._count_backward(count))
        return logits

    def gradient(self, loss: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """d loss / d inputs, on the inputs alone: parameters hold no gradient."""
        began = self._clock()
        (gradient,) = torch.autograd.grad(loss, inputs)
        self._seconds += self._clock() - began
        return gradient

    @property
    def cost(self) -> Cost:
        """Everything asked of this model since it was made."""
        return Cost(self._forwards, self._backwards, self._pixels, self._seconds)

    @property
    def device(self) -> torch.device:
        parameter = next(self.parameters(), None)
        return parameter.device if parameter is not None else torch.device("cpu")

    def _count_backward(self, count: int) -> None:
        self._backwards += count

    def _clock(self) -> float:
        return time.thread_time() if self.device.type == "cpu" else time.perf_counter()


def freeze(model: Any) -> Any:
    """Evaluation mode, no parameter gradients; raises AssertionError if a module still trains."""
    model.eval().requires_grad_(False)
    assert not any(m.training for m in model.modules())
    return model
