"""The typed search space: searched fields of an attack, their values and conditions."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.search_spaces.paths import FIXED, PARTS, PATHS, is_path, part_of
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.schema import Flag, Frozen, Name, Number, Whole, suggest
from segtransfer.tasks.spec_errors import validated
from segtransfer.tasks.yaml_files import read_mapping

SHIPPED = Path(__file__).parent
Value = str | int | float | bool | None
Prerequisites = dict[str, tuple[Value, ...]]


def _read_value(value: Any) -> Any:
    plain = value is None or isinstance(value, str | int | float)
    if not plain or (isinstance(value, float) and not math.isfinite(value)):
        raise PydanticCustomError("value", "give a word, a finite number, true, false or null", {})
    return value


def _read_ends(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise PydanticCustomError("ends", "give a range as two numbers, [low, high]", {})
    return value


def _read_switch(value: Any) -> Any:
    if value is not True:
        raise PydanticCustomError("switch", "write switch: true", {})
    return value


def _read_first(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise PydanticCustomError("first", "give a preset, or a mapping of fields to values", {})
    return value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Plain = Annotated[Value, BeforeValidator(_read_value)]
Ends = Annotated[tuple[Number, Number], BeforeValidator(_read_ends)]
WholeEnds = Annotated[tuple[Whole, Whole], BeforeValidator(_read_ends)]
Choices = tuple[Plain, ...]
Switch = Annotated[Flag, BeforeValidator(_read_switch)]
Step = Annotated[Number, Field(gt=0)]
PLAIN = {"type": ["string", "number", "boolean", "null"]}
Allowed = Annotated[
    tuple[Plain, ...],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [PLAIN, {"type": "array", "items": PLAIN}]}),
]
First = Annotated[str | dict[str, Plain], BeforeValidator(_read_first)]


class Searched(Frozen):
    """The values of a field: exactly one of ``float``, ``int``, ``choice`` and ``switch``.

    Attributes:
        float: A range of numbers [low, high], both included.
        int: A range of whole numbers [low, high], both included.
        choice: A list of values, as an experiment writes them.
        switch: ``true`` for a part that is present with its fields, or absent.
        step: The distance between values of ``float`` or ``int``, which must divide the range.
            Default 1 for ``int``, none for ``float``.
        log: Whether ``float`` or ``int`` is sampled uniformly in the logarithm; needs low > 0 and
            no ``step``. Default false.
        when: Earlier fields with the value, or a list of values, as the condition of this field.
            Default no condition.
    """

    float: Ends | None = None
    int: WholeEnds | None = None
    choice: Choices | None = None
    switch: Switch | None = None
    step: Step | None = None
    log: Flag = False
    when: dict[str, Allowed] = Field(default={})

    @model_validator(mode="after")
    def _fits(self) -> "Searched":
        for problem in _kind_problems(self):
            raise PydanticCustomError("searched", "{problem}", {"problem": problem})
        return self


class Space(Frozen):
    """The searched fields of an attack by path, in the order of a trial's suggestions.

    Attributes:
        name: The name of the space, at most 80 letters, digits, "_", "-" and "."; by default the
            file's.
        about: A description for readers, without effect. Default empty.
        fields: The values of each field, by path, for example ``momentum.mu``.
        first: The attacks proposed first: presets, or mappings of fields to values over the base
            attack. Default none.
    """

    name: Annotated[Name, Field(max_length=80)]
    about: str = ""
    fields: Annotated[dict[str, Searched], Field(min_length=1)]
    first: tuple[First, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> "Space":
        problems = (
            [*_path_problems(self)]
            or [*_when_problems(self)]
            or [*_never_problems(self), *_first_problems(self)]
        )
        if problems:
            raise PydanticCustomError("space", "{lines}", {"lines": "\n".join(problems)})
        return self

    def conditions(self, path: str) -> Prerequisites:
        """Return the conditions of a field: its ``when``, and the presence of its part.

        Args:
            path: A field of the space.

        Returns:
            The allowed values by earlier field.
        """
        when = dict(self.fields[path].when)
        part = part_of(path)
        if part in self.fields:
            when[part] = tuple(v for v in when.get(part, (True,)) if v is True)
        return when

    def asks(self, path: str, point: dict[str, Value]) -> bool:
        """Tell whether the conditions of a field hold.

        Args:
            path: A field of the space.
            point: The values of the earlier fields, by path.
        """
        return all(
            earlier in point and among(point[earlier], allowed)
            for earlier, allowed in self.conditions(path).items()
        )

    def needs(self, path: str) -> Prerequisites:
        """Return all prerequisites of a field, with the conditions of its conditions.

        Args:
            path: A field of the space.

        Returns:
            The allowed values by earlier field; empty values if the conditions exclude each other.
        """
        found: Prerequisites = {}
        for earlier, allowed in self.conditions(path).items():
            for name, values in [(earlier, allowed), *self.needs(earlier).items()]:
                before = found.get(name, values)
                found[name] = tuple(value for value in before if among(value, values))
        return found

    def identity(self) -> dict[str, Any]:
        """Return the content that determines proposals, as JSON values.

        Returns:
            ``fields``, a list of pairs because order matters, and ``first``.
        """
        fields = [
            [path, searched.model_dump(mode="json", exclude_defaults=True)]
            for path, searched in self.fields.items()
        ]
        return {"fields": fields, "first": self.model_dump(mode="json")["first"]}


def among(value: Value, allowed: tuple[Value, ...]) -> bool:
    """Tell whether a value is allowed, with 1 distinct from true.

    Args:
        value: The value.
        allowed: The allowed values.
    """
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed)


def offer(searched: Searched) -> str:
    """Return the values of a field as text, for messages.

    Args:
        searched: The field.

    Returns:
        For example "1 to 9 in steps of 2", or "js, null".
    """
    if ends := searched.float or searched.int:
        step = f" in steps of {searched.step:g}" if searched.step else ""
        return f"{ends[0]:g} to {ends[1]:g}{step}"
    return ", ".join(word(value) for value in searched.choice or (True, False))


def word(value: Value) -> str:
    """Return a value as a YAML file writes it: ``null``, ``true``, or its text."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def space_names() -> list[str]:
    """Return the names of the shipped spaces, sorted."""
    return sorted(path.stem.replace("_", "-") for path in SHIPPED.glob("*.yaml"))


def read_space(source: str | Path | dict[str, Any] | Space, base: Path | None = None) -> Space:
    """Read a space from a name, a YAML file or a mapping.

    Args:
        source: The name of a shipped space, the path of a YAML file, or a mapping; a ``Space`` is
            returned unchanged.
        base: The folder of relative paths, by default the working folder.

    Returns:
        The space; the name of a file without ``name`` is the file's.

    Raises:
        InputError: If there is no such space, or fields are wrong: a line per wrong field with
            file, field, value and allowed values.
    """
    if isinstance(source, Space):
        return source
    if isinstance(source, dict):
        where, raw = f"space '{source.get('name', '')}'", dict(source)
    else:
        path = _find(source, base or Path.cwd())
        own = read_mapping(path, needs="fields")
        where, raw = str(path), {"name": path.stem.replace("_", "-"), **own}
    return validated(Space, raw, where)


def _find(source: str | Path, base: Path) -> Path:
    path = base / Path(source).expanduser()
    if path.is_file():
        return path.resolve()
    name = str(source).replace("_", "-")
    if name in space_names():
        return SHIPPED / f"{name.replace('-', '_')}.yaml"
    hint = suggest(name, space_names())
    raise InputError(f"search space '{source}' is neither a file nor a shipped space: {hint}")


def _kind_problems(searched: Searched) -> Iterator[str]:
    kinds = ("float", "int", "choice", "switch")
    given = [kind for kind in kinds if getattr(searched, kind) is not None]
    if len(given) != 1:
        named = " and ".join(given) or "nothing"
        yield f"{named} is given; give exactly one of {', '.join(kinds)}"
        return
    ends = searched.float or searched.int
    if ends is None:
        if searched.step is not None or searched.log:
            yield f"step and log are for float and int, and {given[0]} is given; leave both out"
        if searched.choice == ():
            yield "choice is empty; give 1 value or more"
        offered = searched.choice or ()
        for number, value in enumerate(offered):
            if value in offered[:number]:
                yield f"choice offers {word(value)} twice; delete one of them"
        return
    low, high = ends
    if low >= high:
        yield f"the range {given[0]}: [{low:g}, {high:g}] is empty; give low < high"
    elif searched.log and (low <= 0 or searched.step is not None):
        yield "log needs a range above 0 without step; give low > 0 and no step, or leave log out"
    elif searched.step is not None and not _whole((high - low) / searched.step):
        yield (
            f"steps of {searched.step:g} from {low:g} do not reach {high:g}; change step or range"
        )
    elif searched.int and searched.step is not None and not _whole(searched.step):
        yield f"step is {searched.step:g}, and int needs whole numbers; give a whole step"


def _whole(number: float) -> bool:
    return math.isclose(number, round(number), abs_tol=1e-9)


def _path_problems(space: Space) -> Iterator[str]:
    for path, searched in space.fields.items():
        head = path.partition(".")[0]
        if head in FIXED:
            yield f"field '{path}' cannot be searched: {FIXED[head]}; set it in the base attack"
        elif not is_path(path):
            yield f"'{path}' is no searchable field of an attack: {suggest(path, PATHS)}"
        elif path in PARTS and not searched.switch:
            yield f"field '{path}' is a part, present or absent; write {path}: {{switch: true}}"
        elif path not in PARTS and searched.switch:
            yield f"field '{path}' is no part; for a boolean write choice: [true, false]"


def _when_problems(space: Space) -> Iterator[str]:
    paths = list(space.fields)
    for number, path in enumerate(paths):
        part, when = part_of(path), space.fields[path].when
        if part in paths[number:]:
            yield f"field '{part}' is a condition of '{path}'; move '{part}' before '{path}'"
            continue
        problems = []
        for earlier, allowed in when.items():
            if earlier not in paths[:number]:
                what = "not an earlier field" if earlier in paths else "no field of this space"
                hint = suggest(earlier, paths[:number])
                problems.append(f"when names '{earlier}', {what}: {hint}")
                continue
            wrong = [value for value in allowed if not _takes(space.fields[earlier], value)]
            if space.fields[earlier].float:
                problems.append(
                    f"when names '{earlier}', a float, whose values cannot be listed; name an int, "
                    "choice or switch"
                )
            elif wrong:
                offered = offer(space.fields[earlier])
                problems.append(
                    f"when needs '{earlier}' to be {word(wrong[0])}, and its values are {offered}; "
                    "give one of them"
                )
        yield from (f"field '{path}': {problem}" for problem in problems)


def _never_problems(space: Space) -> Iterator[str]:
    for path in space.fields:
        never = [name for name, values in space.needs(path).items() if not values]
        if never:
            yield (
                f"field '{path}' is never searched, because no value of '{never[0]}' meets all of "
                "its conditions; change when"
            )


def _takes(searched: Searched, value: Value) -> bool:
    """Tell whether a field of ``int``, ``choice`` or ``switch`` may have a value."""
    if searched.switch:
        return isinstance(value, bool)
    if searched.choice is not None:
        return among(value, searched.choice)
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    low, high = searched.int or (0, 0)
    return low <= value <= high and _whole((value - low) / (searched.step or 1))


def _first_problems(space: Space) -> Iterator[str]:
    for number, first in enumerate(space.first):
        if isinstance(first, str):
            try:
                PRESETS.find(first)
            except InputError as error:
                yield f"first.{number}: {error}"
        for path in first if isinstance(first, dict) else ():
            if path not in space.fields:
                hint = suggest(path, space.fields)
                yield f"first.{number} names '{path}', no field of the space: {hint}"
