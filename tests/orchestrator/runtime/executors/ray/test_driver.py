"""Drivers that are Ray actors: fleets that many clients share, and the driver of one run."""

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment
from segtransfer.runtime.replay import replay
from segtransfer.runtime.runner import carry_out
from segtransfer.store import Store
from tests.orchestrator.runtime.executors.fleets import (
    After,
    Meeting,
    Thread,
    client_process,
    exists,
    in_process,
    kill,
    live,
    pgd,
    slow,
    until,
)
from tests.orchestrator.runtime.executors.test_contract import Log, put_tokens
from tests.orchestrator.runtime.test_kill import processes_of, ray_folder, slow_spec, start
from tests.orchestrator.toy_experiments import (
    assert_same_bits,
    row_files,
    run_toy,
    toy,
    toy_spec,
    write_images,
)

__all__ = ["ray_folder"]  # a fixture

LEASE = 6.0  # seconds, of the clients of these tests' fleet
STARTER = f"""
import json, sys
from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.runtime.executors.ray import driver, fleets
driver.LEASE = {LEASE}
fleets.start_fleet("tests", Runtime.model_validate(json.loads(sys.argv[1])))
"""


@dataclass
class Fleet:
    """A fleet of two slots: its store, its log and journal, and the images of all experiments."""

    folder: Path
    data: dict[str, Any]

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "store"))

    @property
    def runtime(self) -> dict[str, Any]:
        files = {name: str(self.folder / f"{name}.jsonl") for name in ("log", "journal")}
        return {"store": str(self.folder / "store"), "fleet": {"slots": 2}, **files}

    def spec(self, runtime: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """An experiment of this fleet's clients."""
        mine = {"store": self.store.location, "executor": "ray", "fleet": {"name": "tests"}}
        return toy_spec(self.folder, data=self.data, runtime=mine | (runtime or {}), **changes)

    def done(self) -> Counter[str]:
        """How often each task was committed."""
        lines = [json.loads(line) for line in (self.folder / "log.jsonl").open()]
        return Counter(line["key"] for line in lines if line.get("event") == "done")


@pytest.fixture(scope="module")
def fleet(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Brought up by a process that has ended."""
    folder = tmp_path_factory.mktemp("fleet")
    data = {"folder": str(write_images(folder / "data")), "classes": ["road", "sky", "tree"]}
    fleet = Fleet(folder, data)
    starter = in_process(STARTER, json.dumps(fleet.runtime))
    _, output = starter.communicate(timeout=120)
    assert starter.returncode == 0, output.decode()
    yield fleet
    for actor in live("DriverActor", detached=True).values():
        kill(actor)


def oracle(spec: dict[str, Any], folder: Path) -> Any:
    """What an experiment gives inline, in a store of its own."""
    runtime = {"store": str(folder / "oracle"), "executor": "inline", "tracking": False}
    return carry_out(read_experiment({**spec, "runtime": runtime}))


def fleet_status() -> Any:
    from segtransfer.runtime.executors.ray.fleets import status_of

    return status_of("tests")


# -- clients of one fleet ---------------------------------------------------------------------


def test_clients_share_a_detached_fleet_without_computing_a_key_twice(
    fleet: Fleet, tmp_path: Path
) -> None:
    signal.alarm(180)  # a fleet starts meanwhile
    a, b, c = slow("a", 0.02), toy("b", seed=2), toy("c", seed=3)
    by_url = f"file://{fleet.store.location}"
    specs = [
        fleet.spec(models=[a, b], attacks=[pgd(3), "noise"]),
        fleet.spec(models=[a, b, c], attacks=[pgd(3)], runtime={"store": by_url}),
    ]
    barrier = threading.Barrier(2)
    logs = [Meeting(barrier) for _ in specs]
    runs = [Thread(spec, log) for spec, log in zip(specs, logs, strict=True)]
    for run, log, spec in zip(runs, logs, specs, strict=True):
        results = run.result()
        assert not results.failures
        assert not log.plans[0].stored
        assert sorted(log.keys("done")) == sorted(log.plans[0].tasks), (
            "each client is notified of each task once"
        )
        assert_same_bits(results, oracle(spec, tmp_path / str(len(spec["models"]))))
    first, second = (log.plans[0].tasks.keys() for log in logs)
    assert first & second
    assert first - second
    assert second - first
    assert fleet.done() == Counter(first | second), "shared tasks are made once"


def test_status_of_a_fleet_names_its_slots_its_models_and_its_open_tasks(fleet: Fleet) -> None:
    spec = fleet.spec(models=[slow("busy", 0.2)], attacks=[pgd(4)])
    run = Thread(spec, Log())
    busy = until("a slot works", lambda: (n := fleet_status()).status.counts["running"] and n)
    assert busy.store == fleet.store.location
    assert len(busy.status.slots) == 2
    assert "busy" in {slot.model for slot in busy.status.slots}
    assert busy.status.clients == 1
    assert busy.status.budget_bytes > 0
    results = run.result()
    assert set(busy.models.values()) >= {
        (name, model.fingerprint) for name, model in results.manifest.models.items()
    }
    idle = until("all left", lambda: not (n := fleet_status()).status.clients and n, timeout=10)
    assert sum(idle.status.counts.values()) == 0, "nothing is kept of clients that are gone"
    assert idle.status.in_flight_bytes == 0


def test_concurrent_experiments_of_different_numerics_do_not_mix(
    fleet: Fleet, tmp_path: Path
) -> None:
    changes = {"models": [toy("a", seed=4)], "attacks": [pgd(2)]}
    specs = [
        fleet.spec(**changes, numerics=numerics)
        for numerics in ("reference", {"channels_last": True, "bf16": True})
    ]
    runs = [Thread(spec, Log()) for spec in specs]
    for number, (run, spec) in enumerate(zip(runs, specs, strict=True)):
        assert_same_bits(run.result(), oracle(spec, tmp_path / str(number)))
    keys = [{cell[4] for cell in run.result().manifest.rows} for run in runs]
    assert not keys[0] & keys[1]


def test_client_killed_by_sigkill_is_cancelled_after_its_lease_and_others_finish(
    fleet: Fleet, tmp_path: Path
) -> None:
    endless = fleet.spec(models=[slow("endless", 0.05)], attacks=[pgd(20_000)])
    child = client_process(endless)
    until(
        "two calls that would take half an hour run",
        lambda: any(s.task and s.task.startswith("pgd") for s in fleet_status().status.slots),
    )
    spec = fleet.spec(models=[toy("other", seed=6)], attacks=[pgd(2)])
    other = Thread(spec, log := Log())
    until("the other client is there", lambda: fleet_status().status.clients == 2)
    child.kill()
    killed = time.monotonic()
    child.communicate()
    results = other.result()
    assert time.monotonic() - killed > LEASE / 2, "the endless calls had both slots until then"
    assert not log.keys("retried")
    assert_same_bits(results, oracle(spec, tmp_path))
    last = until("all left", lambda: not (n := fleet_status()).status.clients and n, timeout=LEASE)
    assert sum(last.status.counts.values()) == 0
    assert {slot.task for slot in last.status.slots} == {None}, "the endless calls have stopped"


def test_a_run_ends_when_its_hours_are_up_and_a_second_run_completes_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    changes = {"models": [slow("limited", 0.1)], "schedule_groups": 1, "shard_size": 6}
    # Then the model is hosted, and what the limited run has left to do is mainly one call.
    carry_out(read_experiment(fleet.spec(**changes, attacks=["noise"])))
    spec = fleet.spec(**changes, attacks=[pgd(30)])
    limited = spec | {"runtime": spec["runtime"] | {"max_hours": 2.0 / 3600}}
    begun = time.monotonic()
    first = carry_out(read_experiment(limited))
    assert 2.0 < time.monotonic() - begun < 5.0
    assert first.stopped
    assert first.missing
    assert not first.failures
    # Its only call takes six seconds, and does not run to its end.
    until(
        "the call stops", lambda: not any(s.task for s in fleet_status().status.slots), timeout=2.0
    )
    rows = row_files(fleet.store)
    second = carry_out(read_experiment(spec))
    assert not second.stopped
    assert second.computed == len(row_files(fleet.store)) - len(rows) > 0
    assert {key: row for key, row in row_files(fleet.store).items() if key in rows} == rows
    assert_same_bits(second, oracle(spec, tmp_path))


def test_client_without_a_store_uses_the_store_of_the_fleet(fleet: Fleet) -> None:
    spec = fleet.spec(models=[toy("storeless", seed=11)], attacks=["noise"])
    spec["runtime"] = {"executor": "ray", "fleet": {"name": "tests"}}
    results = carry_out(read_experiment(spec))
    assert results.store.location == fleet.store.location
    assert not results.missing


def test_workers_are_named_after_their_slots(fleet: Fleet) -> None:
    named = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    for slot in fleet_status().status.slots:
        (name,) = [name for name in named if name.startswith(f"slot {slot.slot_id} ")]
        assert name in named


# -- what a fleet refuses ---------------------------------------------------------------------


def test_second_fleet_of_equal_name_is_refused(fleet: Fleet) -> None:
    from segtransfer.experiment.runtime_spec import Runtime
    from segtransfer.runtime.executors.ray.fleets import fleets, start_fleet

    with pytest.raises(InputError, match=r"Fleet 'tests' is already up\. See 'segtransfer fleet"):
        start_fleet("tests", Runtime.model_validate(fleet.runtime))
    assert fleets() == ["tests"]


def test_clients_of_an_unknown_fleet_another_store_or_other_code_are_refused(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(runtime: dict[str, Any]) -> str:
        with pytest.raises(InputError) as raised:
            carry_out(read_experiment(fleet.spec(models=[toy("refused", seed=9)], runtime=runtime)))
        return str(raised.value)

    output = refused({"fleet": {"name": "test"}})
    assert "No fleet 'test' is up on this cluster (up: tests)" in output
    output = refused({"store": str(tmp_path / "elsewhere")})
    assert (
        f"writes to the store {fleet.store.location}, but the experiment names {tmp_path}" in output
    )
    monkeypatch.setattr("segtransfer.runtime.executors.ray.fleets.code_hash", lambda: "0" * 64)
    output = refused({})
    assert "runs other code than this command" in output
    assert "fleet down tests" in output
    assert fleet_status().status.clients == 0


# -- what goes wrong --------------------------------------------------------------------------


def test_replayed_journal_of_a_fleet_gives_equal_decisions(fleet: Fleet, tmp_path: Path) -> None:
    """Whatever it went through before, and here replicas, changes of models and a lost worker."""
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    put_tokens(tokens, 1)
    mortal = toy("mortal", "mortal", folder=str(tokens), seed=5)
    spec = fleet.spec(models=[mortal, slow("x", 0.02), toy("y", seed=2)], attacks=[pgd(3)])
    results = carry_out(read_experiment(spec), log := Log())
    assert log.keys("retried")
    assert not list(tokens.iterdir())
    whole, _, _ = Path(fleet.runtime["journal"]).read_text().rpartition("\n")
    (tmp_path / "journal.jsonl").write_text(whole + "\n")
    then, now = zip(*replay(tmp_path / "journal.jsonl"), strict=True)
    assert then == now
    decisions = [decision for at_once in then for decision in at_once]
    starts = Counter(key for kind, _, key in decisions if kind == "start")
    assert starts.keys() >= results.store.keys() & log.plans[0].tasks.keys()
    assert starts[log.keys("retried")[0]] == 2
    assert len([d for d in decisions if d[0] == "host"]) > 3


def check_a_driver_that_dies(spec: dict[str, Any], folder: Path, *, detached: bool) -> None:
    """Ray restarts the driver, and the run resumes with tasks that are not stored."""
    rows: dict[str, Any] = {}
    workers: set[int] = set()
    store = Store(spec["runtime"]["store"])

    def kill_driver() -> None:
        (driver,) = live("DriverActor", detached=detached).values()
        workers.update(live("ModelActor").values())
        kill(driver)
        until("it is gone", lambda: not exists(driver))
        rows.update(row_files(store))

    results = carry_out(read_experiment(spec), log := After(3, kill_driver))
    tasks = log.plans[0].tasks
    assert len(rows.keys() & tasks.keys()) < len(tasks), "it died in the middle"
    assert not results.failures
    assert {key: row for key, row in row_files(store).items() if key in rows} == rows
    assert len(log.keys("done")) == len(set(log.keys("done")))
    assert_same_bits(results, oracle(spec, folder))
    until("its workers are gone", lambda: not any(map(exists, workers)), timeout=10)


def test_fleet_with_a_killed_driver_resumes(fleet: Fleet, tmp_path: Path) -> None:
    spec = fleet.spec(models=[slow("killed", 0.1)], attacks=[pgd(6)])
    check_a_driver_that_dies(spec, tmp_path, detached=True)
    assert len(fleet_status().status.slots) == 2


def test_ended_fleet_leaves_no_actor(fleet: Fleet) -> None:
    from segtransfer.runtime.executors.ray.fleets import end_fleet, fleets

    end_fleet("tests")
    until("no actor is left", lambda: not live("DriverActor") and not live("ModelActor"), 20)
    assert fleets() == []
    with pytest.raises(InputError, match="No fleet 'tests' is up"):
        end_fleet("tests")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_run_with_its_own_killed_driver_resumes(tmp_path: Path) -> None:
    runtime = {"executor": "ray", "fleet": {"slots": 1}}
    spec = toy_spec(tmp_path, models=[slow("own", 0.1)], attacks=[pgd(6)], runtime=runtime)
    check_a_driver_that_dies(spec, tmp_path, detached=False)
    until("no actor is left", lambda: not live("DriverActor") and not live("ModelActor"), 20)


@pytest.mark.usefixtures("cluster")
def test_models_outnumbering_slots_take_turns_on_ray(tmp_path: Path) -> None:
    models = [toy("a", seed=1), toy("b", seed=2), toy("c", seed=3)]
    attacks = [pgd(2)]
    runtime = {"executor": "ray", "fleet": {"slots": 1}}
    results = run_toy(tmp_path, log := Log(), models=models, attacks=attacks, runtime=runtime)
    assert not results.failures
    assert len([n for n in log.notices if n.kind == "slot"]) == 1
    spec = toy_spec(tmp_path, models=models, attacks=attacks)
    assert_same_bits(results, oracle(spec, tmp_path))


@pytest.mark.slow
def test_interrupted_run_ends_its_processes_at_once(tmp_path: Path, ray_folder: Path) -> None:
    spec = slow_spec(tmp_path, "ray", "store")
    child = start(spec, ray_folder)
    store = Store(spec["runtime"]["store"])
    until("something is done", lambda: len(store.keys()) > 2 or child.poll() is not None)
    assert child.poll() is None
    assert len(processes_of(ray_folder)) > 4, "a cluster of its own"
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=15)
    assert child.returncode not in (0, -signal.SIGKILL)
    until("its cluster is gone", lambda: not processes_of(ray_folder), timeout=10)


@pytest.mark.usefixtures("cluster")
def test_interrupted_run_on_a_cluster_ends_its_driver_and_workers(
    tmp_path: Path,
) -> None:
    runtime = {"executor": "ray", "fleet": {"slots": 1}}
    changes = {"models": [slow("endless", 0.05)], "attacks": [pgd(20_000)]}
    child = client_process(toy_spec(tmp_path, runtime=runtime, **changes))
    store = Store(str(tmp_path / "store"))
    until("the clean images are scored", lambda: store.keys() or child.poll() is not None)
    processes = [*live("DriverActor").values(), *live("ModelActor").values()]
    assert len(processes) == 2
    child.send_signal(signal.SIGINT)
    _, output = child.communicate(timeout=15)
    assert child.returncode not in (0, -signal.SIGKILL)
    assert b"KeyboardInterrupt" in output
    until("no actor is left", lambda: not any(map(exists, processes)), timeout=10)
