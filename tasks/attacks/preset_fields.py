"""The fields that a preset gives to an attack."""

from typing import Any

from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.presets import PRESETS


def fields_of_preset(preset: str, budget: Any) -> dict[str, Any]:
    """Return the fields of a preset.

    Args:
        preset: The name of the preset.
        budget: The raw budget, or None. Under a budget ``steps`` is left out, and the step size is
            at least eps/steps, so that few steps reach the bound, too.

    Returns:
        The raw fields, as YAML has them.

    Raises:
        PydanticCustomError: If the preset is unknown or names another preset, or if there is a
            budget and the preset has 0 steps or a single step.
    """
    try:
        fields = dict(PRESETS.find(preset).fields)
    except InputError as error:
        raise PydanticCustomError("preset", "{error}", {"error": str(error)}) from None
    if "preset" in fields:
        raise PydanticCustomError(
            "preset",
            "preset '{preset}' names preset '{other}'; give its fields instead",
            {"preset": preset, "other": str(fields["preset"])},
        )
    if budget is None:
        return fields
    if fields.get("steps") in (0, 1):
        raise PydanticCustomError(
            "budget",
            "preset '{preset}' always has steps: {steps}; leave the budget out",
            {"preset": preset, "steps": fields["steps"]},
        )
    fields.pop("steps", None)
    return {**fields, "step_size": "eps/4 at least eps/steps"}
