"""Points of a space: from a trial, to an attack, and back from an attack."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from segtransfer.errors import InputError
from segtransfer.search_spaces.paths import PARTS, Flat, attack, expand, flatten, part_of
from segtransfer.search_spaces.space import Searched, Space, Value, offer, word
from segtransfer.tasks.attacks.preset_fields import PRESET_KEYS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.schema import suggest

Point = dict[str, Value]
RawAttack = str | Mapping[str, Any]


def suggest_point(space: Space, trial: Any) -> Point:
    """Ask an Optuna trial for the value of each field whose conditions hold, in order.

    Args:
        space: The space.
        trial: An Optuna trial, or an object with its ``suggest_*`` methods. The names of parameters
            are the paths.

    Returns:
        The values by path.
    """
    point: Point = {}
    for path, searched in space.fields.items():
        if space.asks(path, point):
            point[path] = _ask(path, searched, trial)
    return point


def _ask(path: str, searched: Searched, trial: Any) -> Value:
    value: Value
    if searched.float is not None:
        low, high = searched.float
        value = trial.suggest_float(path, low, high, step=searched.step, log=searched.log)
    elif searched.int is not None:
        first, last = searched.int
        step = int(searched.step or 1)
        value = trial.suggest_int(path, first, last, step=step, log=searched.log)
    else:
        value = trial.suggest_categorical(path, list(searched.choice or (False, True)))
    return value


def attack_of(space: Space, base: RawAttack, point: Mapping[str, Value], name: str) -> AttackSpec:
    """Return the base attack with a point's values.

    Step sizes such as ``eps/steps`` and the steps of a budget are computed for the new attack.

    Args:
        space: The space of the point.
        base: The raw base attack, an item of an experiment's ``attacks``.
        point: The values by path.
        name: The name of the attack.

    Returns:
        The attack. A part with searched fields and without a switch is present.

    Raises:
        InputError: If the base attack or the attack is wrong, or the point names a field outside
            the space, or whose conditions do not hold.
    """
    where = f"space '{space.name}'"
    for path in point:
        if path not in space.fields:
            raise InputError(
                f"{where}: the point names '{path}', no field of the space; "
                f"{suggest(path, space.fields)}"
            )
        if not space.asks(path, dict(point)):
            raise InputError(f"{where}: the point names '{path}', {_not_asked(space, path)}")
    shown = ", ".join(f"{path}={word(value)}" for path, value in point.items())
    flat = _with(space, expand(base, "base attack"), point)
    return attack(flat, name, f"{where}: proposal {shown}")


def _with(space: Space, flat: Flat, point: Mapping[str, Value]) -> Flat:
    flat = dict(flat)
    for path in space.fields:
        part = part_of(path)
        # A searched part without a switch is always present.
        if part and (path in point or part not in space.fields):
            flat.setdefault(part, True)
        if path in point:
            flat[path] = point[path]
    return flat


def _not_asked(space: Space, path: str) -> str:
    conditions = " and ".join(
        f"{earlier} is {' or '.join(word(value) for value in allowed)}"
        for earlier, allowed in space.conditions(path).items()
    )
    return f"a field only if {conditions}"


def point_of(space: Space, base: RawAttack, wanted: AttackSpec) -> Point:
    """Return the point of an attack, the inverse of ``attack_of``.

    Args:
        space: The space.
        base: The raw base attack.
        wanted: The attack to reach from the base attack.

    Returns:
        The values by path; for a choice, the first with the same meaning in the attack.

    Raises:
        InputError: If the space does not offer a value, or the attack differs in another field.
    """
    wanted_fields = flatten(wanted.model_dump())
    point = _point_in(space, wanted_fields)
    proposed_fields = flatten(attack_of(space, base, point, wanted.name).model_dump())
    differing = [*_differing(wanted_fields, proposed_fields)]
    if differing:
        raise InputError("; ".join(differing))
    return point


def _point_in(space: Space, wanted_fields: Flat) -> Point:
    point: Point = {}
    for path, searched in space.fields.items():
        if space.asks(path, point):
            point[path] = _value(path, searched, wanted_fields)
    return point


def _value(path: str, searched: Searched, wanted_fields: Flat) -> Value:
    if searched.switch:
        return path in wanted_fields
    part = part_of(path)
    if part and part not in wanted_fields:
        raise InputError(f"{part} is off, and on in every attack of the space")
    value = wanted_fields[path]
    if searched.choice is not None:
        for choice in searched.choice:
            if _means(choice, path, wanted_fields):
                return choice
    elif isinstance(value, int | float):
        low, high = searched.float or searched.int or (0, 0)
        nearby = min(max(value, low), high)
        if searched.step:
            nearby = low + round((nearby - low) / searched.step) * searched.step
        if _alike(nearby, value):
            return int(nearby) if searched.int else float(nearby)
    raise InputError(f"{path} is {_show(value)}, and the space offers {offer(searched)}")


def _means(choice: Value, path: str, wanted_fields: Flat) -> bool:
    """Tell whether a choice, as an experiment writes it, has the value in an attack."""
    try:
        read = flatten(attack({**wanted_fields, path: choice}, "choice", "choice").model_dump())
    except InputError:
        return False
    return _alike(read[path], wanted_fields[path])


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


def _differing(wanted_fields: Flat, proposed_fields: Flat) -> Iterator[str]:
    """Yield the differences of two attacks, as text.

    Fields of a part present in a single attack are left out, and so are the steps of a budget.
    """
    for path in dict.fromkeys([*wanted_fields, *proposed_fields]):
        part = part_of(path)
        follows = path == "steps" and wanted_fields["budget"] is not None
        if (
            path == "name"
            or follows
            or (part and (part in wanted_fields) != (part in proposed_fields))
        ):
            continue
        one, other = wanted_fields.get(path, False), proposed_fields.get(path, False)
        if not _alike(one, other):
            yield f"{path} is {_show(one)}, and {_show(other)} in every attack of the space"
    orders = [[path for path in flat if path in PARTS] for flat in (wanted_fields, proposed_fields)]
    if orders[0] != orders[1] and set(orders[0]) == set(orders[1]):
        one, other = (", ".join(order) for order in orders)
        yield f"the order is {one}, and {other} in every attack of the space"


def _show(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "null"}[value]
    return f"{value:.6g}" if isinstance(value, float) else f"'{value}'"


def first_points(space: Space, base: RawAttack) -> list[Point]:
    """Return the points of ``first``, for Optuna's ``enqueue_trial``.

    A preset gives the searched fields; the base attack's own fields have precedence for the rest.

    Args:
        space: The space.
        base: The raw base attack.

    Returns:
        Points without repeats, in the order of ``first``.

    Raises:
        InputError: If a point is outside the space.
    """
    points: list[Point] = []
    for number, first in enumerate(space.first):
        shown = f"preset '{first}'" if isinstance(first, str) else f"point {first}"
        where = f"space '{space.name}': first.{number}, {shown}"
        if isinstance(first, str):
            flat = _preset_over(space, base, first, where)
        else:
            flat = _with(space, expand(base, "base attack"), first)
        wanted = attack(flat, "first", where)
        try:
            covered = _point_in(space, flatten(wanted.model_dump()))
            for path in first if isinstance(first, dict) else ():
                if path not in covered:
                    raise InputError(f"the point names '{path}', {_not_asked(space, path)}")
            point = point_of(space, base, wanted)
        except InputError as error:
            raise InputError(
                f"{where} is outside the space: {error}; extend the space, change the point, or "
                "leave it out"
            ) from None
        if point not in points:
            points.append(point)
    return points


def _preset_over(space: Space, base: RawAttack, preset: str, where: str) -> Flat:
    """Return a preset with the base attack's own fields, except the searched fields."""
    raw = {} if isinstance(base, str) else base
    given = {name: value for name, value in raw.items() if name not in PRESET_KEYS}
    searched = {*space.fields, *(part_of(path) for path in space.fields)}
    own = expand({"preset": preset, "budget": given.get("budget")}, where)
    flat = own | {path: v for path, v in flatten(given).items() if path not in searched}
    # Transforms are in the base attack's order, then in the space's.
    order = [*expand(base, "base attack"), *(part_of(path) or path for path in space.fields)]
    return {path: flat[path] for path in dict.fromkeys([*order, *flat]) if path in flat}
