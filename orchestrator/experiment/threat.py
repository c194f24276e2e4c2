"""The threat model of all attacks of an experiment, and the item ``*`` of their list."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Budget
from segtransfer.tasks.attacks.loops.spec import minimises_norm
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.json_schema import JsonSchema
from segtransfer.tasks.schema import Frozen, PixelFraction, strength_text

EVERY_PRESET = "*"
MOST_UNEQUAL = 0.1  # relative difference between the cost of an attack and the budget


class Threat(Frozen):
    """The common bound and cost of all attacks of an experiment, for ranks at equal cost.

    Attributes:
        norm: The norm of the bound, ``linf`` or ``l2``, as in an attack. Default ``linf``.
        eps: The bound, a fraction of the pixel range [0, 1], for example ``8/255``.
        budget: The cost of every attack per image in forward equivalents. The cost of each attack
            with steps is within 10 % of the budget.
    """

    norm: Literal["linf", "l2"] = "linf"
    eps: PixelFraction
    budget: Budget

    @property
    def cost(self) -> float:
        """Return the budget in forward equivalents per image."""
        return self.budget.forward_equivalents

    def admits_cost(self, cost: float) -> bool:
        """Return whether a cost, in forward equivalents per image, is within 10 % of the budget."""
        return abs(cost - self.cost) <= MOST_UNEQUAL * self.cost * (1 + 1e-9)


def with_threat(fields: dict[str, Any]) -> dict[str, Any]:
    """Give the raw attacks of an experiment the bound and budget of its threat model.

    ``*`` in the list of attacks, or ``{preset: "*"}`` with further fields, stands for every shipped
    preset with steps and a fitting cost, except for presets with an item of their own.

    Args:
        fields: The raw experiment.

    Returns:
        The raw experiment, with a mapping per attack. Unchanged if the threat model or the list is
        wrong, whose own validation reports the error.
    """
    attacks = fields.get("attacks")
    if not isinstance(attacks, list | tuple):
        return fields
    try:
        raw = fields.get("threat")
        threat = None if raw is None else Threat.model_validate(raw)
    except ValidationError:
        return fields
    return {**fields, "attacks": list(_expanded(list(attacks), threat))}


def _expanded(attacks: list[Any], threat: Threat | None) -> Iterator[Any]:
    named = [_name_of(item) for item in attacks]
    for item in attacks:
        if _preset_of(item) != EVERY_PRESET:
            yield _filled(item, threat)
            continue
        rest = item if isinstance(item, dict) else {}
        for name in PRESETS:
            if name not in named and refusal(name, threat, rest) is None:
                yield _filled({**rest, "preset": name}, threat)


def _preset_of(item: Any) -> Any:
    return item.get("preset") if isinstance(item, dict) else item


def _name_of(item: Any) -> Any:
    if isinstance(item, AttackSpec):
        return item.name
    return item.get("name", item.get("preset")) if isinstance(item, dict) else item


def _filled(item: Any, threat: Threat | None) -> Any:
    """Return a raw attack with missing bound and budget filled in from the threat model."""
    if threat is None or not isinstance(item, str | dict):
        return item
    attack = {"preset": item} if isinstance(item, str) else dict(item)
    for name, value in (("norm", threat.norm), ("eps", threat.eps)):
        if attack.get(name) is None:
            attack[name] = value
    if not {"steps", "budget", "files"} & attack.keys() and _has_free_steps(attack):
        attack["budget"] = threat.cost
    return attack


def _has_free_steps(attack: dict[str, Any]) -> bool:
    """Return whether a budget may set the steps of a raw attack; True if the preset is unknown."""
    try:
        preset = attack.get("preset")
        fields = {} if preset is None else PRESETS.find(str(preset)).fields
    except InputError:
        return True
    return fields.get("steps") not in (0, 1)


def refusal(preset: str, threat: Threat | None, fields: dict[str, Any] | None = None) -> str | None:
    """Return why ``*`` leaves a preset out, or None if ``*`` stands for the preset, too.

    Args:
        preset: The name of a shipped preset.
        threat: The threat model, or None.
        fields: Fields of the attack in place of the preset's.

    Returns:
        A clause, for example "costs 1 forward equivalents, the budget is 10".
    """
    if PRESETS.find(preset).fields.get("steps") == 0:
        return "is a control without steps"
    try:
        attack = AttackSpec.model_validate(_filled({**(fields or {}), "preset": preset}, threat))
    except ValidationError as error:
        return error.errors()[0]["msg"]
    if minimises_norm(attack.loop):
        return "seeks the smallest norm, not the strongest image within the bound"
    if attack.gradient is not None and attack.gradient.typed().for_ensembles:
        return "is a rule for ensembles; name the preset for sources with several members"
    return None if threat is None else objection(attack, threat)


def objection(attack: AttackSpec, threat: Threat) -> str | None:
    """Return why an attack contradicts a threat model, or None if the attack fits.

    Args:
        attack: The attack. An attack without steps, for example of ``files``, has no known cost.
        threat: The threat model.

    Returns:
        A clause for a sentence about the attack, without the name.
    """
    if (attack.norm, attack.eps) != (threat.norm, threat.eps):
        own, shared = (f"{part.norm} {strength_text(part.eps)}" for part in (attack, threat))
        return f"has the bound {own}, the threat model's is {shared}"
    if attack.steps_at:
        return "keeps early steps (steps_at), whose cost is below the budget"
    cost = planned_cost(attack)
    if attack.steps and not threat.admits_cost(cost):
        return f"costs {cost:g} forward equivalents, the budget is {threat.cost:g}"
    return None


def planned_cost(attack: AttackSpec) -> float:
    """Return the expected cost of an attack per image, in forward equivalents.

    Returns:
        Restarts x steps x cost per step, and a forward per restart to choose among several. 0 for
        an attack without steps.
    """
    chosen = attack.restarts if attack.restarts > 1 and attack.steps else 0
    return attack.restarts * attack.steps_taken * attack.step_cost + chosen


def check_threat(attacks: tuple[AttackSpec, ...], threat: Threat) -> None:
    """Refuse attacks in contradiction to a threat model.

    Args:
        attacks: The attacks.
        threat: The threat model.

    Raises:
        PydanticCustomError: If an attack has another bound, or a cost outside 10 % of the budget.
    """
    for attack in attacks:
        if clause := objection(attack, threat):
            low, high = ((1 + side * MOST_UNEQUAL) * threat.cost for side in (-1, 1))
            raise PydanticCustomError(
                "threat",
                "attack '{name}' {clause}; give attacks the norm and eps of threat, and a cost "
                "from {low} to {high}: leave norm, eps and steps out, or change copies, "
                "neighbours or restarts",
                {"name": attack.name, "clause": clause, "low": f"{low:g}", "high": f"{high:g}"},
            )


def allow_every_preset(attacks: JsonSchema) -> None:
    """Allow ``*`` as an item in the JSON schema of a list of attacks.

    Args:
        attacks: The schema, which is changed in place.
    """
    every = {"const": EVERY_PRESET}
    mapping = {"type": "object", "required": ["preset"], "properties": {"preset": every}}
    attacks["items"] = {"anyOf": [every, mapping, attacks["items"]]}
