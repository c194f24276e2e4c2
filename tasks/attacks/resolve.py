"""Derived fields of an attack: steps from a budget, step sizes from eps, hashes of losses."""

import re
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Budget, Variance
from segtransfer.tasks.attacks.gradient_rules.base import AnyGradientRule, GradientRule
from segtransfer.tasks.attacks.losses import LOSSES, is_feature_loss
from segtransfer.tasks.attacks.transforms import Transform, relative_cost
from segtransfer.tasks.schema import PixelFraction, Whole, suggest

DEFAULTS = {"eps": 8 / 255, "steps": 20}
PIXEL_FRACTION: TypeAdapter[float] = TypeAdapter(PixelFraction)
WHOLE: TypeAdapter[int] = TypeAdapter(Whole)
GRADIENT: TypeAdapter[GradientRule | None] = TypeAdapter(AnyGradientRule)
TRANSFORM_CHAIN: TypeAdapter[tuple[Transform, ...]] = TypeAdapter(tuple[Transform, ...])


def step_cost(
    transforms: tuple[Any, ...],
    variance: Variance | None,
    gradient: GradientRule | None,
    *,
    reads_clean: bool,
) -> float:
    """Return the mean cost of a step, in forwards at native size.

    Args:
        transforms: The chain of transforms.
        variance: The variance tuning, whose neighbours cost a gradient each; or None.
        gradient: The gradient rule; None for the loss's gradient.
        reads_clean: Whether the loss also reads the clean image in the same view, at the cost of a
            second forward per view if there are transforms or views of the rule.

    Returns:
        More than 0; 1.0 for PGD.
    """
    views = bool(transforms) or (gradient is not None and gradient.typed().views)
    looks = 2 if reads_clean and views else 1
    gradients = 1.0 if gradient is None else gradient.gradients_per_step
    gradients += variance.neighbours if variance else 0
    return looks * relative_cost(transforms) * gradients


def with_steps(data: dict[str, Any]) -> dict[str, Any]:
    """Replace a budget by the number of steps nearest to its mean cost.

    Args:
        data: The raw spec.

    Returns:
        The raw spec with ``steps``, at least 1; unchanged without a budget, or if a field that the
        cost depends on is wrong (its own validation reports the error).

    Raises:
        PydanticCustomError: If the budget per restart is below 0.75 of the cost of a step, or
            ``steps`` is given too, with another number.
    """
    if data.get("budget") is None:
        return data
    try:
        budget = Budget.model_validate(data["budget"]).forward_equivalents
        transforms = TRANSFORM_CHAIN.validate_python(data.get("transforms") or ())
        variance = data.get("variance")
        variance = None if variance is None else Variance.model_validate(variance)
        gradient = GRADIENT.validate_python(data.get("gradient"))
        restarts = int(data.get("restarts", 1))
        # Choosing among restarts costs a forward per restart.
        share = budget / restarts - (restarts > 1)
        reads_clean = is_feature_loss(str(data.get("loss")), data.get("loss_sha256"))
        cost = step_cost(transforms, variance, gradient, reads_clean=reads_clean)
    except (ValidationError, TypeError, ValueError, ZeroDivisionError):
        return data  # the field's own validation reports the error
    if share < cost * 0.75:
        raise PydanticCustomError(
            "budget",
            "a step costs {cost} forward equivalents, and the budget leaves {share} per start; "
            "give a larger budget, or fewer copies, neighbours or restarts",
            {"cost": f"{cost:g}", "share": f"{share:g}"},
        )
    steps = max(1, round(share / cost))
    given = data.get("steps")
    if given is not None and (type(given) is not int or given != steps):
        raise PydanticCustomError(
            "budget",
            "steps is {steps}, and a budget is given, from which steps follow; leave one of them "
            "out",
            {"steps": str(given)},
        )
    return {**data, "steps": steps}


def read_loss(value: str) -> str:
    """Check the name of a loss.

    Args:
        value: A name.

    Returns:
        The same name: a shipped loss, an installed package's, or ``package.module:function``.

    Raises:
        PydanticCustomError: If the name has neither form.
    """
    if value in LOSSES or LOSSES.is_foreign(value):
        return value
    raise PydanticCustomError(
        "loss",
        "unknown loss '{loss}'; {hint}; name a loss of your own as package.module:function",
        {"loss": value, "hint": suggest(value, LOSSES.names())},
    )


def with_loss(data: dict[str, Any]) -> dict[str, Any]:
    """Fill in the sha256 of the file of a user's loss.

    Args:
        data: The raw spec.

    Returns:
        The raw spec with ``loss_sha256`` if its loss is a user's or a package's.

    Raises:
        PydanticCustomError: If the loss cannot be imported, and the spec has no hash of it yet.
    """
    loss = data.get("loss")
    if not isinstance(loss, str) or not LOSSES.is_foreign(loss):
        return data
    try:
        LOSSES.find(loss)
        return {**data, "loss_sha256": LOSSES.code_hash(loss)}
    except InputError as error:
        if data.get("loss_sha256"):  # a stored spec is readable without its modules
            return data
        raise PydanticCustomError("loss", "{error}", {"error": str(error)}) from None


def with_step_size(data: dict[str, Any]) -> dict[str, Any]:
    """Replace ``eps``, ``eps/4`` and ``eps/steps`` in ``step_size`` by their number.

    ``eps/4 at least eps/steps`` is the larger of both.

    Args:
        data: The raw spec, with ``steps`` if a budget is given.

    Returns:
        The raw spec with a number; unchanged if ``step_size`` does not start with "eps". If eps or
        steps are wrong, ``step_size`` is left out, and their own validation reports the error.

    Raises:
        PydanticCustomError: If ``step_size`` starts with "eps" and has no such form.
    """
    text = data.get("step_size")
    if not isinstance(text, str) or not text.replace(" ", "").startswith("eps"):
        return data
    written = re.fullmatch(r"eps(?:/(steps|[0-9.]+))?(atleasteps/steps)?", text.replace(" ", ""))
    steps: Any = data.get("steps", DEFAULTS["steps"])
    try:
        eps = PIXEL_FRACTION.validate_python(data.get("eps", DEFAULTS["eps"]))
        count = max(WHOLE.validate_python(steps), 1)
    except ValidationError:  # the own validation of eps and steps reports the error
        return {name: value for name, value in data.items() if name != "step_size"}
    try:
        divisor = written[1] or "1" if written else "0"
        step_size = eps / (count if divisor == "steps" else float(divisor))
        if written and written[2]:
            step_size = max(step_size, eps / count)
    except (TypeError, ValueError, ZeroDivisionError):
        raise PydanticCustomError(
            "step_size",
            "'{value}' is not a step size; write 2/255, 0.01, eps, eps/4 or eps/steps",
            {"value": text},
        ) from None
    return {**data, "step_size": step_size}
