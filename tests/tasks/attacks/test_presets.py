import pytest

from tasks.attacks.presets import PRESETS
from tasks.attacks.spec import AttackSpec, DynamicScaling


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_whole_attack_with_a_formula_and_a_source(name: str) -> None:
    assert AttackSpec.model_validate(name).name == name
    assert PRESETS[name].formula
    assert PRESETS[name].source


def test_what_the_presets_stand_for() -> None:
    read = AttackSpec.model_validate
    assert read("fgsm").steps == 1
    assert read("fgsm").step_size == read("fgsm").eps
    assert (read("noise").steps, read("noise").start) == (0, "uniform")
    assert (read("pgd").momentum, read("pgd").transforms) == (None, ())
    assert read("mi").momentum is not None
    assert read("mi").transforms == ()
    assert read("ds").transforms == (DynamicScaling(),)
    assert read("ds").momentum is None
    assert read("ds-mi").transforms == (DynamicScaling(),)
    assert read("ds-mi").momentum is not None


def test_attacks_that_are_compared_share_steps_step_size_and_bound() -> None:
    compared = [AttackSpec.model_validate(n) for n in ("pgd", "mi", "ds", "ds-mi")]
    assert len({(a.steps, a.step_size, a.eps) for a in compared}) == 1
