"""The base of defences: a typed spec with the defended logits, its traits, and the registry."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from segtransfer.tasks.registry import EntrySpec, ForeignSpec, Registry, is_spec_of

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter


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
