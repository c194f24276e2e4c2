"""The spec of a search: refusals with their messages, and the confirming experiment."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.experiment.recipes import SEARCH_RECIPES, recipe_names
from segtransfer.searches.spec import (
    baselines,
    confirming_experiment,
    read_search,
    trials_experiment,
)
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.randomness import schedule_group
from tests.orchestrator.searches import toys
from tests.orchestrator.searches.searches import grey_search, grey_spec


def refused(folder: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as raised:
        grey_search(folder, **changes)
    return str(raised.value)


def attack(name: str = "best-1", **fields: Any) -> AttackSpec:
    return AttackSpec.model_validate({"name": name, "preset": "pgd", "eps": "64/255", **fields})


def test_the_quickstart_is_confirmed_in_ten_schedules() -> None:
    confirm = read_search("quickstart").confirm
    images = [item.image_id for item in open_dataset(confirm.data).items]
    assert len({schedule_group(name, confirm.schedule_groups) for name in images}) >= 10


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["sources", "targets"])
def test_role_of_an_unknown_model_is_refused_with_a_suggestion(role: str, tmp_path: Path) -> None:
    assert refused(tmp_path, **{role: ["targte"]}) == (
        f"search: {role} names 'targte', which is no model: did you mean 'target'? Allowed: new, "
        "source, target"
    )


def test_unknown_held_out_model_is_refused(tmp_path: Path) -> None:
    told = refused(tmp_path, confirm={"held_out": ["mew"]})
    assert told == (
        "search: confirm.held_out names 'mew', which is no model: did you mean 'new'? Allowed: "
        "new, source, target"
    )


@pytest.mark.parametrize("name", ["source", "target"])
def test_a_held_out_model_plays_no_part_in_the_search(name: str, tmp_path: Path) -> None:
    told = refused(tmp_path, confirm={"held_out": ["new", name]})
    assert f"confirm.held_out names '{name}', but a held-out model" in told
    assert "neither source nor target" in told


def test_source_as_the_only_target_is_refused(tmp_path: Path) -> None:
    told = refused(tmp_path, targets=["source"])
    assert told == "search: no target differs from the source; add another model to targets"
    assert grey_search(tmp_path, targets=["source", "target"]).targets == ("source", "target")


@pytest.mark.parametrize("rungs", [[0.5, 0.25, 1], [0.5], [0, 1], [0.5, 0.5, 1], [0.5, 1, 2], []])
def test_rungs_rise_to_1(rungs: list[float], tmp_path: Path) -> None:
    told = refused(tmp_path, search={"rungs": rungs})
    if rungs:
        assert "rungs must rise within (0, 1] and end with 1" in told
    else:
        assert "field 'search.rungs'" in told


@pytest.mark.parametrize(
    ("objectives", "reason"),
    [
        (["cost", "transfer"], "objectives must begin with transfer"),
        (["transfer", "transfer"], "objectives has a name twice"),
        (["transfer", "speed"], "'transfer', 'cost', 'rms' or 'ssim'"),
        ([], "field 'search.objectives'"),
    ],
)
def test_objectives_are_known_and_begin_with_transfer(
    objectives: list[str], reason: str, tmp_path: Path
) -> None:
    assert reason in refused(tmp_path, search={"objectives": objectives})


def test_wrong_field_of_the_base_attack_is_named(tmp_path: Path) -> None:
    text = refused(tmp_path, attack={"preset": "pgd", "eps": 3})
    assert "field 'attack.eps'" in text
    assert "(value: 3)" in text


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("pgdd", "unknown preset 'pgdd': did you mean 'pgd'?"),
        ({"preset": "pgd", "eps": 2}, "did you mean 2/255"),
        ({"preset": "pgd", "epsilon": "4/255"}, "epsilon"),
        ({"preset": "fgsm", "budget": {"forward_equivalents": 5}}, "leave the budget out"),
    ],
)
def test_invalid_base_attack_is_refused(base: Any, reason: str, tmp_path: Path) -> None:
    assert reason in refused(tmp_path, attack=base)


def test_unknown_fields_are_refused_at_any_depth(tmp_path: Path) -> None:
    assert "trails" in refused(tmp_path, search={"trails": 3})
    assert "attacks" in refused(tmp_path, attacks=["pgd"])
    assert "heldout" in refused(tmp_path, confirm={"heldout": []})


# -- reading -----------------------------------------------------------------------------------


def test_overrides_reach_fields_and_their_values_are_checked(tmp_path: Path) -> None:
    spec = grey_spec(tmp_path)
    search = read_search(spec, ["search.trials=3", "attack.eps=2/255", "confirm.best=2"])
    assert (search.search.trials, search.attack["eps"], search.confirm.best) == (3, "2/255", 2)
    assert spec["search"]["trials"] == 4, "the given spec is unchanged"
    again = read_search(search, ["search.concurrency=5"])
    assert (again.search.trials, again.search.concurrency) == (3, 5)
    with pytest.raises(InputError, match=r"field 'search.trials'.*\(value: 0\)"):
        read_search(spec, ["search.trials=0"])
    with pytest.raises(InputError, match=r"override 'search.trials' is not of the form"):
        read_search(spec, ["search.trials"])


@pytest.mark.parametrize("name", recipe_names(SEARCH_RECIPES))
def test_shipped_searches_are_read_and_confirm_on_other_models(name: str) -> None:
    search = read_search(name)
    assert search.confirm.held_out
    assert search.confirm.schedule_groups >= 10
    trials = {model.name for model in trials_experiment(search).models}
    assert not trials & set(search.confirm.held_out)
    assert search.data != search.confirm.data


def test_unknown_search_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"'quikstart' is neither .* did you mean 'quickstart'"):
        read_search("quikstart")


def test_images_of_an_attack_are_found_beside_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = grey_spec(tmp_path)
    goal = tmp_path / "specs" / "goals" / "map.png"
    goal.parent.mkdir(parents=True)
    Image.fromarray(np.ones((26, 26), np.uint8)).save(goal)
    spec["attack"]["target"] = {"label_map": "goals/map.png"}
    spec["attack"]["region"] = {"mask": "goals/map.png"}
    path = tmp_path / "specs" / "mine.yaml"
    path.write_text(yaml.safe_dump(spec))
    monkeypatch.chdir(tmp_path)
    search = read_search("specs/mine.yaml")
    assert search.attack["target"]["label_map"] == search.attack["region"]["mask"] == str(goal)
    (base,) = trials_experiment(search).attacks
    assert base.target is not None
    assert base.region is not None
    with pytest.raises(InputError, match="map"):
        read_search(spec)  # beside the working folder there is none


# -- derived experiments -----------------------------------------------------------------------


def test_trials_use_the_models_of_the_search_alone(tmp_path: Path) -> None:
    experiment = trials_experiment(grey_search(tmp_path))
    assert [model.name for model in experiment.models] == ["source", "target"]
    assert experiment.sources == ("source",)
    assert experiment.targets == ("target",)
    assert [attack.name for attack in experiment.attacks] == ["pgd"]


def test_the_best_are_confirmed_on_new_images_and_held_out_models_raw_and_energy_matched(
    tmp_path: Path,
) -> None:
    search = grey_search(tmp_path, confirm={"baselines": ["pgd", "mi"], "schedule_groups": 3})
    experiment = confirming_experiment(search, [attack(steps=2)])
    assert experiment.data == search.confirm.data
    assert experiment.schedule_groups == 3
    assert experiment.targets == ("target", "new")
    assert [a.name for a in experiment.attacks] == ["best-1", "pgd", "mi"]
    assert {a.scores for a in experiment.attacks} == {("raw", "eps*sign")}


def test_under_l2_energy_is_matched_by_the_root_mean_square(tmp_path: Path) -> None:
    base = {"preset": "pgd", "norm": "l2", "eps": "8/255", "budget": {"forward_equivalents": 2}}
    search = grey_search(tmp_path, attack=base)
    experiment = confirming_experiment(search, [attack(norm="l2", eps="8/255", steps=2)])
    assert {a.scores for a in experiment.attacks} == {("raw", "equal-rms")}
    assert {a.norm for a in experiment.attacks} == {"l2"}


def test_baselines_have_the_threat_and_the_budget_of_the_search(tmp_path: Path) -> None:
    threat = {"eps": "3/255", "target": {"every": 1}, "budget": {"forward_equivalents": 7}}
    search = grey_search(
        tmp_path,
        attack={"preset": "ds", "label_version": "labels", **threat},
        confirm={"baselines": ["pgd", {"preset": "mi", "name": "mine", "step_size": "eps"}]},
    )
    assert baselines(search, []) == [
        {**threat, "preset": "pgd"},
        {**threat, "preset": "mi", "name": "mine", "step_size": "eps"},
    ]


def test_baselines_without_a_budget_cost_as_much_as_the_most_expensive_best(
    tmp_path: Path,
) -> None:
    search = grey_search(
        tmp_path,
        attack={"preset": "pgd", "eps": "64/255", "steps": 5},
        confirm={"baselines": ["pgd", "si"]},
    )
    cheap = attack("best-1", steps=6)
    dear = attack("best-2", steps=4, transforms=[{"kind": "ds", "scales": 3}])
    cost = 4 * dear.step_cost
    assert cost > 6
    unfinished = attack("best-3", steps=100, steps_at=[1])
    found = baselines(search, [cheap, dear, unfinished])
    assert [one["budget"] for one in found] == [{"forward_equivalents": cost}] * 2
    made = confirming_experiment(search, [cheap, dear]).attacks[2:]
    assert [a.steps for a in made] == [round(cost), round(cost / made[1].step_cost)]
    assert made[1].steps * made[1].step_cost == pytest.approx(cost, abs=made[1].step_cost / 2)


def test_invalid_baseline_is_refused_before_the_trials(tmp_path: Path) -> None:
    """Also without a budget, when the cost of baselines follows from the best attacks."""
    base = {"preset": "pgd", "eps": "64/255", "steps": 5}
    search = grey_search(tmp_path, attack=base, confirm={"baselines": ["pgd"]})
    (only,) = confirming_experiment(search, []).attacks
    assert only.steps == 5
    search = grey_search(tmp_path, confirm={"baselines": ["fgsm"]})
    with pytest.raises(InputError, match="preset 'fgsm' always has steps: 1"):
        confirming_experiment(search, [])


def test_the_greys_are_apart(tmp_path: Path) -> None:
    """The toys' own: other images, and an optimum between the ends of the range."""
    assert toys.drop_at(toys.BEST / 255) > max(
        toys.drop_at(levels / 255) for levels in (8, 12, 20, 24)
    )
