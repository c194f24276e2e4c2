"""The base of transforms: a typed spec with a view, its traits, and the registry."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.transforms.views import TransformContext, View
from segtransfer.tasks.models.outputs import foreign_error
from segtransfer.tasks.registry import EntrySpec, ForeignSpec, Registry, is_spec_of


class TransformSpec(EntrySpec):
    """The base of transforms: fields in a spec, traits, and the method ``view``.

        class Shrink(TransformSpec):  # in a spec: {"my_transforms:Shrink": {ratio: 0.5}}
            draws = False
            resizes = True
            ratio: Number = 0.75

            def view(self, images, context):
                h, w = images.shape[-2:]
                return resize(images, snap(h, w, (self.ratio,) * 2, context.divisor, context.least))

    Attributes:
        kind: The name of the transform, shipped or ``module:attribute``.
        draws: Trait: whether views depend on random numbers. Restarts need a transform with this
            trait, or a random start. Default True.
        moves: Trait: whether content changes its place in the image. Default False.
        mixes: Trait: whether other images are added. Such a transform must come before transforms
            with the trait ``moves``. Default False.
        resizes: Trait: whether the model gets images of another size. Costs are then computed by
            calling ``view`` with images on torch's meta device. Default False.
    """

    draws: ClassVar[bool] = True
    moves: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    resizes: ClassVar[bool] = False

    @property
    def views_per_step(self) -> int:
        """Return the number of copies per step; each copy is a view and costs a forward.

        Returns:
            1 or more, by default 1. ``context.random.copy`` numbers the copies from 0.
        """
        return 1

    @property
    def relative_cost(self) -> float:
        """Return the mean area of a view, relative to the native area H W.

        Returns:
            More than 0, by default 1.0. Budgets and forecasts use this number.
        """
        return 1.0

    @property
    def always_new_sizes(self) -> bool:
        """Tell whether most steps feed a new size to the model, by default False.

        Returns:
            True makes a forecast use the measured time of steps on changing sizes.
        """
        return False

    @abstractmethod
    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Return the images for the model, with the maps of labels and logits.

        Args:
            images: float N x 3 x H x W, in [0, 1] unless an earlier transform of the chain left
                that range. Compute the view with torch, so that gradients flow back to them.
            context: The random numbers of the step, the number of the copy
                (``context.random.copy``), the shard, and the sizes that the model takes.

        Returns:
            A view of N images with 3 channels, of any h x w that ``context.divisor`` divides.
        """


TRANSFORMS: Registry[type[TransformSpec]] = Registry(
    "transforms",
    ("segtransfer.tasks.attacks.transforms",),
    is_spec_of(TransformSpec),
    "class with a method view, derived from segtransfer.extend.TransformSpec",
)


class ForeignTransform(TransformSpec, ForeignSpec):
    """A transform of an installed package or of the user's folder."""

    registry = TRANSFORMS

    @property
    def views_per_step(self) -> int:
        """Return the number of copies per step, as the transform's own class states."""
        return self.typed().views_per_step

    @property
    def relative_cost(self) -> float:
        """Return the mean area of a view relative to H W, as the transform's own class states."""
        return self.typed().relative_cost

    @property
    def always_new_sizes(self) -> bool:
        """Tell whether most steps feed a new size, as the transform's own class states."""
        return self.typed().always_new_sizes

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Return the view of the transform's own class, checked.

        Args:
            images: float N x 3 x H x W.
            context: The random numbers of the step, the shard, and the sizes the model takes.

        Returns:
            A view of N x 3 x h x w images whose maps of labels and logits fit h x w and H x W.

        Raises:
            InputError: If the transform raises an error, or returns no such view.
        """
        try:
            view = self.typed().view(images, context)
            problem = _problem(view, images)
        except Exception as error:  # foreign code may raise anything
            told = foreign_error(error, self._who)
            if told is error:
                raise
            raise told from error
        if problem:
            raise InputError(f"{self._who} {problem}")
        return view

    @property
    def _who(self) -> str:
        return f"transform '{self.kind}'"


def _problem(view: Any, images: torch.Tensor) -> str:
    """Return the fault of a foreign view of images, as the end of a sentence; empty without."""
    if not isinstance(view, View):
        return f"returned {type(view).__name__}; return a segtransfer.extend.View"
    seen = view.images
    if not torch.is_tensor(seen) or not seen.is_floating_point() or seen.ndim != 4:
        found = (
            f"{list(seen.shape)} of {seen.dtype}" if torch.is_tensor(seen) else type(seen).__name__
        )
        return f"returned a View with images {found}; return a floating-point tensor N x 3 x h x w"
    if seen.shape[:2] != images.shape[:2]:
        return (
            f"returned images of shape {list(seen.shape)} for images of shape "
            f"{list(images.shape)}; keep the first two sizes, N and 3"
        )
    if images.requires_grad and not seen.requires_grad:
        return (
            "returned images without a gradient to the images given; compute them with torch, "
            "without no_grad and detach"
        )
    there, back = list(seen.shape[-2:]), list(images.shape[-2:])
    blank = torch.zeros(len(seen), 1, *there, device=seen.device)
    labels = torch.zeros(len(seen), *back, dtype=torch.int64, device=seen.device)
    for name, mapped, wanted in (("logits", view.logits(blank), back),
                                 ("labels", view.labels(labels), there)):  # fmt: skip
        if list(mapped.shape[-2:]) != wanted:
            return (
                f"returned images of size {there} for {back}, and View.{name} maps to size "
                f"{list(mapped.shape[-2:])}, not {wanted}; make views with resize, window and then"
            )
    return ""
