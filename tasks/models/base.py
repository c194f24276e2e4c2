"""The interface of models: pixels to logits, with the cost counted."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.float32 import use_full_precision
from segtransfer.tasks.models.outputs import check_logits, foreign_error


@dataclass(frozen=True)
class Cost:
    """The work of a model.

    Attributes:
        forwards: The number of images in forwards.
        backwards: The number of images in backwards.
        pixels: The number of pixels processed by networks in forwards, including scaled images,
            padding and overlaps of windows.
        seconds: The time in forwards and gradients: thread CPU time on a CPU, wall time elsewhere.
    """

    forwards: int = 0
    backwards: int = 0
    pixels: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.pixels + other.pixels,
            self.seconds + other.seconds,
        )

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(
            self.forwards - other.forwards,
            self.backwards - other.backwards,
            self.pixels - other.pixels,
            self.seconds - other.seconds,
        )


@dataclass(frozen=True)
class Effective:
    """The active options of ``numerics`` of a model.

    Attributes:
        fold: Whether batch norms are folded into convolutions.
        channels_last: Whether weights have the channels-last memory layout.
        bf16: Whether gradients are computed with bf16 autocast.
        equal_signs: Per option tried, the share of gradient signs equal to the model's without
            options, in [0, 1].
        left_off: Per failed option, the reason.
    """

    fold: bool = False
    channels_last: bool = False
    bf16: bool = False
    equal_signs: Mapping[str, float] = field(default_factory=dict)
    left_off: Mapping[str, str] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Return the JSON stored with a result.

        Returns:
            All fields, and ``tf32``: false; results of earlier versions have true on CUDA.
        """
        fields = asdict(self) | {"tf32": False}
        return fields if self.left_off else {k: v for k, v in fields.items() if k != "left_off"}


class Segmenter(nn.Module, ABC):
    """A frozen segmentation model in evaluation mode, or a classifier.

    ``model(images)`` takes RGB images, float32 N x 3 x H x W in [0, 1], and returns float32 logits
    N x K x H x W; a classifier returns N x K x 1 x 1. A subclass sets ``num_classes`` and defines
    ``logits``, with its own normalisation, padding and resize. This class counts forwards,
    backwards and time.

        class Mine(Segmenter):
            def __init__(self, network):
                super().__init__()
                self.network, self.num_classes = network, 11

            def logits(self, images):
                return self.network((images - 0.5) / 0.5)

    Attributes:
        name: The name in messages, empty if unknown; set by the loader.
        num_classes: K, the number of channels of the logits.
        classifier: Whether the logits are of whole images: N x K x 1 x 1, or N x K in ``logits``.
            Default False.
        size_divisor: The divisor of every height and width the network takes, in pixels; scaled
            images are rounded to its multiples. Default 1; 1 is replaced by a value found by trial.
        least_side: The shortest side the network takes, in pixels. Default 1.
        any_size: Whether trials found no refused size. Default True.
        taken_sizes: The sizes known to work, height and width in pixels.
        align_corners: The convention for resizing logits to labels of another size, as in the
            network's library. Default False.
        normalise_gradients: Whether an attack divides the gradient of each of ``members()`` by its
            mean magnitude before averaging. Default False.
        own_scales: Whether an attack draws the transforms of each member separately. Default False.
        feature_layer: The default module for feature losses, by name. Default None.
        numerics: The active options.
        examined: Whether the model was tried with a probe.
        deterministic: Whether forwards of the same image agreed on a probe.
    """

    name: str = ""
    num_classes: int
    classifier: bool = False
    size_divisor: int = 1
    least_side: int = 1
    any_size: bool = True
    align_corners: bool = False
    normalise_gradients: bool = False
    own_scales: bool = False
    feature_layer: str | None = None
    numerics: Effective = Effective()
    examined: bool = False
    deterministic: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.taken_sizes: set[tuple[int, int]] = set()
        self._forwards = self._backwards = self._pixels = 0
        self._seconds = 0.0

    @abstractmethod
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits; the method to define in a subclass.

        Args:
            images: RGB, float32 N x 3 x H x W in [0, 1], on the model's device.

        Returns:
            Floating-point logits N x K x H x W (of a classifier N x K), with a gradient to the
            images.
        """

    def checked_logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``logits`` with kind and shape checked.

        Args:
            images: RGB, float32 N x 3 x H x W in [0, 1].

        Returns:
            Floating-point logits N x K x H x W (of a classifier N x K x 1 x 1), not yet float32.

        Raises:
            InputError: If the output is no such tensor, or the model raises an error.
        """
        try:
            output = self.logits(images)
        except Exception as error:  # foreign code may raise anything
            size = f"{images.shape[-2]} x {images.shape[-1]} (height x width)"
            told = foreign_error(error, f"{self.who}, on images of {size},")
            if told is error:
                raise
            raise told from error
        if self.classifier and torch.is_tensor(output) and output.ndim == 2:
            output = output[..., None, None]
        grid = (1, 1) if self.classifier else (images.shape[-2], images.shape[-1])
        return check_logits(output, images, self.num_classes, self.who, grid)

    def at(self, logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Resize logits bilinearly to the size of labels.

        Args:
            logits: float N x K x H x W.
            size: Height h and width w, in pixels.

        Returns:
            float N x K x h x w; the same tensor if the size is equal.
        """
        if logits.shape[-2:] == size:
            return logits
        return F.interpolate(logits, size, mode="bilinear", align_corners=self.align_corners)

    def pixels_seen(self, height: int, width: int) -> int:
        """Return the number of pixels processed by the network per image.

        Args:
            height: The height of the image, in pixels.
            width: The width of the image, in pixels.

        Returns:
            Pixels, with padding and every window; by default height * width.
        """
        return height * width

    def fold(self) -> bool:
        """Fold batch norms into convolutions, in place.

        Returns:
            Whether the network was folded; False by default, for adapters without folding.
        """
        return False

    def members(self) -> list[tuple["Segmenter", float]]:
        """Return the models differentiated by an attack, with their weights.

        Returns:
            Pairs of model and weight, weights of sum 1; by default this model alone.
        """
        return [(self, 1.0)]

    def all_members(self) -> list[tuple["Segmenter", float]]:
        """Return the members of an ensemble with their weights, whatever it averages.

        Returns:
            Pairs of model and weight, weights of sum 1; by default this model alone.
        """
        return [(self, 1.0)]

    def weighted(self, weights: torch.Tensor | None) -> AbstractContextManager[None]:
        """Average logits by other weights inside a ``with`` block.

        Args:
            weights: A weight per image and member, float N x members; None for the model's own.

        Returns:
            A context manager; by default it changes nothing.
        """
        return nullcontext()

    @override
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        began = self._clock()
        # A forward without gradient is a score, computed in fp32.
        attacked = torch.is_grad_enabled()
        bf16 = self.numerics.bf16 and attacked
        use_full_precision()  # cuDNN's default for convolutions is TF32, of ten bits
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            logits = self.checked_logits(images).float()
        self._seconds += self._clock() - began
        count = len(images)
        self._forwards += count
        self._pixels += count * self.pixels_seen(*images.shape[-2:])
        self.count_backward_of(logits)
        return logits

    def count_backward_of(self, output: torch.Tensor) -> None:
        """Count a backward when a gradient flows through an output.

        Args:
            output: A tensor with images along its first axis, for example logits N x K x H x W.
        """
        if output.requires_grad:
            count = len(output)
            output.register_hook(lambda _: self._count_backward(count))

    def gradient(self, loss: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Return d loss / d inputs.

        Args:
            loss: A scalar computed from ``inputs``.
            inputs: A tensor with ``requires_grad``.

        Returns:
            A tensor of the shape of ``inputs``.

        Raises:
            InputError: If the loss does not depend on the inputs, or a backward raises an error.
        """
        began = self._clock()
        try:
            (gradient,) = torch.autograd.grad(loss, inputs, allow_unused=True)
        except Exception as error:  # foreign code may raise anything
            told = foreign_error(error, f"the gradient of {self.who}")
            if told is error:
                raise
            raise told from error
        self._seconds += self._clock() - began
        if gradient is None:
            raise InputError(
                f"the loss on {self.who} does not depend on the images, so it has no gradient; "
                "compute logits and loss with torch, without detach, no_grad and numpy"
            )
        return gradient

    @property
    def who(self) -> str:
        """Return the model's name in messages: "model 'x'", or "the model"."""
        return f"model '{self.name}'" if self.name else "the model"

    @property
    def facts(self) -> dict[str, Any]:
        """Return the model's part of a stored report: numerics, and a lack of determinism."""
        unlike = {} if self.deterministic else {"deterministic": False}
        return {"numerics": self.numerics.report(), **unlike}

    @property
    def cost(self) -> Cost:
        """Return the work of this model since its construction."""
        return Cost(self._forwards, self._backwards, self._pixels, self._seconds)

    @property
    def device(self) -> torch.device:
        """Return the device of the parameters, or the CPU without parameters."""
        parameter = next(self.parameters(), None)
        return parameter.device if parameter is not None else torch.device("cpu")

    def _count_backward(self, count: int) -> None:
        self._backwards += count

    def _clock(self) -> float:
        return time.thread_time() if self.device.type == "cpu" else time.perf_counter()


class WrappedSegmenter(Segmenter):
    """A segmenter around a segmenter ``inner``, with the traits of ``inner``."""

    def __init__(self, inner: Segmenter) -> None:
        super().__init__()
        self.inner = inner
        self.num_classes, self.align_corners = inner.num_classes, inner.align_corners
        self.classifier = inner.classifier
        self.size_divisor, self.least_side = inner.size_divisor, inner.least_side
        if inner.feature_layer is not None:
            self.feature_layer = f"inner.{inner.feature_layer}"


def freeze(model: Any) -> Any:
    """Set a model to evaluation mode without parameter gradients, in place.

    Args:
        model: A torch module.

    Returns:
        The same module.

    Raises:
        InputError: If a module inside is still in training mode after ``eval()``.
    """
    model.eval().requires_grad_(False)
    for name, module in model.named_modules():
        if module.training:
            where = f"module '{name}' ({type(module).__name__})" if name else type(module).__name__
            raise InputError(
                f"{where} is in training mode after eval(); let its train() set the mode of itself "
                "and its children"
            )
    return model
