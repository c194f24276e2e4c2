"""The interface of every model to an attack: pixels in, logits out, and its cost counted."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.data.names import composed
from segtransfer.tasks.models.outputs import check_logits, foreign_error


@dataclass(frozen=True)
class Cost:
    """The work that a model has done.

    Attributes:
        forwards: Number of images in forwards.
        backwards: Number of images in backwards.
        pixels: Number of pixels that networks processed in forwards, so scaled images and
            overlapping windows count what they cost.
        seconds: Thread CPU time on a CPU, wall time elsewhere.
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
class ModelInfo:
    """The description of a model that is not loaded.

    Attributes:
        name: The name in results.
        fingerprint: The hash of weights, config and adapter version.
        backbone: The family of the backbone; results group models by it.
        num_classes: The number of classes, if known.
        classes: The class names by index, if known; in Unicode's composed normal form.
        members: Fingerprint and backbone of each member of an ensemble.
        head: The kind of the head, if the adapter knows it.
    """

    name: str
    fingerprint: str
    backbone: str
    num_classes: int | None
    classes: tuple[str, ...] | None
    members: tuple[tuple[str, str], ...] = ()
    head: str | None = None

    def __post_init__(self) -> None:
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(map(composed, self.classes)))

    @property
    def networks(self) -> tuple[tuple[str, str], ...]:
        """Return fingerprint and backbone of every network inside: the members', or its own."""
        return self.members or ((self.fingerprint, self.backbone),)


@dataclass(frozen=True)
class Effective:
    """The options of ``numerics`` that a model computes with.

    Attributes:
        fold: Batch norms are folded into convolutions.
        channels_last: The memory layout.
        bf16: Autocast for gradients.
        equal_signs: Per option tried, the share of gradient signs equal to those of the model
            without any.
        left_off: Per option that could not be tried or proven, the reason.
    """

    fold: bool = False
    channels_last: bool = False
    bf16: bool = False
    equal_signs: Mapping[str, float] = field(default_factory=dict)
    left_off: Mapping[str, str] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Return the JSON that is stored with a result.

        ``tf32``, of convolutions, was true in results of earlier versions on CUDA.
        """
        fields = asdict(self) | {"tf32": False}
        return fields if self.left_off else {k: v for k, v in fields.items() if k != "left_off"}


class Segmenter(nn.Module, ABC):
    """A frozen segmentation model in evaluation mode.

    ``model(images)`` takes RGB float32 in [0, 1], N x 3 x H x W, and returns logits N x K x H x W
    at the images' resolution. Subclasses define ``logits``. Counting and clocks are in this class.

    Attributes:
        name: The name in messages, empty if unknown.
        num_classes: K.
        size_divisor: The number that divides every size the network takes; dynamic scaling snaps
            to its multiples.
        least_side: The shortest side of an image that the network takes, in pixels.
        any_size: Whether the network takes images of any size, as far as a trial has shown.
        taken_sizes: Sizes that the model was shown to take, height and width in pixels.
        align_corners: How logits are resized to labels of another size, as the network's own
            library resizes them.
        normalise_gradients: Whether an attack divides the gradient of each of ``members()`` by its
            mean magnitude before averaging.
        own_scales: Whether an attack draws the transforms of each member separately.
        feature_layer: The module that feature losses read if a spec names none.
        numerics: The options that are on.
        examined: Whether the model was tried with a probe.
        deterministic: Whether forwards of one image agree, as far as a probe has shown.
    """

    name: str = ""
    num_classes: int
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
        """Return logits N x K x H x W at the images' resolution; an adapter defines this method.

        Nothing but ``checked_logits`` calls this method, because its output is foreign.
        """

    def checked_logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``logits``, whose kind and shape are checked.

        Raises:
            InputError: If the output is not float N x K x H x W, or the model raises an error.
        """
        try:
            output = self.logits(images)
        except Exception as error:  # foreign code may raise anything
            size = f"{images.shape[-2]} x {images.shape[-1]} (height x width)"
            told = foreign_error(error, f"{self.who}, on images of {size},")
            if told is error:
                raise
            raise told from error
        return check_logits(output, images, self.num_classes, self.who)

    def at(self, logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return logits N x K x H x W at the size of labels, height and width in pixels."""
        if logits.shape[-2:] == size:
            return logits
        return F.interpolate(logits, size, mode="bilinear", align_corners=self.align_corners)

    def pixels_seen(self, height: int, width: int) -> int:
        """Return the pixels that the network processes per image of ``height`` x ``width``."""
        return height * width

    def fold(self) -> bool:
        """Fold batch norms into convolutions, in place; return False if the adapter cannot."""
        return False

    def members(self) -> list[tuple["Segmenter", float]]:
        """Return the models that an attack differentiates, with weights that sum to one."""
        return [(self, 1.0)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        began = self._clock()
        # Without a gradient it is scored: by the network in fp32.
        attacked = torch.is_grad_enabled()
        bf16 = self.numerics.bf16 and attacked
        # For the whole process; cuDNN's default is TF32, of ten bits.
        torch.backends.cudnn.allow_tf32 = False
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            logits = self.checked_logits(images).float()
        self._seconds += self._clock() - began
        count = len(images)
        self._forwards += count
        self._pixels += count * self.pixels_seen(*images.shape[-2:])
        self.count_backward_of(logits)
        return logits

    def count_backward_of(self, output: torch.Tensor) -> None:
        """Count a backward of its images once a gradient comes back through ``output``."""
        if output.requires_grad:
            count = len(output)
            output.register_hook(lambda _: self._count_backward(count))

    def gradient(self, loss: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Return d loss / d inputs, for the inputs alone, because parameters hold no gradient.

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
                f"the loss on {self.who} does not depend on the images, so there is no gradient; "
                "compute it from the images without detach, no_grad or numpy"
            )
        return gradient

    @property
    def who(self) -> str:
        """Return the model as messages name it."""
        return f"model '{self.name}'" if self.name else "the model"

    @property
    def facts(self) -> dict[str, Any]:
        """Return what a stored report says of the model: numerics, and a lack of determinism."""
        unlike = {} if self.deterministic else {"deterministic": False}
        return {"numerics": self.numerics.report(), **unlike}

    @property
    def cost(self) -> Cost:
        """Return the work of this model since it was made."""
        return Cost(self._forwards, self._backwards, self._pixels, self._seconds)

    @property
    def device(self) -> torch.device:
        """Return the device of the parameters, the CPU if there are none."""
        parameter = next(self.parameters(), None)
        return parameter.device if parameter is not None else torch.device("cpu")

    def _count_backward(self, count: int) -> None:
        self._backwards += count

    def _clock(self) -> float:
        return time.thread_time() if self.device.type == "cpu" else time.perf_counter()


class WrappedSegmenter(Segmenter):
    """A segmenter around another one, ``inner``, whose traits it has."""

    def __init__(self, inner: Segmenter) -> None:
        super().__init__()
        self.inner = inner
        self.num_classes, self.align_corners = inner.num_classes, inner.align_corners
        self.size_divisor, self.least_side = inner.size_divisor, inner.least_side
        if inner.feature_layer is not None:
            self.feature_layer = f"inner.{inner.feature_layer}"


def freeze(model: Any) -> Any:
    """Set a model to evaluation mode without parameter gradients, and return it.

    Raises:
        InputError: If a module is still in training mode.
    """
    model.eval().requires_grad_(False)
    for name, module in model.named_modules():
        if module.training:
            where = f"module '{name}' ({type(module).__name__})" if name else type(module).__name__
            raise InputError(
                f"{where} stays in training mode after eval(); let its train() set training of "
                "itself and of its children"
            )
    return model
