"""A named attack: fields of the attack spec, with formula, source and the source's schedule."""

from dataclasses import dataclass, field
from typing import Any

ITERATIVE = {"steps": 20, "step_size": "eps/4"}
MOMENTUM = {"momentum": {"mu": 1.0}}
NESTEROV = {"momentum": {"mu": 1.0, "nesterov": True}}
# The fields of a schedule. Loops and members set the steps of their attacks.
SCHEDULE_FIELDS = ("steps", "step_size", "start", "momentum", "loop", "worst_of")
TENTHS = {"steps": 10, "step_size": "eps/steps"}  # the schedule of most transfer attacks


def sea(track: str) -> dict[str, Any]:
    """Return start and loop of SEA: APGD whose radius shrinks from 2 eps to eps.

    Args:
        track: The loss by which APGD halves its steps.

    Returns:
        Fields of an ``AttackSpec``.
    """
    loop = {"apgd": {"track": track, "keep": "fooled", "shrinking": True}}
    return {"start": "uniform", "loop": loop}


@dataclass(frozen=True)
class Preset:
    """Fields of an ``AttackSpec`` under a name, with the rule in the papers' symbols.

    In the rules x is the clean image, x_t the iterate, a the step size, g = grad L(f(x_t), y), clip
    the projection onto the eps-ball around x and onto [0, 1]. eps and a are fractions of the pixel
    range [0, 1], r_t ratios of both sides, kernels are in pixels.

        # my_presets.py; in a spec: {preset: "my_presets:LONG", eps: 4/255}
        LONG = Preset("as mi, 100 steps", "ours", {"steps": 100, "momentum": {"mu": 1.0}})

    Attributes:
        formula: The rule, a line of text.
        source: The paper, a line of text.
        fields: Fields of an ``AttackSpec`` as YAML has them, without ``preset`` and ``name``. An
            attack may replace each.
        paper: The fields that ``schedule: paper`` replaces: the source's own steps, step size,
            start and momentum. Empty if ``fields`` are the source's own; None, the default, if the
            source's schedule is not known, and ``schedule: paper`` is refused.
        in_paper: The conditions of the source's experiments, a text: eps, which an attack keeps of
            its own, and what else differs.
    """

    formula: str
    source: str
    fields: dict[str, Any] = field(default_factory=dict)
    paper: dict[str, Any] | None = None
    in_paper: str = ""

    def __post_init__(self) -> None:
        """Refuse fields of another kind, and a schedule with other fields.

        Raises:
            TypeError: If ``fields`` or ``paper`` is no mapping.
            ValueError: If ``paper`` has a field that belongs to no schedule.
        """
        paper = {} if self.paper is None else self.paper
        for name, value in (("fields", self.fields), ("paper", paper)):
            if not isinstance(value, dict):
                raise TypeError(
                    f"{name} of a preset is a {type(value).__name__}; give a dict of fields"
                )
        if foreign := [str(name) for name in paper if name not in SCHEDULE_FIELDS]:
            allowed = ", ".join(SCHEDULE_FIELDS)
            raise ValueError(f"paper of a preset has {', '.join(foreign)}; give only {allowed}")
