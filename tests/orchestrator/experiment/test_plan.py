"""The plan: which tasks there are, which are done, and what is refused before work begins."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.experiment.plan import Plan, attack_cost, make_plan
from segtransfer.experiment.task import CLEAN, FORWARD_AND_BACKWARD
from segtransfer.runtime.runner import carry_out
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models import description
from segtransfer.tasks.models.zoo import ZOO
from tests.orchestrator.toy_experiments import toy, toy_experiment, toy_spec


def plan_of(folder: Path, **changes: Any) -> Plan:
    experiment = toy_experiment(folder, **changes)
    return make_plan(experiment, Store(experiment.runtime.store))


def count(plan: Plan, kind: str) -> int:
    return sum(task.kind == kind for task in plan.tasks.values())


@pytest.mark.parametrize(("sources", "targets"), [(["a"], ["b"]), (["a", "b"], ["a", "b", "c"])])
def test_tasks_are_sources_by_targets_by_attacks_by_shards(
    tmp_path: Path, sources: list[str], targets: list[str]
) -> None:
    toys = [toy(name, seed=i) for i, name in enumerate("abc")]
    plan = plan_of(tmp_path, models=toys, sources=sources, targets=targets)
    s, t, shards = len(sources), len(targets), len(plan.shards)
    assert shards >= 3
    assert sum(len(shard.image_ids) for shard in plan.shards.values()) == 6
    made = 1 + 2 * s  # noise once, pgd and ds-mi on every source
    assert count(plan, "attack") == made * shards
    assert count(plan, "evaluate") == (1 + made) * t * shards
    assert len(plan.cells) == count(plan, "evaluate")


def test_noise_with_several_sources_is_made_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, attacks=["noise"])
    made = [task for task in plan.tasks.values() if task.kind == "attack"]
    assert len(made) == len(plan.shards)
    assert {task.model for task in made} == {None}
    assert {cell.source for cell in plan.cells} == {None}


def test_equal_models_under_two_names_share_their_tasks(tmp_path: Path) -> None:
    one = plan_of(tmp_path, models=[toy("a", seed=1)])
    two = plan_of(tmp_path, models=[toy("a", seed=1), toy("twin", seed=1)])
    assert one.tasks.keys() == two.tasks.keys()
    assert len(two.models) == 1
    assert {cell.target for cell in two.cells} == {"a", "twin"}


def test_attacks_of_equal_fields_share_their_tasks(tmp_path: Path) -> None:
    pgd = {"preset": "pgd", "steps": 3}
    one = plan_of(tmp_path, attacks=[pgd])
    two = plan_of(tmp_path, attacks=[pgd, pgd | {"name": "again"}])
    assert one.tasks.keys() == two.tasks.keys()


def test_every_cell_is_a_task_and_every_dependency_too(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    for cell in plan.cells:
        task = plan.tasks[cell.key]
        assert task.depends_on == cell.attack_key
        assert (cell.attack == CLEAN) == (cell.attack_key is None)
        assert cell.attack_key is None or plan.tasks[cell.attack_key].kind == "attack"
        assert task.model == plan.infos[cell.target].fingerprint


def test_attack_cost_is_steps_times_cost_of_a_scaled_step() -> None:
    pgd = AttackSpec.model_validate({"preset": "pgd", "steps": 4})
    scaled = AttackSpec.model_validate({"preset": "ds", "steps": 4})
    assert attack_cost(pgd) == 4 * FORWARD_AND_BACKWARD
    assert attack_cost(scaled) == pytest.approx(4 * FORWARD_AND_BACKWARD * 13 / 12)
    assert attack_cost(AttackSpec.model_validate("noise")) == 0


def test_attack_cost_ends_with_the_last_kept_iterate() -> None:
    kept = AttackSpec.model_validate({"preset": "pgd", "steps": 100, "steps_at": [3, 10]})
    assert attack_cost(kept) == 10 * FORWARD_AND_BACKWARD


def test_identity_under_another_runtime_is_equal(tmp_path: Path) -> None:
    identity = plan_of(tmp_path).identity
    assert plan_of(tmp_path, runtime={"fleet": {"slots": 3}, "window": 1}).identity == identity
    assert plan_of(tmp_path, seed=1).identity != identity
    renamed = [toy("x", seed=1), toy("b", seed=2)]
    assert plan_of(tmp_path, models=renamed).identity != identity


def test_plan_with_stored_aes_and_a_new_target_lacks_only_evaluations(
    tmp_path: Path,
) -> None:
    first = plan_of(tmp_path, models=[toy("a", seed=1)])
    assert not first.stored
    carry_out(first.experiment)
    again = plan_of(tmp_path, models=[toy("a", seed=1)])
    assert again.stored == again.tasks.keys()
    assert again.missing == []
    wider = plan_of(tmp_path, models=[toy("a", seed=1), toy("b", seed=2)], sources=["a"])
    b = wider.infos["b"].fingerprint
    assert {(task.kind, task.model) for task in wider.missing} == {("evaluate", b)}
    assert wider.stored == first.tasks.keys()


def test_class_lists_of_other_names_are_refused(tmp_path: Path) -> None:
    wrong = toy("a") | {"classes": ["road", "tree", "sky"]}
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, models=[wrong])
    for part in ("model 'a'", "1: 'tree' / 'sky'", "have different class lists"):
        assert part in str(caught.value)


def test_class_lists_of_different_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\(2 classes\) and data set data \(3 classes\)"):
        plan_of(tmp_path, models=[toy("a") | {"classes": ["road", "sky"]}])


def test_config_with_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    zoo = next(iter(ZOO.values()))
    source = {"config": str(zoo.config), "checkpoint": str(zoo.weights)}
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, models=[{"name": "street", "mmseg": source}])
    for part in ("model 'street'", f"predicts {len(zoo.classes)} classes", "has 3"):
        assert part in str(caught.value)


def test_model_without_its_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model 'a': tests\.toys:nothing cannot be imported"):
        plan_of(tmp_path, models=[toy("a", "nothing")])


def test_models_without_missing_tasks_are_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    check = description.check

    def listen(spec: Any) -> None:
        checked.append(spec.name)
        check(spec)

    monkeypatch.setattr(description, "check", listen)
    a, b = toy("a", seed=1), toy("b", seed=2)
    carry_out(toy_experiment(tmp_path, models=[a]))
    assert checked == ["a"]
    checked.clear()
    plan_of(tmp_path, models=[a])
    assert checked == []
    plan_of(tmp_path, models=[a, b], sources=["a"])
    assert checked == ["b"]


def test_the_data_is_checked_before_any_model_is_described(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    label = next(Path(spec["data"]["folder"], "labels").iterdir())
    label.write_bytes(label.read_bytes()[:30])
    with pytest.raises(InputError, match=label.name):
        plan_of(tmp_path)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"target": {"every": 3}}, "target.every has class index 3"),
        ({"target": {"classes": {0: 7}}}, "target.classes has class index 7"),
        ({"target": {"classes": {9: 0}}}, "target.classes has class index 9"),
        ({"region": {"classes": [57]}}, "region.classes has class index 57"),
    ],
    ids=str,
)
def test_class_index_outside_the_data_is_refused(
    fields: dict[str, Any], named: str, tmp_path: Path
) -> None:
    experiment = toy_experiment(tmp_path, attacks=[{"preset": "pgd", **fields}])
    with pytest.raises(
        InputError, match=rf"attack 'pgd': {named}; allowed: 0 to 2, the classes of"
    ):
        make_plan(experiment, Store(str(tmp_path / "store")))


@pytest.mark.parametrize(
    ("part", "field", "size", "value", "named"),
    [
        ("region", "mask", (4, 4), 1, "is 4 x 4 .* the images are 24 x 32"),
        ("region", "mask", (24, 32), 0, "is 0 everywhere"),
        ("target", "label_map", (32, 24), 1, "is 32 x 24 .* the images are 24 x 32"),
        ("target", "label_map", (24, 32), 3, r"has values \[3\]; allowed are 0 to 2"),
    ],
)
def test_file_of_another_size_is_refused_before_the_run(
    part: str, field: str, size: tuple[int, int], value: int, named: str, tmp_path: Path
) -> None:
    file = tmp_path / "file.png"
    Image.fromarray(np.full(size, value, np.uint8)).save(file)
    fields = {"preset": "pgd", part: {field: str(file)}}
    with pytest.raises(InputError, match=rf"attack 'pgd': .*{named}"):
        plan_of(tmp_path, attacks=[fields])


def test_files_of_the_images_size_are_planned(tmp_path: Path) -> None:
    file = tmp_path / "file.png"
    Image.fromarray(np.full((24, 32), 2, np.uint8)).save(file)
    fields = {"region": {"mask": str(file)}, "target": {"label_map": str(file)}}
    assert plan_of(tmp_path, attacks=[{"preset": "pgd", **fields}]).tasks
