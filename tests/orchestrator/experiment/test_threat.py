"""The threat model of a spec: shared bound and budget, the item ``*``, and refused attacks."""

from typing import Any

import jsonschema
import pytest

from segtransfer.errors import InputError
from segtransfer.experiment.editor_schema import editor_schema
from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.threat import Threat, planned_cost, refusal
from segtransfer.tasks.attacks.presets import PRESETS

BASE: dict[str, Any] = {
    "data": {"sample": "camvid", "images": 2},
    "models": ["fcn-r18", "fcn-mnv2"],
    "threat": {"eps": "4/255", "budget": 10},
}


def read(attacks: list[Any], *overrides: str, **fields: Any) -> Experiment:
    return read_experiment({**BASE, "attacks": attacks, **fields}, overrides)


def names(experiment: Experiment) -> list[str]:
    return [attack.name for attack in experiment.attacks]


def test_attacks_get_norm_eps_and_budget_of_the_threat_model() -> None:
    for attack in read(["pgd", "ds-mi"]).attacks:
        assert (attack.norm, attack.eps) == ("linf", 4 / 255)
        assert attack.budget is not None
        assert attack.budget.forward_equivalents == 10


def test_controls_and_files_get_the_bound_alone(tmp_path: Any) -> None:
    (tmp_path / "aes").mkdir()
    (tmp_path / "aes" / "one.png").write_bytes(b"")
    experiment = read(["noise", {"name": "theirs", "files": str(tmp_path / "aes")}])
    assert [(a.eps, a.budget, a.steps) for a in experiment.attacks] == [(4 / 255, None, 0)] * 2


def test_star_is_every_preset_that_the_budget_admits() -> None:
    threat = Threat.model_validate(BASE["threat"])
    assert names(read(["*"])) == [name for name in PRESETS if refusal(name, threat) is None]
    assert {"pgd", "mi", "ds-mi"} <= {*names(read(["*"]))}
    assert not {"noise", "fgsm"} & {*names(read(["*"]))}
    for attack in read(["*"]).attacks:
        assert planned_cost(attack) == pytest.approx(10, rel=0.1)


def test_star_without_a_threat_model_is_every_preset_with_steps() -> None:
    experiment = read([{"preset": "*", "steps": 2}], threat=None)
    assert names(experiment) == [name for name in PRESETS if refusal(name, None) is None]
    assert {"fgsm", "vt"} <= {*names(experiment)}
    assert {(attack.worst_of or (attack,))[0].steps for attack in experiment.attacks} == {2}


def test_own_entry_replaces_the_entry_of_star() -> None:
    experiment = read(["*", {"preset": "mi", "momentum": {"mu": 0.5}}])
    assert names(experiment).count("mi") == 1
    (own,) = (attack for attack in experiment.attacks if attack.name == "mi")
    assert own.momentum is not None
    assert own.momentum.mu == 0.5


def test_threat_is_overridden_in_a_file_and_kept_in_a_read_spec() -> None:
    assert {a.eps for a in read(["pgd", "mi"], "threat.eps=2/255").attacks} == {2 / 255}
    experiment = read(["*", "noise"])
    assert read_experiment(experiment, ["seed=1"]).attacks == experiment.attacks


@pytest.mark.parametrize(
    ("attacks", "told"),
    [
        (["fgsm"], "attack 'fgsm' costs 1 forward equivalents, the budget is 10"),
        ([{"preset": "pgd", "steps": 12}], "costs 12 forward equivalents, the budget is 10"),
        ([{"preset": "pgd", "eps": "8/255"}], "has the bound linf 8/255, the threat model's is"),
        ([{"preset": "pgd", "norm": "l2"}], "has the bound l2 4/255"),
        ([{"preset": "pgd", "steps": 10, "steps_at": [5, 10]}], "keeps early steps"),
        (["vt"], "a step costs 21 forward equivalents, and the budget leaves 10"),
        (["pgdd"], "unknown preset 'pgdd'"),
    ],
)
def test_attack_outside_the_threat_model_is_refused(attacks: list[Any], told: str) -> None:
    with pytest.raises(InputError, match=told.replace("(", r"\(")):
        read(attacks)


def test_wrong_threat_model_is_refused_with_its_field() -> None:
    with pytest.raises(InputError, match=r"threat\.eps"):
        read(["pgd"], threat={"eps": 8, "budget": 10})


def test_cost_within_10_percent_is_admitted() -> None:
    threat = Threat.model_validate(BASE["threat"])
    assert [threat.admits_cost(cost) for cost in (8.9, 9, 10, 11, 11.1)] == [
        False, True, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("item", ["*", {"preset": "*", "loss": "js"}])
def test_schema_for_editors_allows_star(item: Any) -> None:
    schema = jsonschema.Draft202012Validator(editor_schema(Experiment))
    assert schema.is_valid({**BASE, "attacks": [item]})
    assert not schema.is_valid({**BASE, "attacks": [[item]]})


def test_restarts_cost_a_forward_each() -> None:
    (attack,) = read([{"preset": "pgd", "restarts": 2, "start": "uniform"}]).attacks
    assert planned_cost(attack) == 2 * attack.steps + 2
    assert planned_cost(attack) == 10


@pytest.mark.parametrize(
    "item",
    [
        ["pgd"],
        [{"preset": "pgd"}],
        {"preset": ["pgd"]},
        {"name": ["a"]},
        {"name": {"a": 1}},
        3,
        None,
    ],
)
@pytest.mark.parametrize("beside", [[], ["*"]])
def test_item_that_is_no_attack_is_refused_in_a_sentence(item: Any, beside: list[str]) -> None:
    with pytest.raises(InputError, match="attacks"):
        read([*beside, item])
