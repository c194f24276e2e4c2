"""RAP: the gradient at the point around the iterate where the attack is weakest."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from segtransfer.tasks.attacks.gradient_rules.base import (
    GRADIENTS,
    Gradient,
    GradientRule,
    GradientStep,
)
from segtransfer.tasks.schema import Number, Whole


@GRADIENTS.add("rap")
class ReversePerturbation(GradientRule):
    """RAP (Qin et al., NeurIPS 2022): the gradient at x + n, n a perturbation against the attack.

    n starts at U(-radius eps, radius eps) and takes ``inner`` sign steps of radius eps / inner
    down the loss, each cut to |n| <= radius eps and to pixels in [0, 1]. The first share ``late``
    of the attack's steps has n = 0: the paper's late start (RAP-LS), 100 of 400 steps.

    Attributes:
        kind: The name, ``rap``.
        inner: The number of steps of n, each a gradient per step, 1 to 100. Default 8.
        radius: The bound of n, in multiples of eps, in [0, 10]. Default 1.
        late: The share of steps before n, in [0, 1]. Default 0.25.
    """

    kind: Literal["rap"] = "rap"
    inner: Annotated[Whole, Field(ge=1, le=100)] = 8
    radius: Annotated[Number, Field(ge=0, le=10)] = 1.0
    late: Annotated[Number, Field(ge=0, le=1)] = 0.25

    @property
    @override
    def gradients_per_step(self) -> float:
        return 1.0 + (1 - self.late) * self.inner

    @override
    def gradient(self, step: GradientStep) -> Gradient:
        if step.number < self.late * step.steps:
            return step.gradient_at(step.x)
        bound = self.radius * step.eps
        low, high = (-step.x).clamp(min=-bound), (1 - step.x).clamp(max=bound)
        reverse, ratios = step.noise(0, self.radius).clamp(low, high), list[float]()
        for _ in range(self.inner):
            found = step.gradient_at(step.x + reverse)
            down = found.values.sign() * (bound / self.inner)
            down = down if step.region is None else down * step.region
            reverse, ratios = (reverse - down).clamp(low, high), ratios + found.ratios
        last = step.gradient_at(step.x + reverse)
        return Gradient(last.values, last.losses, ratios + last.ratios)
