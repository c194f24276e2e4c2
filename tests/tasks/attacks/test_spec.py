"""Every field that an attack's identity holds changes its result, and no other field does."""

from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError

from tasks.attacks import loop
from tasks.attacks.spec import AttackSpec, DynamicScaling, Momentum
from tests.tasks.cases import annotations, as_tensors, ids, pictures, spec, toy

BASE: dict[str, Any] = {
    "name": "base",
    "eps": "6/255",
    "step_size": "2/255",
    "steps": 4,
    "transforms": ["ds"],
    "momentum": {"mu": 1.0},
}
ATTACK_CASES: dict[str, Any] = {
    "eps": "4/255",
    "step_size": "1/255",
    "steps": 5,
    "start": "uniform",
    "transforms": [],
    "loss": "masked-cross-entropy",
    "momentum": None,
}
SCALING_CASES: dict[str, Any] = {"low": 0.75, "width": 0.5, "label_version": "labels"}
MOMENTUM_CASES: dict[str, Any] = {"mu": 0.25}
CASES = (
    [{k: v} for k, v in ATTACK_CASES.items()]
    + [{"transforms": [{"ds": {k: v}}]} for k, v in SCALING_CASES.items()]
    + [{"momentum": {k: v}} for k, v in MOMENTUM_CASES.items()]
)


def result(fields: dict[str, Any]) -> torch.Tensor:
    images, labels = as_tensors(pictures(2, 12, 16), annotations(2, 12, 16, 3))
    rule = AttackSpec.model_validate(fields)
    model = toy("convolutional")
    return loop.run(model, rule, images, labels, ids(2), seed=0, group=0)[0]


@pytest.mark.parametrize("changed", CASES, ids=str)
def test_a_field_of_the_identity_changes_the_result(changed: dict[str, Any]) -> None:
    fields = BASE | changed
    before, after = AttackSpec.model_validate(BASE), AttackSpec.model_validate(fields)
    assert before.identity() != after.identity()
    assert not torch.equal(result(BASE), result(fields))


def test_every_field_of_the_identity_has_a_case_above() -> None:
    assert set(ATTACK_CASES) == set(spec().identity())
    assert set(ATTACK_CASES) | {"name"} == set(AttackSpec.model_fields)
    kinds = {
        name
        for name, field in DynamicScaling.model_fields.items()
        if len(get_args(field.annotation)) == 1  # a literal of one value cannot be changed
    }
    assert kinds == {"kind"}
    assert set(SCALING_CASES) == set(DynamicScaling.model_fields) - kinds
    assert set(MOMENTUM_CASES) == set(Momentum.model_fields)


def test_the_name_is_for_people_only() -> None:
    renamed = BASE | {"name": "renamed"}
    old, new = AttackSpec.model_validate(BASE), AttackSpec.model_validate(renamed)
    assert old.identity() == new.identity()
    assert torch.equal(result(BASE), result(renamed))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("eps", 8 / 255),
        ("eps/4", 2 / 255),
        ("eps / 4", 2 / 255),
        ("eps/steps", 0.8 / 255),
        ("eps/0.5", 16 / 255),
        ("2/255", 2 / 255),
        (0.01, 0.01),
    ],
)
def test_a_step_size_may_be_relative_to_eps(written: Any, meant: float) -> None:
    assert spec(eps="8/255", steps=10, step_size=written).step_size == pytest.approx(meant)


def test_a_relative_step_size_follows_the_eps_that_is_given_over_a_preset() -> None:
    assert spec("fgsm", eps="4/255").step_size == 4 / 255
    assert spec("pgd", eps="4/255").step_size == pytest.approx(1 / 255)


@pytest.mark.parametrize("written", ["eps/", "eps/x", "eps/0", "eps4", "epsilon", "eps*2"])
def test_a_step_size_that_means_nothing_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="is not a step size"):
        spec(step_size=written)


def test_an_unknown_preset_or_transform_is_answered_with_a_suggestion() -> None:
    with pytest.raises(ValidationError, match="unknown preset 'pdg': did you mean 'pgd'"):
        AttackSpec.model_validate("pdg")
    with pytest.raises(ValidationError, match="unknown transform 'dss': did you mean 'ds'"):
        spec(transforms=["dss"])


def test_the_short_and_the_full_form_of_a_transform_are_one() -> None:
    short = spec(transforms=[{"ds": {"low": 0.75}}])
    full = spec(transforms=[{"kind": "ds", "low": 0.75}])
    assert short == full
    assert spec(transforms=["ds"]) == spec(transforms=[{"ds": None}])


@pytest.mark.parametrize(
    "wrong",
    [
        {"eps": -0.1},
        {"eps": 8},
        {"steps": -1},
        {"start": "noise"},
        {"loss": "ce"},
        {"transforms": [{"ds": {"low": 0}}]},
        {"transforms": ["ds", "ds"]},
        {"momentum": {"mu": 3}},
        {"name": "a b"},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**wrong)


def test_what_identity_says_reads_back_as_the_same_attack() -> None:
    rule = AttackSpec.model_validate(BASE)
    assert AttackSpec.model_validate({"name": "again", **rule.identity()}).identity() == (
        rule.identity()
    )
