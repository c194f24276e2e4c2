"""Warnings about steps that end before the bound, budgets of ensembles, and rules for them."""

from pathlib import Path
from typing import Any

import pytest

from segtransfer.experiment.plan import attack_cost
from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.spec_warnings import spec_warnings
from segtransfer.runtime.runner import carry_out
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.orchestrator.results.warned import toy, warned_experiment

SINGLE = "fcn-r18"
PAIR = {"name": "pair", "ensemble": ["fcn-r18", "segformer-mit"]}
THREE = {"name": "three", "ensemble": ["fcn-r18", "segformer-mit", "pspnet-r18"]}


def told(*attacks: Any, models: list[Any]) -> list[str]:
    content = {"data": "camvid", "models": models, "attacks": list(attacks)}
    return spec_warnings(read_experiment(content))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"steps": 3}, "3 steps of 2 levels move a value by at most 6 of eps 8 levels"),
        ({"steps": 1}, "1 step of 2 levels move"),
        ({"steps": 4}, None),
        ({"steps": 3, "start": "uniform"}, None),
        ({"steps": 10, "steps_at": [1, 2], "step_size": "2/255"}, "2 steps of 2 levels"),
        ({"budget": 2}, None),  # step_size is at least eps/steps
        ({"budget": 2, "step_size": "2/255"}, "2 steps of 2 levels"),
        ({"eps": 0}, "eps is 0"),
    ],
)
def test_steps_that_end_before_the_bound_have_a_warning(
    fields: dict[str, Any], expected: str | None
) -> None:
    found = told({"preset": "pgd", **fields}, models=[SINGLE])
    if expected is None:
        assert found == []
    else:
        assert len(found) == 1
        assert expected in found[0]


def test_a_source_whose_members_make_steps_dear_is_named() -> None:
    found = told({"preset": "adaea", "budget": 7}, models=[PAIR, THREE])
    assert "1 step of 4 levels on three move a value by at most 4 of eps 8 levels" in found[0]


def test_a_budget_of_unequal_sources_has_a_warning_with_its_cost_on_each() -> None:
    budget = {"preset": "mi", "budget": 10}
    (found,) = told(budget, "pgd", models=[SINGLE, PAIR, THREE])
    assert "a budget of 10 is 10 on fcn-r18, 20 on pair and 30 on three in forwards" in found
    assert told(budget, models=[PAIR]) == []
    assert told(budget, models=[SINGLE, "pspnet-r18"]) == []


def test_attacks_with_one_problem_share_a_sentence() -> None:
    attacks = [{"preset": name, "budget": 10} for name in ("mi", "pgd")]
    (found,) = told(*attacks, models=[SINGLE, PAIR])
    assert found.startswith("attacks 'mi' and 'pgd': a budget of 10")


@pytest.mark.parametrize("rule", ["cwa", "svre", "adaea"])
def test_a_rule_for_ensembles_on_a_single_model_has_a_warning(rule: str) -> None:
    (found,) = told(rule, "mi", models=[SINGLE, PAIR])
    assert f"gradient '{rule}' is a rule for ensembles; on fcn-r18 it has" in found
    assert told(rule, models=[PAIR]) == []


def test_results_have_the_sentences_of_the_plan(tmp_path: Path) -> None:
    both = {"name": "both", "ensemble": [toy("a"), toy("b", gain=50.0)]}
    attacks = [
        {"preset": "adaea", "eps": "8/255", "budget": 7},
        {"preset": "mi", "eps": "8/255", "steps": 3},
    ]
    experiment = warned_experiment(tmp_path, attacks=attacks, models=[toy("m"), both])
    results = carry_out(experiment)
    found = [w.sentence for w in results.warnings if w.kind == "sources and steps"]
    assert [sentence.partition(": ")[2].rstrip(".") for sentence in found] == [
        sentence.partition(": ")[2] for sentence in spec_warnings(experiment)
    ]
    assert len(found) == 3


def test_the_cost_of_a_task_follows_the_members_of_its_source() -> None:
    attack = AttackSpec.model_validate({"preset": "adaea", "steps": 10})
    assert [attack_cost(attack, members) / 25 for members in (1, 2, 3)] == [1, 4, 5]
