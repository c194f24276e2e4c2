"""Named attacks: each is a few fields of the spec, with its formula and its source."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Fields of an ``AttackSpec`` under a name, with the rule in the papers' symbols."""

    formula: str
    source: str
    fields: dict[str, Any] = field(default_factory=dict)


_STEPS = {"steps": 20, "step_size": "eps/4"}
_MOMENTUM = {"momentum": {"mu": 1.0}}

PRESETS: dict[str, Preset] = {
    "noise": Preset(
        "x' = clip(x + U(-eps, eps)); the floor of every matrix, needs no source",
        "control",
        {"start": "uniform", "steps": 0, "step_size": 0.0},
    ),
    "fgsm": Preset(
        "x' = clip(x + eps * sign(grad L(f(x), y)))",
        "Goodfellow et al., ICLR 2015",
        {"steps": 1, "step_size": "eps"},
    ),
    "pgd": Preset(
        "x_{t+1} = clip(x_t + a * sign(grad L(f(x_t), y))); start: uniform for a random start",
        "Madry et al., ICLR 2018",
        _STEPS,
    ),
    "mi": Preset(
        "m = mu * m + g / mean|g|; x_{t+1} = clip(x_t + a * sign(m))",
        "Dong et al., CVPR 2018",
        _STEPS | _MOMENTUM,
    ),
    "ds": Preset(
        "r_t ~ U(low, low + width); g = grad L(f(S_{r_t}(x_t)), y); then as pgd",
        "Gu et al., arXiv 2111.11368, re-implemented from the abstract; constants ours",
        _STEPS | {"transforms": ["ds"]},
    ),
    "ds-mi": Preset(
        "dynamic scaling's gradient through the momentum rule of mi",
        "ds with mi",
        _STEPS | _MOMENTUM | {"transforms": ["ds"]},
    ),
}
