"""The base of defences: a typed spec with the defended logits, its traits, and the registry."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from typing_extensions import override

from segtransfer.tasks.models.base import Segmenter, WrappedSegmenter
from segtransfer.tasks.registry import EntrySpec, ForeignSpec, Registry, is_spec_of


class DefenceSpec(EntrySpec):
    """The base of defences: fields in a spec, traits, and the method ``logits``.

        class Brighter(DefenceSpec):  # in a spec: defences: [{"my_defences:Brighter": {by: 0.1}}]
            by: Number = 0.1

            def logits(self, images, model):
                return model.checked_logits((images + self.by).clamp(0, 1)).float()

    Attributes:
        kind: The name of the defence, shipped or ``module:attribute``.
        version: Trait: part of the fingerprint; raised when the defence gives other logits for the
            same images and fields. Default 1.
        short: Trait: the field set by a value in place of a mapping, as ``bits`` in ``{bits: 4}``.
            Default None.
        exact_gradient: Trait: whether gradients are those of the defended model. If False, the
            backward replaces a step without a gradient by the identity (``straight_through``).
            Default True.
    """

    version: ClassVar[int] = 1
    short: ClassVar[str | None] = None
    exact_gradient: ClassVar[bool] = True

    @abstractmethod
    def logits(self, images: torch.Tensor, model: Segmenter) -> torch.Tensor:
        """Return the logits of the defended model.

        The logits of an image must not depend on the other images, nor on a random generator.

        Args:
            images: RGB, float32 N x 3 x H x W in [0, 1].
            model: The model behind the defence; call its ``checked_logits``.

        Returns:
            Floating-point logits N x K x H x W, on the grid of the images.
        """

    def pixels_seen(self, height: int, width: int, model: Segmenter) -> int:
        """Return the number of pixels processed by the network per image.

        Args:
            height: The height of the image, in pixels.
            width: The width of the image, in pixels.
            model: The model behind the defence.

        Returns:
            Pixels over all calls of the model; by default of a single call at the image's size.
        """
        return model.pixels_seen(height, width)


class InputDefence(DefenceSpec):
    """The base of defences that change images of equal size before the model."""

    @abstractmethod
    def defended(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images for the model.

        Args:
            images: RGB, float32 N x 3 x H x W in [0, 1].

        Returns:
            float32 N x 3 x H x W in [0, 1], up to rounding errors.
        """

    @override
    def logits(self, images: torch.Tensor, model: Segmenter) -> torch.Tensor:
        return model.checked_logits(self.defended(images))


DEFENCES: Registry[type[DefenceSpec]] = Registry(
    "defences",
    ("segtransfer.tasks.models.defences",),
    is_spec_of(DefenceSpec),
    "class with a method logits, derived from segtransfer.extend.DefenceSpec",
)


class ForeignDefence(DefenceSpec, ForeignSpec):
    """A defence of an installed package or of the user's folder."""

    registry = DEFENCES

    @override
    def logits(self, images: torch.Tensor, model: Segmenter) -> torch.Tensor:
        logits: torch.Tensor = self.typed().logits(images, model)
        return logits

    @override
    def pixels_seen(self, height: int, width: int, model: Segmenter) -> int:
        return int(self.typed().pixels_seen(height, width, model))


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


def straight_through(images: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    """Return changed images whose backward is the identity.

    Attacks on a defence without a useful gradient need a replacement, or they measure the lack of a
    gradient in place of robustness. BPDA (Athalye, Carlini and Wagner, ICML 2018) takes the
    gradient of a similar function; for a defence g(x) close to x, this is the identity.

    Args:
        images: The images before the defence, float N x 3 x H x W.
        changed: The images after the defence, float N x 3 x H x W, without a gradient.

    Returns:
        The values of ``changed``, with the gradient of ``images``.
    """
    replaced: torch.Tensor = _StraightThrough.apply(images, changed)
    return replaced


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
        return changed.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None
