"""The fields of an attack that names a preset: the preset's, on our schedule or its source's."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.loops.spec import minimises_norm
from segtransfer.tasks.attacks.presets import PRESETS, Preset
from segtransfer.tasks.json_schema import TEXT, JsonSchema
from segtransfer.tasks.schema import shorten, suggest

PRESET_KEYS = ("preset", "schedule")
_SCHEDULES = ("ours", "paper")


def fields_of_preset(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the preset that a raw attack names.

    Args:
        raw: The raw attack: ``preset``; ``schedule``, by default ``ours``; ``budget``, ``steps``.

    Returns:
        The raw fields, as YAML has them. Under a budget ``steps`` is left out; on our schedule the
        step size then is at least eps/steps, so that few steps reach the bound, too.

    Raises:
        PydanticCustomError: If the preset is unknown or names another preset, the schedule is
            unknown, or there is a budget and the preset has 0 steps or a single step.
    """
    name = str(raw["preset"])
    try:
        preset = PRESETS.find(name)
    except InputError as error:
        raise PydanticCustomError("preset", "{error}", {"error": str(error)}) from None
    if "preset" in preset.fields:
        raise PydanticCustomError(
            "preset",
            "preset '{preset}' names preset '{other}'; give its fields instead",
            {"preset": name, "other": str(preset.fields["preset"])},
        )
    replaced = _paper(name, preset) if read_schedule(raw) == "paper" else {}
    fields = {**preset.fields, **replaced}
    if "worst_of" in replaced and any(raw.get(name) is not None for name in ("steps", "budget")):
        fields["worst_of"] = [_without_steps(member) for member in replaced["worst_of"]]
    if raw.get("budget") is None:
        return fields
    if fields.get("steps") in (0, 1):
        raise PydanticCustomError(
            "budget",
            "preset '{preset}' always has steps: {steps}; leave the budget out",
            {"preset": name, "steps": fields["steps"]},
        )
    fields.pop("steps", None)
    if minimises_norm(fields.get("loop")) or "step_size" in replaced:
        return fields  # steps do not lead to the bound, or the source sets their size
    return {**fields, "step_size": "eps/4 at least eps/steps"}


def read_schedule(raw: Mapping[str, Any]) -> str:
    """Return the schedule that a raw attack asks for.

    Args:
        raw: The raw attack, with ``schedule`` or without.

    Returns:
        ``ours``, the default, or ``paper``.

    Raises:
        PydanticCustomError: If ``schedule`` is neither, or the attack names no preset.
    """
    schedule = raw.get("schedule", "ours")
    if schedule not in _SCHEDULES:
        raise PydanticCustomError(
            "schedule",
            "schedule is {schedule}; write ours or paper, or leave schedule out",
            {"schedule": shorten(repr(schedule))},
        )
    if "schedule" in raw and "preset" not in raw:
        raise PydanticCustomError(
            "schedule",
            "schedule is '{schedule}', and only presets have schedules; name a preset, or give "
            "steps, step_size, start and momentum",
            {"schedule": schedule},
        )
    return str(schedule)


def _paper(name: str, preset: Preset) -> dict[str, Any]:
    """Return the fields of the schedule of a preset's source."""
    if preset.paper is None:
        raise PydanticCustomError(
            "schedule",
            "schedule is 'paper', and preset '{preset}' has no known schedule of its source; "
            "leave schedule out, or give steps, step_size, start and momentum",
            {"preset": name},
        )
    return preset.paper


def _without_steps(member: Any) -> Any:
    """Return a raw member without its steps; a preset's name as is."""
    if not isinstance(member, dict):
        return member
    return {name: value for name, value in member.items() if name != "steps"}


def unknown_preset(value: Any) -> str:
    """Return the error of an unknown preset.

    Args:
        value: The value of ``preset``.

    Returns:
        A sentence with the closest presets.
    """
    hint = suggest(str(value), PRESETS.names())
    own = "name a preset of your own as package.module:attribute"
    return f"unknown preset '{shorten(str(value))}'; {hint}; {own}"


def preset_schemas() -> dict[str, JsonSchema]:
    """Return the JSON schemas of the keys of an attack that are no fields, by key.

    Returns:
        A schema with a description for ``preset`` and for ``schedule``.
    """
    return {
        "preset": {
            "anyOf": [{"enum": PRESETS.names()}, TEXT | {"pattern": ":"}],
            "description": "The preset that gives the default of every field, its name included.",
        },
        "schedule": {
            "enum": list(_SCHEDULES),
            "default": "ours",
            "description": "The schedule of the preset: `ours`, by default 20 steps of eps/4 from "
            "the clean image, or `paper`, the steps, step size, start and momentum of the preset's "
            "source. An attack may replace each.",
        },
    }
