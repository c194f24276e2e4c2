"""Loops in a spec: their forms, fields that they refuse, identities and costs."""

from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from segtransfer.tasks.attacks.loops.spec import LOOPS, OPTIONAL_FIELDS
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.tasks.attacks.specs import make
from tests.tasks.cases import toy

STAGED = toy("staged")
BASE: dict[str, Any] = {"name": "base", "eps": "6/255", "steps": 9, "start": "uniform"}
# Loop -> field -> two loops that differ in it alone.
CASES: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "apgd": {
        "track": ({"track": "js"}, {"track": "mask-norm"}),
        "keep": ({}, {"keep": "fooled"}),
        "shrinking": ({}, {"shrinking": True}),
    },
    "padam": {},
    "alma-prox": {},
    "dag": {},
}


def read(loop: Any, **fields: Any) -> AttackSpec:
    return AttackSpec.model_validate(BASE | {"loop": loop} | fields)


@pytest.mark.parametrize("kind", sorted(LOOPS))
def test_every_form_of_a_loop_is_read_alike_and_again(kind: str) -> None:
    short = read(kind, start="clean")
    for loop in ({kind: {}}, {kind: None}, {"kind": kind}, short.loop):
        assert read(loop, start="clean") == short
    assert AttackSpec.model_validate(short.model_dump(mode="json")) == short
    assert AttackSpec.model_validate_json(short.model_dump_json()).identity() == short.identity()


def test_every_field_of_every_loop_has_a_case() -> None:
    assert set(CASES) == set(LOOPS)
    for kind, cases in CASES.items():
        fields = LOOPS[kind].model_fields
        assert get_args(fields["kind"].annotation) == (kind,)
        assert set(cases) == set(fields) - {"kind"}


@pytest.mark.parametrize(
    ("kind", "base", "changed"),
    [
        pytest.param(k, *case, id=f"{k}.{f}")
        for k, cases in CASES.items()
        for f, case in cases.items()
    ],
)
def test_a_field_of_a_loop_changes_identity_and_result(
    kind: str, base: dict[str, Any], changed: dict[str, Any]
) -> None:
    before, after = read({kind: base}), read({kind: base | changed})
    assert before.identity() != after.identity()
    assert not np.array_equal(make(STAGED, before).images, make(STAGED, after).images)


def test_a_spec_without_a_loop_has_the_identity_of_before() -> None:
    assert "loop" not in AttackSpec.model_validate("pgd").identity()


GIVEN: dict[str, Any] = {
    "step_size": "2/255",
    "start": "uniform",
    "transforms": ["ds"],
    "loss": "js",
    "gradient": "tests.tasks.attacks.own_rules:Around",
    "momentum": {},
    "variance": {},
    "smoothing": "ti",
    "target": {"every": 1},
    "region": {"box": [0, 0, 1, 0.5]},
    "steps_at": [2],
}


@pytest.mark.parametrize("kind", sorted(LOOPS))
@pytest.mark.parametrize("field", OPTIONAL_FIELDS)
def test_a_field_is_read_or_refused(kind: str, field: str) -> None:
    fields = {"name": "a", "steps": 9, "loop": kind, field: GIVEN[field]}
    if field in LOOPS[kind].reads:
        assert AttackSpec.model_validate(fields).loop is not None
        return
    with pytest.raises(ValidationError) as error:
        AttackSpec.model_validate(fields)
    assert f"loop {kind} does not read {field}; leave {field} out" in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loop": "agpd"}, "unknown loop 'agpd'; did you mean 'apgd'?"),
        ({"loop": 3}, "give a name, or a mapping of a name to fields"),
        ({"loop": {"apgd": {"keep": "last"}}}, "'loss' or 'fooled'"),
        ({"loop": {"apgd": {"kept": "loss"}}}, "unknown key 'kept'; did you mean 'keep'?"),
        ({"loop": {"apgd": {"track": "fspgd"}}}, "unknown loss 'fspgd' to track"),
        ({"loop": {"apgd": {"track": "js"}}, "loss": "fspgd"}, "reads no labels"),
        ({"loop": {"apgd": {"shrinking": True}}, "steps_at": [3]}, "early iterates are outside"),
        ({"loop": "padam", "norm": "l2"}, "loop padam keeps the norm linf, and norm is l2"),
        ({"loop": "padam", "steps": 0}, "steps is 0"),
    ],
)
def test_a_wrong_loop_is_refused_with_a_sentence(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        AttackSpec.model_validate(BASE | fields)
    assert message in str(error.value)


def test_a_preset_brings_no_step_size_to_a_loop_without_one() -> None:
    spec = AttackSpec.model_validate({"preset": "pgd", "loop": "apgd"})
    assert spec.step_size == 0
    assert AttackSpec.model_validate({"preset": "pgd", "loop": "padam"}).step_size > 0


@pytest.mark.parametrize("budget", [5, 20, 60.5])
@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize(
    "loop", ["apgd", {"apgd": {"shrinking": True, "keep": "fooled"}}, "padam"], ids=str
)
def test_a_budget_is_the_cost_counted_on_the_model(loop: Any, restarts: int, budget: float) -> None:
    fields = {"name": "a", "start": "uniform", "loop": loop, "restarts": restarts}
    if budget / restarts < 4.5:
        with pytest.raises(ValidationError, match="the budget leaves 0 per start"):
            AttackSpec.model_validate(fields | {"budget": 1})
        return
    spec = AttackSpec.model_validate(fields | {"budget": budget})
    (counted,) = make(STAGED, spec).report["cost"]["forward_equivalents"]
    assert counted + restarts * (restarts > 1) == pytest.approx(budget, abs=restarts)
    assert spec.restarts * spec.steps_taken * spec.step_cost == pytest.approx(counted)


@pytest.mark.parametrize("loop", ["apgd", "padam"])
def test_a_step_costs_the_copies_of_its_transforms(loop: str) -> None:
    spec = read(loop, transforms=[{"si": {"copies": 3}}])
    (counted,) = make(STAGED, spec).report["cost"]["forward_equivalents"]
    assert spec.steps_taken * spec.step_cost == pytest.approx(counted)
