"""The base of gradient rules: a typed spec with a method for a step's gradient."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

import torch
from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo, WithJsonSchema

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms.views import View
from segtransfer.tasks.json_schema import NAMED_ENTRY, NULL
from segtransfer.tasks.models.outputs import foreign_error
from segtransfer.tasks.registry import EntrySpec, ForeignSpec, Registry, is_spec_of, read_entry

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter


@dataclass(frozen=True)
class Gradient:
    """A gradient with its losses.

    Attributes:
        values: d loss / d x, float N x 3 x H x W.
        losses: N losses, detached.
        ratios: The realised scale per member and copy.
        watched: The context's ``watch`` of the logits, N x k; None without it.
    """

    values: torch.Tensor
    losses: torch.Tensor
    ratios: list[float]
    watched: torch.Tensor | None = None


class GradientAt(Protocol):
    """The gradient of the attack's loss at a point, through all transforms of the attack."""

    def __call__(
        self,
        point: torch.Tensor,
        *,
        random: StepRandom | None = None,
        members: Sequence[int] | None = None,
        first: Callable[[torch.Tensor], View] = View,
        weights: torch.Tensor | None = None,
    ) -> Gradient:
        """Return the gradient at a point.

        Args:
            point: float N x 3 x H x W; values outside [0, 1] are allowed.
            random: The random numbers of the transforms; by default the step's, so all points of a
                step are seen at the same scales.
            members: The numbers of an ensemble's members to average, each as a model of its own; by
                default the ensemble, which averages logits, losses or gradients.
            first: A view of the point, made before the attack's own transforms; labels follow it,
                and the gradient flows back through it to the point. By default the point itself.
            weights: A weight per image and member in place of the ensemble's, float N x members.

        Returns:
            The gradient; its cost is counted on the model.
        """
        ...


class LossAt(Protocol):
    """The attack's loss at a point without a gradient, through all transforms of the attack."""

    def __call__(self, point: torch.Tensor, members: Sequence[int] | None = None) -> torch.Tensor:
        """Return the loss at a point.

        Args:
            point: float N x 3 x H x W; values outside [0, 1] are allowed.
            members: The numbers of an ensemble's members to average; by default the ensemble.

        Returns:
            N losses; the cost of their forwards is counted on the model.
        """
        ...


@dataclass(frozen=True)
class GradientStep:
    """The inputs of a gradient rule at a step.

    Attributes:
        x: The point of the step's gradient: the iterate, with Nesterov momentum the point ahead.
            float N x 3 x H x W.
        clean: Clean images, float N x 3 x H x W in [0, 1].
        number: The number of the step, from 0.
        steps: The number of steps of the attack; under a budget the expected number.
        eps: The bound, a fraction of the pixel range.
        step_size: The length of a step, a fraction of the pixel range.
        model: The source; ``model.all_members()`` are the members of an ensemble with their
            weights, of another model itself alone.
        random: The random numbers of the step, shared by the group or by image.
        gradient_at: Computes the gradient of the loss at a point.
        loss_at: Computes the loss at a point without a gradient.
        region: float N x 1 x H x W, 1 for pixels to perturb and 0 elsewhere; None for all pixels.
        move: Returns the point after a step along a direction, both N x 3 x H x W, projected into
            the box and the ball: ``move(x, direction, step_size)``.
        memory: The rule's values, kept from step to step of a run; empty at the first step.
    """

    x: torch.Tensor
    clean: torch.Tensor
    number: int
    steps: int
    eps: float
    step_size: float
    model: Segmenter
    random: StepRandom
    gradient_at: GradientAt
    loss_at: LossAt
    move: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
    memory: dict[str, Any]
    region: torch.Tensor | None = None

    @property
    def members(self) -> int:
        """Return the number of members of the source, 1 for a single model."""
        return len(self.model.all_members())

    def noise(self, number: int, radius: float) -> torch.Tensor:
        """Return U(-radius eps, radius eps) noise for this step, drawn by image.

        Args:
            number: The number of the draw, from 0; another number gives independent noise.
            radius: The largest value, in multiples of eps.

        Returns:
            float N x 3 x H x W, 0 outside the region.
        """
        drawn = self.random.neighbour_noise(number, tuple(self.x.shape[1:]), self.x.device)
        drawn = drawn if self.region is None else drawn * self.region
        return radius * self.eps * drawn


def mean_gradient(parts: Iterable[Gradient]) -> Gradient:
    """Return the mean of gradients and of their losses, with all their ratios.

    Args:
        parts: One gradient or more.
    """
    values, losses, ratios, count = torch.zeros(()), torch.zeros(()), list[float](), 0
    for part in parts:
        values, losses = values + part.values, losses + part.losses
        ratios, count = ratios + part.ratios, count + 1
    return Gradient(values / count, losses / count, ratios)


class GradientRule(EntrySpec):
    """The base of gradient rules: fields in a spec, and the method ``gradient``.

        class Average(GradientRule):  # in a spec: gradient: {"my_rules:Average": {samples: 4}}
            samples: Whole = 10

            @property
            def gradients_per_step(self):
                return self.samples

            def gradient(self, step):
                ...  # step.gradient_at(point).values at points around step.x

    Attributes:
        kind: The name of the rule, shipped or ``module:attribute``.
        draws: Trait: whether the gradient depends on random numbers. Restarts need a part with this
            trait, or a random start. Default True.
        views: Trait: whether the rule gives ``step.gradient_at`` a first view. A feature loss then
            reads the clean image in the same view, at the cost of a second forward. Default False.
        for_ensembles: Trait: whether the rule is meant for sources with several members. On another
            source the plan has a warning. Default False.
    """

    draws: ClassVar[bool] = True
    views: ClassVar[bool] = False
    for_ensembles: ClassVar[bool] = False

    @property
    def gradients_per_step(self) -> float:
        """Return the number of gradients per step, each at the cost of the attack's transforms.

        Returns:
            More than 0, by default 1. Budgets and forecasts use this number.
        """
        return 1.0

    def gradients_on(self, members: int) -> float:
        """Return the number of gradients per step on an ensemble.

        Args:
            members: The number of members of the source, 1 for a single model.

        Returns:
            More than 0, each at the cost of a gradient of the whole ensemble; by default
            ``gradients_per_step`` for every number of members.
        """
        return self.gradients_per_step

    @abstractmethod
    def gradient(self, step: GradientStep) -> Gradient:
        """Return the gradient of a step, in place of the loss's gradient at ``step.x``.

        Args:
            step: The iterate, the random numbers, and the loss's gradient at any point.

        Returns:
            ``values`` of the shape of ``step.x``, which smoothing and momentum get; ``losses`` and
            ``ratios`` as ``step.gradient_at`` returns them, for the attack's health.
        """

    def factor(self, direction: torch.Tensor, memory: dict[str, Any]) -> torch.Tensor | None:
        """Return a factor of the step size per value, by default None for 1 everywhere.

        Args:
            direction: The direction of the step after momentum, float N x 3 x H x W.
            memory: The rule's values, kept from step to step.

        Returns:
            float, broadcast to N x 3 x H x W; None keeps the step size.
        """
        return None


GRADIENTS: Registry[type[GradientRule]] = Registry(
    "gradients",
    ("segtransfer.tasks.attacks.gradient_rules",),
    is_spec_of(GradientRule),
    "class with a method gradient, derived from segtransfer.extend.GradientRule",
)


class ForeignGradientRule(GradientRule, ForeignSpec):
    """A gradient rule of an installed package or of the user's folder."""

    registry = GRADIENTS

    @property
    def gradients_per_step(self) -> float:
        """Return the number of gradients per step, as the rule's own class states."""
        return float(self.typed().gradients_per_step)

    def gradients_on(self, members: int) -> float:
        """Return the number of gradients per step on an ensemble, as the rule's own class states.

        Args:
            members: The number of members of the source.
        """
        return float(self.typed().gradients_on(members))

    def gradient(self, step: GradientStep) -> Gradient:
        """Return the gradient of the rule's own class, checked.

        Args:
            step: The iterate, the random numbers, and the loss's gradient at any point.

        Raises:
            InputError: If the rule raises an error, or returns no gradient of the iterate's shape.
        """
        try:
            found = self.typed().gradient(step)
        except Exception as error:  # foreign code may raise anything
            told = foreign_error(error, self._who)
            if told is error:
                raise
            raise told from error
        if problem := _problem(found, step.x):
            raise InputError(f"{self._who} returned {problem}")
        return found

    def factor(self, direction: torch.Tensor, memory: dict[str, Any]) -> torch.Tensor | None:
        """Return the factor of the step size of the rule's own class, checked.

        Args:
            direction: The direction of the step after momentum, float N x 3 x H x W.
            memory: The rule's values, kept from step to step.

        Raises:
            InputError: If the rule raises an error, or the factor does not broadcast to the
                direction.
        """
        try:
            factor = self.typed().factor(direction, memory)
            fits = factor is None or (factor * direction).shape == direction.shape
        except Exception as error:  # foreign code may raise anything
            told = foreign_error(error, self._who)
            if told is error:
                raise
            raise told from error
        if not fits:
            raise InputError(
                f"{self._who} returned a factor of shape {list(factor.shape)}; return a tensor "
                f"that broadcasts to {list(direction.shape)}, or None"
            )
        return factor

    @property
    def _who(self) -> str:
        return f"gradient '{self.kind}'"


def _problem(found: Any, x: torch.Tensor) -> str:
    """Return the fault of a foreign gradient at x, as the end of a sentence; empty without."""
    wanted = (
        f"return a segtransfer.extend.Gradient with floating-point values of shape "
        f"{list(x.shape)} and losses of shape [{len(x)}], as step.gradient_at does"
    )
    if not isinstance(found, Gradient):
        return f"{type(found).__name__}; {wanted}"
    for name, shape in (("values", x.shape), ("losses", x.shape[:1])):
        part = getattr(found, name)
        if not torch.is_tensor(part) or not part.is_floating_point() or part.shape != shape:
            told = f"{list(part.shape)} of {part.dtype}" if torch.is_tensor(part) else repr(part)
            return f"{name} {told}; {wanted}"
    return ""


def _read(value: Any, info: ValidationInfo) -> Any:
    """Accept ``pgn`` and ``{pgn: {samples: 20}}`` beside the full form."""
    return (
        None if value is None else read_entry(GRADIENTS, ForeignGradientRule, value, info.context)
    )


AnyGradientRule = Annotated[
    SerializeAsAny[GradientRule] | None,
    BeforeValidator(_read),
    WithJsonSchema({"anyOf": [NAMED_ENTRY, NULL]}),
]
