"""Checks of a space against its base attack: every value, and the first points."""

from collections.abc import Iterator
from typing import Any

from segtransfer.errors import InputError
from segtransfer.search_spaces.paths import expand
from segtransfer.search_spaces.points import (
    Point,
    RawAttack,
    attack_of,
    first_points,
    suggest_point,
)
from segtransfer.search_spaces.space import Searched, Space, Value, word


def check(space: Space, base: RawAttack) -> None:
    """Check that a space proposes only valid attacks, and contains its ``first`` points.

    The ends of each range, a value between them, and each choice are tried: in the base attack, and
    with the first and with the last value of every other field.

    Args:
        space: The space.
        base: The raw base attack, an item of an experiment's ``attacks``.

    Raises:
        InputError: If the attack refuses a value. The message names field, value and reason.
    """
    flat = expand(base, "base attack")
    if flat.get("files") is not None:
        raise InputError(
            "base attack: files holds finished AEs, without anything to search; give an attack"
        )
    if flat.get("budget") is not None and "steps" in space.fields:
        raise InputError(
            f"space '{space.name}': field 'steps' is searched, and the base attack has a budget, "
            "which determines the steps; leave the budget out of the base attack, or steps out of "
            "the space"
        )
    refused = [*_refused_values(space, base)]
    if refused:
        raise InputError("\n".join(refused))
    for path, searched in space.fields.items():
        for value in _tried(searched):
            for proposal in _proposals(space, path, value):
                if refusal := _refusal(space, base, proposal):
                    raise InputError(f"{refusal}; or narrow the space")
    first_points(space, base)


class _Answers:
    """A trial with given values, and the first or the last value for other fields."""

    def __init__(self, given: Point, *, last: bool) -> None:
        self.given, self.last = given, last

    def suggest_float(self, name: str, low: Value, high: Value, **_: Any) -> Value:
        return self.given.get(name, high if self.last else low)

    suggest_int = suggest_float

    def suggest_categorical(self, name: str, choices: list[Value]) -> Value:
        return self.given.get(name, choices[-1 if self.last else 0])


def _tried(searched: Searched) -> tuple[Value, ...]:
    """Return each choice, or the ends of a range and a value between them."""
    if searched.float is not None:
        low, high = searched.float
        # An inner value that is not whole between whole ends, to find fields of whole numbers.
        return low, low + (searched.step or 0.381966 * (high - low)), high
    if searched.int is not None:
        first, last = searched.int
        return first, first + int(searched.step or 1), last
    return searched.choice or (False, True)


def _alone(space: Space, path: str, value: Value) -> Point:
    """Return a point with a value and its prerequisites alone."""
    needs = {earlier: allowed[0] for earlier, allowed in space.needs(path).items()}
    return {**needs, path: value}


def _proposals(space: Space, path: str, value: Value) -> Iterator[Point]:
    """Yield two points with a value: with the first, and with the last value of other fields."""
    for last in (False, True):
        yield suggest_point(space, _Answers(_alone(space, path, value), last=last))


def _refused_values(space: Space, base: RawAttack) -> Iterator[str]:
    """Yield a sentence per field with a value refused by the attack, whatever other fields have."""
    where = f"space '{space.name}': "
    for path, searched in space.fields.items():
        for value in _tried(searched):
            alone = _alone(space, path, value)
            refusals = [
                refusal
                for point in (alone, *_proposals(space, path, value))
                if (refusal := _refusal(space, base, point))
            ]
            if len(refusals) == 3:
                yield (
                    f"{where}field '{path}' offers {word(value)}, refused by the attack: "
                    f"{refusals[0].removeprefix(where)}"
                )
                break


def _refusal(space: Space, base: RawAttack, point: Point) -> str | None:
    """Return the attack's error for a point, or None."""
    try:
        attack_of(space, base, point, "proposal")
    except InputError as error:
        return str(error)
    return None
