"""Checks of a space against its base attack: every value, and the points proposed first."""

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
    """Check that a space proposes only possible attacks, and can make its ``first`` points.

    The ends of each range, a value between them, and each choice are tried: in the base attack, and
    beside the first and the last value of every other field, as a trial might propose them.

    Args:
        space: The space.
        base: The raw base attack, an item of an experiment's ``attacks``.

    Raises:
        InputError: If the attack refuses a value; names the field, its value and the reason.
    """
    flat = expand(base, "base attack")
    if flat.get("files") is not None:
        raise InputError("base attack: files are scored as they are; there is nothing to search")
    if flat.get("budget") is not None and "steps" in space.fields:
        raise InputError(
            f"space '{space.name}': field 'steps': the base attack has a budget, from which the "
            "steps follow; leave the budget out of the base attack, or steps out of the space"
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
    """A trial with given answers, and otherwise the first or the last value."""

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
        # Between the ends of whole numbers lies one that is none.
        return low, low + (searched.step or 0.381966 * (high - low)), high
    if searched.int is not None:
        first, last = searched.int
        return first, first + int(searched.step or 1), last
    return searched.choice or (False, True)


def _alone(space: Space, path: str, value: Value) -> Point:
    """Return a point of a value and its prerequisites alone."""
    needs = {earlier: allowed[0] for earlier, allowed in space.needs(path).items()}
    return {**needs, path: value}


def _proposals(space: Space, path: str, value: Value) -> Iterator[Point]:
    """Yield a value beside the first, and beside the last value of every other field."""
    for last in (False, True):
        yield suggest_point(space, _Answers(_alone(space, path, value), last=last))


def _refused_values(space: Space, base: RawAttack) -> Iterator[str]:
    """Yield a sentence per field with a value that the attack refuses beside any other values."""
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
                    f"{where}field '{path}' offers {word(value)}, which the attack refuses: "
                    f"{refusals[0].removeprefix(where)}"
                )
                break


def _refusal(space: Space, base: RawAttack, point: Point) -> str | None:
    """Return the attack's objection to a point, None if there is none."""
    try:
        attack_of(space, base, point, "proposal")
    except InputError as error:
        return str(error)
    return None
