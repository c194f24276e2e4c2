"""The cost of a step as planned and as counted on the model, for every preset.

Rules for ensembles cost by the number of members: ``test_ensemble_rules`` has theirs.
"""

from typing import Any

import pytest

from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.tasks.attacks.specs import make
from tests.tasks.cases import spec, toy


def _is_for_ensembles(rule: AttackSpec) -> bool:
    return rule.gradient is not None and rule.gradient.typed().for_ensembles


WITH_STEPS = [name for name in PRESETS if spec(name).steps and not _is_for_ensembles(spec(name))]
FORWARDS = 40
FORWARDS_AT_RANDOM_SIZES = 600  # so many that the mean area is known to a few percent


@pytest.mark.parametrize("name", WITH_STEPS)
def test_planned_cost_of_a_step_is_within_a_tenth_of_the_cost_counted(name: str) -> None:
    model = toy("residual" if name == "sgm" else "staged")
    resizes = any(transform.typed().resizes for transform in spec(name).transforms)
    forwards = FORWARDS_AT_RANDOM_SIZES if resizes else FORWARDS
    fields: dict[str, Any] = {"layer": "backbone"} if spec(name).reads_features else {}
    if name != "fgsm":
        fields["steps"] = max(4, round(forwards / spec(name).step_cost))
    rule = spec(name, **fields)
    make(model, rule, chosen=[0], height=16, width=24)
    counted = model.cost.pixels / (16 * 24)
    assert counted == pytest.approx(rule.steps * rule.step_cost, rel=0.1)
