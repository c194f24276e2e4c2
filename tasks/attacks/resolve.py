"""Derived fields of an attack: steps from a budget, step sizes from eps, hashes of losses."""

import re
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Budget, Variance
from segtransfer.tasks.attacks.gradient_rules.base import AnyGradientRule, GradientRule
from segtransfer.tasks.attacks.loops.spec import Loop
from segtransfer.tasks.attacks.losses import (
    KEEPS_MEMORY,
    LOSSES,
    preparation_of,
    reads_clean_features,
    trait_of,
)
from segtransfer.tasks.attacks.transforms import Transform, relative_cost
from segtransfer.tasks.schema import PixelFraction, Whole, suggest

DEFAULTS = {"eps": 8 / 255, "steps": 20}
PIXEL_FRACTION: TypeAdapter[float] = TypeAdapter(PixelFraction)
WHOLE: TypeAdapter[int] = TypeAdapter(Whole)
GRADIENT: TypeAdapter[GradientRule | None] = TypeAdapter(AnyGradientRule)
LOOP: TypeAdapter[Loop | None] = TypeAdapter(Loop | None)
TRANSFORM_CHAIN: TypeAdapter[tuple[Transform, ...]] = TypeAdapter(tuple[Transform, ...])


def step_cost(
    transforms: tuple[Any, ...],
    variance: Variance | None,
    gradient: GradientRule | None,
    *,
    reads_clean: bool,
    members: int | None = None,
) -> float:
    """Return the mean cost of a sign step, or of a gradient of a loop, in forwards at native size.

    Args:
        transforms: The chain of transforms.
        variance: The variance tuning, whose neighbours cost a gradient each; or None.
        gradient: The gradient rule; None for the loss's gradient.
        reads_clean: Whether the loss also reads the clean image in the same view, at the cost of a
            second forward per view if there are transforms or views of the rule.
        members: The number of members of the source, 1 for no ensemble; None if it is unknown.

    Returns:
        More than 0; 1.0 for PGD.
    """
    views = bool(transforms) or (gradient is not None and gradient.typed().views)
    looks = 2 if reads_clean and views else 1
    gradients = 1.0
    if gradient is not None:
        gradients = gradient.gradients_per_step
        if members is not None:
            gradients = gradient.gradients_on(members)
    gradients += variance.neighbours if variance else 0
    return looks * relative_cost(transforms) * gradients


def _costs(
    loss: str,
    sha256: str | None,
    transforms: tuple[Any, ...],
    variance: Variance | None,
    gradient: GradientRule | None,
) -> tuple[float, float]:
    """Return the forwards of the loss's preparation, and the cost per step of all attacks."""
    prepared = preparation_of(loss, sha256)
    reads_clean = reads_clean_features(loss, sha256)
    cost = step_cost(transforms, variance, gradient, reads_clean=reads_clean)
    if prepared is None:
        return 0, cost
    if prepared.first_loss is not None:  # the first attack has as many steps
        cost += step_cost(transforms, variance, gradient, reads_clean=False)
    return prepared.forwards, cost


def later_step_cost(spec: Any, members: int | None = None) -> float:
    """Return the mean cost of a step of an attack, without its preparation.

    Args:
        spec: The attack, an ``AttackSpec``.
        members: The number of members of the source, 1 for no ensemble; None if it is unknown.

    Returns:
        Forwards at native size, more than 0.
    """
    reads_clean = reads_clean_features(spec.loss, spec.loss_sha256)
    parts = spec.transforms, spec.variance, spec.gradient
    return step_cost(*parts, reads_clean=reads_clean, members=members)


def preparation_cost(spec: Any) -> float:
    """Return the cost before the first step of a restart.

    Args:
        spec: The attack, an ``AttackSpec``.

    Returns:
        Forwards at native size, of the loss's preparation and of a first attack; 0 for most losses.
    """
    prepared = preparation_of(spec.loss, spec.loss_sha256)
    first = first_attack(spec)
    before = 0 if first is None else first.steps * first.step_cost
    return before + (0 if prepared is None else prepared.forwards)


def first_attack(spec: Any) -> Any:
    """Return the first attack, whose images a loss such as ``ila`` reads.

    Args:
        spec: The attack, an ``AttackSpec``.

    Returns:
        The attack with the first loss, and a single restart; None for most losses.
    """
    prepared = preparation_of(spec.loss, spec.loss_sha256)
    if prepared is None or prepared.first_loss is None:
        return None
    fields = {"loss": prepared.first_loss, "loss_sha256": None, "layer": None}
    return spec.model_copy(update={**fields, "budget": None, "restarts": 1, "steps_at": ()})


def misfit_of_loss(spec: Any, moves: bool) -> str:
    """Return the fault of the fields beside a loss.

    Args:
        spec: The attack, an ``AttackSpec``.
        moves: Whether a transform moves or resizes content, or a gradient rule views it.

    Returns:
        A sentence; empty if the fields fit the loss.
    """
    loss, kinds = spec.loss, [transform.kind for transform in spec.transforms]
    if spec.layer and not spec.reads_features:
        return (
            f"layer is for feature losses such as fspgd, and loss '{loss}' reads logits; "
            "leave layer out"
        )
    if spec.target and spec.reads_features:
        return (
            f"loss '{loss}' reads features, so a target has no effect; leave target out, "
            "or give a loss of logits"
        )
    if moves and preparation_of(loss, spec.loss_sha256) is not None:
        return (
            f"loss '{loss}' has a weight per place of the clean image, so no transform may move or "
            "resize content, and no gradient rule may view it or take members apart; transforms is "
            f"{kinds}; leave both out, or give another loss"
        )
    if spec.label_version == "labels" and trait_of(loss, spec.loss_sha256, KEEPS_MEMORY):
        return (
            f"loss '{loss}' remembers each pixel of the labels, and label_version is 'labels', "
            "which moves them; give label_version: logits, or another loss"
        )
    return ""


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
        loss, sha256 = str(data.get("loss")), data.get("loss_sha256")
        before, cost = _costs(loss, sha256, transforms, variance, gradient)
        loop = LOOP.validate_python(data.get("loop"))
        if loop is not None:
            before, cost = before + loop.extra_cost(cost), cost * loop.gradients_per_step
        share -= before
    except (ValidationError, TypeError, ValueError, ZeroDivisionError):
        return data  # the field's own validation reports the error
    if share < cost * 0.75:
        raise PydanticCustomError(
            "budget",
            "a step costs {cost} forward equivalents, and the budget leaves {share} per start; "
            "give a larger budget, or fewer copies, neighbours or restarts",
            {"cost": f"{cost:g}", "share": f"{max(share, 0):g}"},
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
