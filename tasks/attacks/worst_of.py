"""The spec of an attack that keeps the strongest of several: its members, checks and cost."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks.components import Budget

INHERITED = ("eps", "norm", "region", "target")
# Fields of an attack with members; all others belong to the members.
OWN = (*INHERITED, "name", "budget", "scores", "equal_rms", "steps", "step_size", "worst_of")


def with_members(data: dict[str, Any], read: Callable[[Any], Any]) -> dict[str, Any]:
    """Read the members of an attack, and fill in its number of steps.

    Args:
        data: The raw attack with ``worst_of``. Members take over its eps, norm, region and target,
            its steps unless they give their own, and equal parts of its budget, less a scoring
            forward each.
        read: Reads a raw member as an ``AttackSpec``.

    Returns:
        The raw attack with its members, ``steps`` (the sum over the members) and ``step_size`` 0. A
        wrong member stays raw, and its own validation reports the error.

    Raises:
        PydanticCustomError: If the budget leaves nothing to the members, ``steps`` is another
            number, or there is a ``step_size``.
    """
    members = data["worst_of"]
    if not isinstance(members, list | tuple):
        return data
    if data.get("step_size", 0.0) != 0.0:
        raise _wrong("step_size belongs to the attacks of worst_of; give step_size to them")
    share = _share(data.get("budget"), len(members))
    given = {name: data[name] for name in INHERITED if name in data} | share
    given |= {"steps": data["steps"]} if "steps" in data and not share else {}
    raw = [_with({"name": f"attack-{i}", **given}, member) for i, member in enumerate(members)]
    try:
        found = [read(member) for member in raw]
    except ValidationError:
        return {**data, "worst_of": raw}
    steps = sum(member.restarts * member.steps_taken for member in found)
    if data.get("steps", steps) != steps and (share or all(map(_has_steps, members))):
        raise PydanticCustomError(
            "worst_of",
            "steps is {steps}, and the attacks of worst_of take {sum} steps; give steps to them, "
            "or a budget to all",
            {"steps": str(data["steps"]), "sum": steps},
        )
    return {"step_size": 0.0, **data, "worst_of": found, "steps": steps}


def _share(budget: Any, count: int) -> dict[str, Any]:
    """Return the budget of each member, as fields; none without a valid budget."""
    if budget is None:
        return {}
    try:
        total = Budget.model_validate(budget).forward_equivalents
    except ValidationError:  # the own validation of the budget reports the error
        return {}
    if total <= count:
        raise PydanticCustomError(
            "budget",
            "the budget is {budget}, and scoring the {count} attacks of worst_of costs {count}; "
            "give a larger budget",
            {"budget": f"{total:g}", "count": count},
        )
    return {"budget": (total - count) / count}


def _with(given: dict[str, Any], member: Any) -> Any:
    """Return a raw member with the fields given, unless it has them or is an ``AttackSpec``."""
    if isinstance(member, str):
        member = {"preset": member}
    if not isinstance(member, dict):
        return member
    if member.get("budget") is not None:
        given = {name: value for name, value in given.items() if name != "steps"}
    if "preset" in member:
        given = {name: value for name, value in given.items() if name != "name"}
    return {**given, **member}


def _has_steps(member: Any) -> bool:
    return not isinstance(member, str | dict) or "steps" in member or "budget" in member


def check_members(attack: Any) -> None:
    """Refuse members that do not fit their attack.

    Args:
        attack: The attack, an ``AttackSpec`` with ``worst_of``.

    Raises:
        PydanticCustomError: If the attack has a field of its members, a member has another ball,
            region or target, or a member makes several kinds of images.
    """
    for name, field in type(attack).model_fields.items():
        if name not in OWN and getattr(attack, name) != field.default:
            raise _wrong(f"{name} belongs to the attacks of worst_of; give {name} to them")
    for number, member in enumerate(attack.worst_of):
        who = f"worst_of.{number} ('{member.name}')"
        for name in INHERITED:
            if getattr(member, name) != getattr(attack, name):
                raise _wrong(f"{who} has another {name} than the attack; leave {name} out of it")
        if member.steps == 0:
            raise _wrong(f"{who} takes no step; name attacks with steps")
        if member.steps_at or member.scores != ("raw",):
            raise _wrong(f"{who} gives steps_at or scores; leave steps_at and scores out of it")


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("worst_of", "{message}", {"message": message})


def members_cost(attack: Any) -> float:
    """Return the cost of an attack with members, in forwards at native size per image.

    Args:
        attack: An ``AttackSpec`` with ``worst_of``.

    Returns:
        The sum over members, with a scoring forward per member and per restart of several.
    """
    return sum(
        member.restarts * (member.steps_taken * member.step_cost + (member.restarts > 1)) + 1
        for member in attack.worst_of
    )
