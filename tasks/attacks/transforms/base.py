"""The base of transforms: a typed spec with a view, its traits, and the registry."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.transforms.views import TransformContext, View
from segtransfer.tasks.models.outputs import foreign_error
from segtransfer.tasks.registry import EntrySpec, ForeignSpec, Registry, is_spec_of


class TransformSpec(EntrySpec):
    """A transform: its fields in a spec, and its view.

    Attributes:
        draws: Trait: whether views depend on random numbers, so restarts differ.
        moves: Trait: whether content leaves its place.
        mixes: Trait: whether whole images are added, whose content must not have moved before.
        resizes: Trait: whether the model gets images of another size. ``view`` is then also called
            with images on the meta device, from which costs are computed.
    """

    draws: ClassVar[bool] = True
    moves: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    resizes: ClassVar[bool] = False

    @property
    def views_per_step(self) -> int:
        """Return the number of views, thus of forwards, per step."""
        return 1

    @property
    def relative_cost(self) -> float:
        """Return the mean area that the model gets, relative to the native area."""
        return 1.0

    @property
    def always_new_sizes(self) -> bool:
        """Tell whether most steps feed a size that was not fed before."""
        return False

    @abstractmethod
    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Return the view for the model.

        Args:
            images: float N x 3 x H x W in [0, 1]; gradients flow back to them.
            context: The step's random numbers, the number of the copy, the shard, and the model's
                size divisor.
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
        """Return the number of views, thus of forwards, per step."""
        return self.typed().views_per_step

    @property
    def relative_cost(self) -> float:
        """Return the mean area that the model gets, relative to the native area."""
        return self.typed().relative_cost

    @property
    def always_new_sizes(self) -> bool:
        """Tell whether most steps feed a size that was not fed before."""
        return self.typed().always_new_sizes

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Return the checked view.

        Raises:
            InputError: If the view is none, or the transform raises an error.
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
    """Return what is wrong with a foreign view of images; empty if nothing is."""
    if not isinstance(view, View):
        return f"returned {type(view).__name__}; return a View of segtransfer.extend"
    seen = view.images
    if not torch.is_tensor(seen) or not seen.is_floating_point() or seen.ndim != 4:
        return "returned a View whose images are no floating-point tensor N x 3 x h x w"
    if seen.shape[:2] != images.shape[:2]:
        return f"returned images of shape {list(seen.shape)} for {list(images.shape)}; keep N and 3"
    if images.requires_grad and not seen.requires_grad:
        return (
            "returned images without a gradient to its input; compute them with torch, without "
            "no_grad and detach"
        )
    there, back = list(seen.shape[-2:]), list(images.shape[-2:])
    blank = torch.zeros(len(seen), 1, *there, device=seen.device)
    labels = torch.zeros(len(seen), *back, dtype=torch.int64, device=seen.device)
    for name, mapped, wanted in (("logits", view.logits(blank), back),
                                 ("labels", view.labels(labels), there)):  # fmt: skip
        if list(mapped.shape[-2:]) != wanted:
            return (
                f"returned images of {there} for {back}, and its {name} come to "
                f"{list(mapped.shape[-2:])}, not {wanted}; make views with resize, window and then"
            )
    return ""
