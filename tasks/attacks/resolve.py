"""Fields of an attack that follow from others: steps from a budget, step sizes from eps, hashes."""

import re
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Budget, Variance
from segtransfer.tasks.attacks.losses import LOSSES, is_feature_loss
from segtransfer.tasks.attacks.transforms import Transform, relative_cost
from segtransfer.tasks.schema import PixelFraction, Whole, suggest

DEFAULTS = {"eps": 8 / 255, "steps": 20}
PIXEL_FRACTION: TypeAdapter[float] = TypeAdapter(PixelFraction)
WHOLE: TypeAdapter[int] = TypeAdapter(Whole)
TRANSFORM_CHAIN: TypeAdapter[tuple[Transform, ...]] = TypeAdapter(tuple[Transform, ...])


def step_cost(
    transforms: tuple[Any, ...], variance: Variance | None, *, reads_clean: bool
) -> float:
    """Return the mean cost of one step, in forwards at native size.

    Args:
        transforms: The chain of transforms.
        variance: The variance tuning.
        reads_clean: Whether the loss reads the clean image in the same view, too.
    """
    looks = 2 if reads_clean and transforms else 1
    return looks * relative_cost(transforms) * (1 + (variance.neighbours if variance else 0))


def with_steps(data: dict[str, Any]) -> dict[str, Any]:
    """Replace a budget by the number of steps nearest to its mean cost.

    Args:
        data: The raw spec.

    Raises:
        PydanticCustomError: If the budget is below the cost of a step, or ``steps`` contradicts it.
    """
    if data.get("budget") is None:
        return data
    try:
        budget = Budget.model_validate(data["budget"]).forward_equivalents
        transforms = TRANSFORM_CHAIN.validate_python(data.get("transforms") or ())
        variance = data.get("variance")
        variance = None if variance is None else Variance.model_validate(variance)
        restarts = int(data.get("restarts", 1))
        # Which of several restarts fools most takes a forward each.
        share = budget / restarts - (restarts > 1)
        reads_clean = is_feature_loss(str(data.get("loss")), data.get("loss_sha256"))
        cost = step_cost(transforms, variance, reads_clean=reads_clean)
    except (ValidationError, TypeError, ValueError, ZeroDivisionError):
        return data  # the field's own validation tells what is wrong
    if share < cost * 0.75:
        raise PydanticCustomError(
            "budget",
            "one step costs {cost} forward equivalents, and the budget leaves {share} a start; "
            "give more, or fewer copies, neighbours or restarts",
            {"cost": f"{cost:g}", "share": f"{share:g}"},
        )
    steps = max(1, round(share / cost))
    given = data.get("steps")
    if given is not None and (type(given) is not int or given != steps):
        raise PydanticCustomError(
            "budget",
            "steps is {steps} beside a budget; give one of the two",
            {"steps": str(given)},
        )
    return {**data, "steps": steps}


def read_loss(value: str) -> str:
    """Refuse a name that is neither a shipped loss nor ``package.module:function``."""
    if value in LOSSES or LOSSES.is_foreign(value):
        return value
    raise PydanticCustomError(
        "loss",
        "unknown loss '{loss}': {hint}; your own is package.module:attribute",
        {"loss": value, "hint": suggest(value, LOSSES.names())},
    )


def with_loss(data: dict[str, Any]) -> dict[str, Any]:
    """Fill in the sha256 of the file of a user's loss.

    Args:
        data: The raw spec.

    Raises:
        PydanticCustomError: If the loss cannot be imported.
    """
    loss = data.get("loss")
    if not isinstance(loss, str) or not LOSSES.is_foreign(loss):
        return data
    try:
        LOSSES.find(loss)
        return {**data, "loss_sha256": LOSSES.code_hash(loss)}
    except InputError as error:
        if data.get("loss_sha256"):  # a stored spec is read where its modules need not be
            return data
        raise PydanticCustomError("loss", "{error}", {"error": str(error)}) from None


def with_step_size(data: dict[str, Any]) -> dict[str, Any]:
    """Replace ``eps``, ``eps/4`` and ``eps/steps`` in ``step_size`` by their number.

    Args:
        data: The raw spec.

    Raises:
        PydanticCustomError: If ``step_size`` is none of these forms.
    """
    text = data.get("step_size")
    if not isinstance(text, str) or not text.replace(" ", "").startswith("eps"):
        return data
    written = re.fullmatch(r"eps(?:/(steps|[0-9.]+))?(atleasteps/steps)?", text.replace(" ", ""))
    steps: Any = data.get("steps", DEFAULTS["steps"])
    try:
        eps = PIXEL_FRACTION.validate_python(data.get("eps", DEFAULTS["eps"]))
        count = max(WHOLE.validate_python(steps), 1)
    except ValidationError:  # their own validation tells what is wrong
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
