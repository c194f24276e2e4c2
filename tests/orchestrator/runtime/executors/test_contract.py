"""What every executor owes the driver: the same bits, every key once, and an end to everything."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtransfer.experiment.plan import Plan
from segtransfer.experiment.task import CLEAN
from segtransfer.results import Results
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.sessions import Notice
from segtransfer.store import Store
from tests.orchestrator.toy_experiments import (
    arrays,
    assert_same_bits,
    blob_of,
    damage,
    row_files,
    run_toy,
    toy,
    unloadable,
    write_images,
)

# What does not depend on the executor is tried on Ray too, but not each time.
RAY_IF_SLOW = pytest.mark.parametrize(
    "executor", ["inline", pytest.param("ray", marks=pytest.mark.slow)], indirect=True
)


class Log(Listener):
    """A listener that keeps everything it hears."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.notices: list[Notice] = []

    def planned(self, plan: Plan) -> None:
        self.plans.append(plan)

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    def keys(self, kind: str) -> list[str]:
        return [notice.key for notice in self.notices if notice.kind == kind]


EIGHTHS = {"arguments": {"multiple": 8}}


def on(executor: str) -> dict[str, Any]:
    """One worker, where their number is not what a test is about: each takes seconds to start."""
    return {"executor": executor, "fleet": {"slots": 1}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    return {"folder": str(write_images(folder, bright=3)), "classes": ["road", "sky", "tree"]}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> Results:
    """The small experiment, inline, four images a forward."""
    return run_toy(tmp_path_factory.mktemp("oracle"), data=data)


def cell_keys(results: Results, attack: str, source: str | None, target: str) -> list[str]:
    return [c[4] for c in results.manifest.rows if c[:3] == (attack, source, target)]


def failure_of(store: Store, key: str) -> dict[str, str]:
    return json.loads(Path(store.location, "failures", key[:2], f"{key}.json").read_text())


@pytest.fixture(scope="module")
def run(
    executor: str, data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Results, Log, Path]:
    """The small experiment on each executor: its results, what was heard, its folder."""
    folder, log = tmp_path_factory.mktemp(executor), Log()
    return run_toy(folder, log, data=data, runtime={"executor": executor}), log, folder


def test_every_executor_stores_equal_bits(run: tuple[Results, Log, Path], oracle: Results) -> None:
    results, log, _ = run
    assert_same_bits(results, oracle)
    assert not results.failures
    assert sorted(log.keys("done")) == sorted(log.plans[0].tasks), "every key once"
    assert results.computed == len(log.plans[0].tasks)
    for attack in oracle.attacks:
        assert results.matrix(attack).equals(oracle.matrix(attack))


def test_ready_notice_precedes_results_and_finished_is_last(
    run: tuple[Results, Log, Path],
) -> None:
    kinds = [notice.kind for notice in run[1].notices if notice.kind != "slot"]
    assert kinds[0] == "ready"
    assert kinds[-1] == "finished"
    assert set(kinds[1:-1]) == {"done"}


def test_a_second_run_computes_nothing(
    executor: str, run: tuple[Results, Log, Path], data: dict[str, Any]
) -> None:
    first, _, folder = run
    rows, log = row_files(first.store), Log()
    again = run_toy(folder, log, data=data, runtime=on(executor))
    assert again.computed == 0
    assert not log.notices
    assert row_files(first.store) == rows
    assert_same_bits(again, first)


@pytest.mark.parametrize(
    ("executor", "runtime"),
    [
        ("inline", {"micro_batch": 1}),
        ("inline", {"micro_batch": 3, "window": 1, "in_flight_mib": 1}),
        ("ray", {"micro_batch": 3, "fleet": {"slots": 3}}),
    ],
    indirect=["executor"],
)
def test_the_bits_do_not_depend_on_replicas_micro_batch_or_window(
    executor: str, runtime: dict[str, Any], data: dict[str, Any], oracle: Results, tmp_path: Path
) -> None:
    log = Log()
    results = run_toy(tmp_path, log, data=data, runtime={"executor": executor, **runtime})
    assert_same_bits(results, oracle)
    assert sorted(log.keys("done")) == sorted(log.plans[0].tasks), "every key once"


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
@pytest.mark.usefixtures("executor", "run")
def test_no_actor_remains_after_a_run() -> None:
    import ray

    deadline = time.monotonic() + 20
    while ray.util.list_named_actors(all_namespaces=True) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.util.list_named_actors(all_namespaces=True) == []


def test_tasks_own_error_fails_the_task_skips_dependants_and_completes_others(
    executor: str, data: dict[str, Any], tmp_path: Path
) -> None:
    log = Log()
    results = run_toy(
        tmp_path,
        log,
        data=data,
        models=[toy("good", seed=1), toy("bad", "failing", seed=2)],
        attacks=[{"preset": "pgd", "eps": "4/255", "steps": 3}],
        runtime=on(executor),
    )
    tasks = log.plans[0].tasks
    shards = map(results.store.shard, log.plans[0].shards)
    (bright,) = (s for s in shards if s is not None and (s.images[:, :, 0, 0] > 127).any())
    bad = log.plans[0].infos["bad"].fingerprint
    expected = {k for k, t in tasks.items() if t.model == bad and t.shard_id == bright.shard_id}
    makes = {k for k in expected if tasks[k].kind == "attack"}
    skipped = {k for k, t in tasks.items() if t.depends_on in makes}
    assert set(log.keys("failed")) == expected - skipped
    assert set(log.keys("skipped")) == skipped
    assert results.failures.keys() == expected | skipped
    assert results.store.keys() == tasks.keys() - expected - skipped
    for key in expected - skipped:
        message = failure_of(results.store, key)["message"]
        assert "this toy fails on bright corners" in message
        assert "Traceback" in message
        assert "toys.py" in message
    assert not log.keys("retried"), "a task's own error is not tried again"
    assert results.matrix("pgd").isna().to_numpy().tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("executor", ["inline"], indirect=True)
def test_next_run_repeats_failed_tasks_only(
    executor: str, data: dict[str, Any], tmp_path: Path
) -> None:
    changes = {
        "data": data,
        "models": [toy("bad", "failing", seed=2)],
        "attacks": ["noise"],
        "runtime": on(executor),
    }
    first = run_toy(tmp_path, **changes)
    rows = row_files(first.store)
    log = Log()
    again = run_toy(tmp_path, log, **changes)
    assert first.failures.keys() == again.failures.keys() == set(log.keys("failed"))
    assert not log.keys("done")
    assert row_files(first.store) == rows


def test_unloadable_model_fails_its_tasks_and_others_complete(
    executor: str, data: dict[str, Any], tmp_path: Path
) -> None:
    results = run_toy(
        tmp_path,
        data=data,
        models=[toy("good", seed=1), unloadable("broken", tmp_path)],
        attacks=[{"preset": "pgd", "steps": 1}],
        runtime=on(executor),
    )
    clean = cell_keys(results, CLEAN, None, "broken")
    assert all("broken" in results.failures[key] for key in clean)
    assert all("could" in results.failures[key] for key in clean)
    assert "load" in failure_of(results.store, clean[0])["message"]
    assert results.matrix("pgd").isna().to_numpy().tolist() == [[False, True], [True, True]]
    assert results.missing == results.failures.keys() & results.missing


@RAY_IF_SLOW
def test_unsupported_image_size_fails_tasks_of_these_images_only(
    executor: str, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", count=3, size=(24, 32))
    write_images(tmp_path / "small", count=2, size=(20, 32))
    for path in (tmp_path / "small").rglob("*.png"):
        path.rename(tmp_path / "data" / path.parent.name / f"small-{path.name}")
    network = {"callable": "tests.tasks.models.test_size_divisor:Picky"}
    results = run_toy(
        tmp_path,
        models=[toy("any", seed=1), {"name": "picky", "torch": network | EIGHTHS}],
        attacks=["noise"],
        runtime=on(executor),
    )
    sizes = {cell.key: results.store.shard(cell.shard_id).size for cell in results.manifest.cells}
    refused = {cell.key for cell in results.manifest.cells if cell.target == "picky"}
    refused = {key for key in refused if sizes[key] == (20, 32)}
    assert refused == results.failures.keys()
    assert refused != sizes.keys()
    for sentence in results.failures.values():
        assert "by trial the network takes multiples of 8: set data.size" in sentence


@RAY_IF_SLOW
def test_attack_without_a_source_completes_if_no_model_loads(
    executor: str, data: dict[str, Any], tmp_path: Path
) -> None:
    log = Log()
    results = run_toy(
        tmp_path,
        log,
        data=data,
        models=[unloadable("broken", tmp_path)],
        attacks=["noise"],
        runtime=on(executor),
    )
    makes = {key for key, task in log.plans[0].tasks.items() if task.kind == "attack"}
    assert results.store.keys() == makes
    assert results.missing == results.failures.keys() == log.plans[0].tasks.keys() - makes


@RAY_IF_SLOW
def test_a_damaged_evaluation_is_computed_again_by_the_next_run(
    executor: str, data: dict[str, Any], oracle: Results, tmp_path: Path
) -> None:
    runtime = on(executor)
    first = run_toy(tmp_path, data=data, runtime=runtime)
    key = cell_keys(first, "pgd", "a", "b")[0]
    damage(blob_of(first.store, key))
    rows = row_files(first.store)
    log = Log()
    again = run_toy(tmp_path, log, data=data, runtime=runtime)
    assert log.keys("done") == [key]
    assert again.computed == 1
    assert {k for k, row in row_files(first.store).items() if row != rows[k]} == {key}
    assert_same_bits(again, oracle)


@pytest.mark.parametrize("executor", ["inline"], indirect=True)
def test_damage_beside_new_tasks_computes_no_task_twice(
    executor: str, data: dict[str, Any], oracle: Results, tmp_path: Path
) -> None:
    """The damage shows only when the results are read, after the new work was done."""
    runtime = on(executor)
    first = run_toy(tmp_path, data=data, targets=["a"], runtime=runtime)
    key = cell_keys(first, "pgd", "a", "a")[0]
    damage(blob_of(first.store, key))
    log = Log()
    again = run_toy(tmp_path, log, data=data, runtime=runtime)
    done = log.keys("done")
    assert len(done) == len(set(done))
    assert set(done) == {t.key for t in log.plans[0].missing} | {key}
    assert again.computed == len(done)
    assert_same_bits(again, oracle)


def test_damaged_aes_are_computed_again_for_a_new_target(
    executor: str, data: dict[str, Any], oracle: Results, tmp_path: Path
) -> None:
    runtime = on(executor)
    only_a = {"data": data, "sources": ["a"], "runtime": runtime}
    first = run_toy(tmp_path, targets=["a"], **only_a)
    keys = {c[5] for c in first.manifest.rows if c[0] == "pgd"}
    for key in keys:
        damage(blob_of(first.store, key))
    rows = row_files(first.store)
    again = run_toy(tmp_path, targets=["b"], **only_a)
    assert not again.failures
    written = row_files(first.store)
    assert {k for k in rows if written[k] != rows[k]} == keys
    theirs, ours = arrays(oracle), arrays(again)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("executor", ["inline"], indirect=True)
def test_damaged_shard_does_not_change_results(
    executor: str, data: dict[str, Any], oracle: Results, tmp_path: Path
) -> None:
    runtime = on(executor)
    first = run_toy(tmp_path, data=data, targets=["a"], runtime=runtime)
    for path in Path(first.store.location, "shards").rglob("*.arrow"):
        damage(path)
    again = run_toy(tmp_path, data=data, runtime=runtime)
    assert not again.failures
    assert_same_bits(again, oracle)
    assert again.matrix("pgd", "fooling").equals(oracle.matrix("pgd", "fooling"))


# -- what only an executor with processes of its own can suffer ------------------------------


def mortal_experiment(folder: Path, data: dict[str, Any], tokens: Path, executor: str) -> Any:
    return {
        "data": data,
        "models": [toy("mortal", "mortal", folder=str(tokens), seed=5), toy("b", seed=2)],
        "sources": ["mortal"],
        "targets": ["b"],
        "attacks": [{"preset": "pgd", "eps": "8/255", "steps": 3}],
        "runtime": {"executor": executor},
    }


def put_tokens(folder: Path, count: int) -> None:
    for i in range(count):
        (folder / f"token-{i}").touch()


@pytest.mark.usefixtures("cluster")
def test_killed_actor_is_restarted_and_bits_are_equal(data: dict[str, Any], tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    oracle = run_toy(tmp_path / "oracle", **mortal_experiment(tmp_path, data, tokens, "inline"))
    put_tokens(tokens, 1)
    log = Log()
    results = run_toy(tmp_path / "ray", log, **mortal_experiment(tmp_path, data, tokens, "ray"))
    assert not list(tokens.iterdir()), "the actor was killed"
    assert log.keys("retried")
    lost = [n.message for n in log.notices if n.kind == "slot" and "is up" not in n.message]
    assert lost, "the slot was told of"
    done = log.keys("done")
    assert sorted(done) == sorted(log.plans[0].tasks), "every key once"
    assert not results.failures
    assert_same_bits(results, oracle)


@pytest.mark.usefixtures("cluster")
def test_always_dying_actor_fails_its_tasks_and_others_complete(
    data: dict[str, Any], tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    put_tokens(tokens, 40)
    log, one_attack = Log(), {"schedule_groups": 1, "shard_size": 6}
    experiment = mortal_experiment(tmp_path, data, tokens, "ray") | one_attack
    results = run_toy(tmp_path, log, **experiment)
    tasks = log.plans[0].tasks
    attacks = {k for k, t in tasks.items() if t.kind == "attack"}
    assert set(log.keys("failed")) == attacks
    assert len(log.keys("retried")) == 40 - len(list(tokens.iterdir())) - len(attacks)
    assert set(log.keys("skipped")) == {k for k, t in tasks.items() if t.depends_on in attacks}
    assert not results.clean().isna().any()
    assert results.matrix("pgd").isna().all(axis=None)
