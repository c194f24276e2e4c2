"""The Ray executor against its contract, without a driver: what each fault is told as."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from segtransfer.experiment.runtime_spec import Fleet
from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import (
    Event,
    Failed,
    Finished,
    Hosted,
    Output,
    Refused,
    Served,
    SlotDown,
    SlotUp,
)
from segtransfer.runtime.perform import TaskInputs, perform
from segtransfer.store.arrays import Evaluation, decode_evaluation
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.device_errors import is_poisoned
from segtransfer.tasks.models import adapters as models
from segtransfer.tasks.models.spec import ModelSpec

Kind = TypeVar("Kind", bound=Event)
PGD = AttackSpec.model_validate({"preset": "pgd", "eps": "8/255", "steps": 3})
LONG = PGD.model_copy(update={"steps": 5000})
NOISE = AttackSpec.model_validate({"preset": "noise", "eps": "8/255"})


def toy(name: str, function: str = "convolutional", **arguments: Any) -> dict[str, Any]:
    return {"name": name, "torch": {"callable": f"tests.toys:{function}", "arguments": arguments}}


BROKEN = toy("broken", "linear", weights=[[0.0, "x", 0.0]] * 3)
SLOW = toy("slow", "linear", weights=[[0.1, 0.2, 0.3]] * 3, delay=0.05)


def shard() -> Shard:
    generator = np.random.default_rng(0)
    images = generator.integers(1, 256, (2, 3, 12, 16), np.uint8)
    labels = generator.integers(0, 3, (2, 12, 16), np.uint8)
    return Shard("shard", 0, ("x", "y"), ("", ""), images, labels)


SHARD = shard()


def served(raw: dict[str, Any], fingerprint: str | None = None) -> Served:
    spec = ModelSpec.model_validate(raw)
    return Served(spec, fingerprint or models.describe(spec).fingerprint)


def attack_task(key: str, spec: AttackSpec = PGD) -> Task:
    model = "m" if spec.steps else None
    return Task(key, model, SHARD.shard_id, 1.0, SHARD.images.nbytes, attack=spec, seed=7)


def evaluate_task(key: str, depends_on: str | None = None) -> Task:
    return Task(key, "m", SHARD.shard_id, 1.0, 0, depends_on, num_classes=3)


def inline(raw: dict[str, Any] | None, task: Task, images: np.ndarray) -> Output:
    model = None if raw is None else models.load(ModelSpec.model_validate(raw))
    inputs = TaskInputs(SHARD.image_ids, SHARD.group, images, SHARD.labels)
    return perform(model, task, inputs, 4)


@dataclass
class Bench:
    """An executor and all that it told, in its order."""

    executor: Any
    events: list[Event] = field(default_factory=list)
    read: int = 0

    def until(self, kind: type[Kind], timeout: float = 60.0) -> Kind:
        """The next event of a kind; those before it count as read."""
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            while self.read < len(self.events):
                self.read += 1
                event = self.events[self.read - 1]
                if isinstance(event, kind):
                    return event
            self.events += self.executor.wait(0.2)
        raise AssertionError(f"no {kind.__name__} within {timeout} s; read: {self.events}")

    def quiet(self, seconds: float = 1.0) -> None:
        """Fails where anything else is told within a while."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            self.events += self.executor.wait(0.2)
        assert not self.events[self.read :]

    def start(self, slot_id: str, task: Task, images: Any = None) -> None:
        clean = self.executor.put(SHARD.images) if images is None else images
        labels = self.executor.put(SHARD.labels)
        self.executor.start(task, slot_id, SHARD, clean, labels)

    def host(self, slot_id: str, raw: dict[str, Any], name: str = "m") -> Hosted:
        self.executor.host(slot_id, name, served(raw))
        hosted = self.until(Hosted)
        assert (hosted.slot_id, hosted.model) == (slot_id, name)
        return hosted


def executor_with(slots: int | str, store: str) -> Any:
    from segtransfer.runtime.executors.ray.executor import RayExecutor

    return RayExecutor(fleet=Fleet.model_validate({"slots": slots}), micro_batch=4, store=store)


@pytest.fixture
def make(cluster: None, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Makes executors that are closed in the end."""
    benches: list[Bench] = []

    def make(slots: int | str = 1, store: str = "", models: int = 1) -> Bench:
        benches.append(Bench(executor_with(slots, store or str(tmp_path / "store"))))
        benches[-1].executor.open(models)
        return benches[-1]

    yield make
    for bench in benches:
        bench.executor.close()


@pytest.fixture(scope="module")
def kept(
    cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Bench, list[str]]]:
    """One executor of one slot, for every test that leaves it usable."""
    bench = Bench(executor_with(1, str(tmp_path_factory.mktemp("kept"))))
    bench.executor.open(1)
    yield bench, []
    bench.executor.close()


@pytest.fixture
def one(kept: tuple[Bench, list[str]]) -> tuple[Bench, str]:
    """The kept executor and its slot, up, with all that it told before read."""
    bench, slots = kept
    if not slots:
        slots.append(bench.until(SlotUp).slot.slot_id)
    bench.quiet(0.0)
    return bench, slots[0]


def stored(bench: Bench, output: Output) -> Evaluation:
    """The scores that a worker wrote to the store of its executor."""
    assert output.blob is not None
    evaluation = decode_evaluation(bench.executor._store.files.read(output.blob.path))
    assert evaluation is not None
    return evaluation


def tokens(folder: Path, count: int = 1) -> Path:
    folder = folder / "tokens"
    folder.mkdir()
    for number in range(count):
        (folder / str(number)).touch()
    return folder


def troubled(folder: Path, trouble: str, at: str = "call") -> dict[str, Any]:
    return toy(
        "troubled", "troubled", folder=str(folder), trouble=trouble, at=at, planner=os.getpid()
    )


def actors_alive() -> list[str]:
    from ray._private.state import actors

    return [a["ActorID"] for a in actors().values() if a["State"] != "DEAD"]


# -- what goes well ---------------------------------------------------------------------------


def test_calls_on_workers_give_the_bits_of_this_process(one: tuple[Bench, str]) -> None:
    bench, slot = one
    hosted = bench.host(slot, toy("a", seed=1))
    assert hosted.seconds > 0
    bench.start(slot, attack_task("attack"))
    made = bench.until(Finished)
    assert made.key == "attack"
    oracle = inline(toy("a", seed=1), attack_task("attack"), SHARD.images)
    assert np.array_equal(bench.executor.fetch(made.output.images), oracle.images)
    assert not np.array_equal(oracle.images[0], SHARD.images)
    assert made.output.report is not None
    bench.start(slot, evaluate_task("evaluate", "attack"), made.output.images)
    scored = stored(bench, bench.until(Finished).output)
    expected = inline(toy("a", seed=1), evaluate_task("evaluate", "attack"), oracle.images)
    assert np.array_equal(scored.confusions, expected.confusions)
    assert np.array_equal(scored.predictions, expected.predictions)


def test_worker_that_attacks_and_evaluates_loads_segtransfer_alone(one: tuple[Bench, str]) -> None:
    bench, slot = one
    bench.host(slot, toy("strict", "strict"))
    bench.start(slot, attack_task("of-strict"))
    images = bench.until(Finished).output.images
    bench.start(slot, evaluate_task("on-strict", "of-strict"), images)
    assert bench.until(Finished).key == "on-strict"


def test_a_slot_hosts_one_model_after_another(one: tuple[Bench, str]) -> None:
    bench, slot = one
    found = []
    for seed in (1, 2, 1):
        bench.host(slot, toy("swapped", seed=seed), name=f"seed {seed}")
        bench.start(slot, evaluate_task("evaluate"))
        predictions = stored(bench, bench.until(Finished).output).predictions
        expected = inline(toy("swapped", seed=seed), evaluate_task("evaluate"), SHARD.images)
        assert np.array_equal(predictions, expected.predictions)
        found.append(np.array(predictions))
    assert not np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_empty_slot_runs_an_attack_without_a_source(make: Callable[..., Bench]) -> None:
    bench = make()
    up = bench.until(SlotUp)
    assert up.slot.device.endswith("/cpu")
    assert up.slot.width == 2
    bench.start(up.slot.slot_id, attack_task("noise", NOISE))
    images = bench.executor.fetch(bench.until(Finished).output.images)
    oracle = inline(None, attack_task("noise", NOISE), SHARD.images)
    assert np.array_equal(images, oracle.images)
    bench.start(up.slot.slot_id, evaluate_task("evaluate"))
    failed = bench.until(Failed)
    assert failed.kind == "task"
    assert "hosts no model" in failed.message


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_worker_writes_arrays_to_the_store(
    make: Callable[..., Bench], tmp_path: Path, kind: str
) -> None:
    from tests.orchestrator.stores import bucket_server, new_store

    with bucket_server() as query:
        store = new_store(kind, tmp_path, query)
        bench = make(store=store.location)
        slot = bench.until(SlotUp).slot.slot_id
        bench.host(slot, toy("a", seed=1))
        bench.start(slot, attack_task("attack"))
        made = bench.until(Finished).output
        assert bench.executor.fetch(made.images).shape == (1, 2, 3, 12, 16)
        bench.start(slot, evaluate_task("evaluate", "attack"), made.images)
        scored = bench.until(Finished).output
        written = store.files.names("blobs")
        assert sorted(written) == sorted([made.blob.path, scored.blob.path])
        assert scored.confusions is None
        assert scored.predictions is None
        assert scored.report is not None


def test_worker_on_another_node_than_a_folder_leaves_the_arrays_to_the_driver(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    from segtransfer.runtime.executors.ray.slot import RaySlot

    bench = make()
    slot = bench.until(SlotUp).slot.slot_id
    (of_slot,) = bench.executor._slots.values()
    store = bench.executor._store
    assert of_slot.store_for_worker(store) == store.location
    assert replace(of_slot, node_id="another").store_for_worker(store) is None
    monkeypatch.setattr(RaySlot, "store_for_worker", lambda *_: None)
    bench.executor.recreate(slot)
    bench.until(SlotUp)
    bench.host(slot, toy("a", seed=1))
    bench.start(slot, attack_task("attack"))
    output = bench.until(Finished).output
    assert output.blob is None
    oracle = inline(toy("a", seed=1), attack_task("attack"), SHARD.images)
    assert np.array_equal(bench.executor.fetch(output.images), oracle.images)
    assert not store.files.names("blobs")


def test_worker_that_cannot_write_to_a_folder_leaves_the_arrays_to_the_driver(
    make: Callable[..., Bench], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    bench = make(store=str(tmp_path / "file/store"))
    slot = bench.until(SlotUp).slot.slot_id
    bench.host(slot, toy("a", seed=1))
    bench.start(slot, evaluate_task("evaluate"))
    output = bench.until(Finished).output
    assert output.blob is None
    expected = inline(toy("a", seed=1), evaluate_task("evaluate"), SHARD.images)
    assert np.array_equal(output.confusions, expected.confusions)
    assert np.array_equal(output.predictions, expected.predictions)


def test_byte_budget_is_a_third_of_the_object_store(one: tuple[Bench, str]) -> None:
    import ray

    whole = ray.cluster_resources()["object_store_memory"]
    assert one[0].executor.budget() == int(whole / 3) > 0


# -- models that cannot be loaded -------------------------------------------------------------


def test_raising_model_is_refused_and_the_slot_loads_another(one: tuple[Bench, str]) -> None:
    bench, slot = one
    bench.executor.host(slot, "m", served(BROKEN, "f" * 64))
    refused = bench.until(Refused)
    assert (refused.slot_id, refused.model) == (slot, "m")
    assert "Traceback" in refused.message
    bench.quiet(0.5)
    bench.start(slot, evaluate_task("evaluate"))
    assert "hosts no model" in bench.until(Failed).message, "the slot is empty"
    bench.host(slot, toy("a", seed=1))


def test_unplanned_weights_are_refused(one: tuple[Bench, str]) -> None:
    bench, slot = one
    bench.executor.host(slot, "m", served(toy("stale", seed=1), "f" * 64))
    refused = bench.until(Refused)
    assert (
        "has other weights or code on this node than in the plan; give every node the same files"
        in refused.message
    )


def test_model_is_refused_after_three_worker_deaths_during_loading(
    one: tuple[Bench, str], tmp_path: Path
) -> None:
    bench, slot = one
    model = troubled(tokens(tmp_path, 4), "kill", "load")
    for attempt in (1, 2, 3):
        before = bench.read
        bench.executor.host(slot, "deadly", served(model))
        assert bench.until(SlotDown).final is False
        refusals = [e for e in bench.events[before:] if isinstance(e, Refused)]
        assert len(refusals) == (attempt == 3)
        bench.until(SlotUp)
    assert "3 workers" in refusals[0].message
    assert len(list(tmp_path.joinpath("tokens").iterdir())) == 1
    bench.host(slot, toy("a", seed=1))


def test_device_lost_during_loading_does_not_refuse_the_model(
    one: tuple[Bench, str], tmp_path: Path
) -> None:
    bench, slot = one
    model = troubled(tokens(tmp_path), "poison", "load")
    before = bench.read
    bench.executor.host(slot, "m", served(model))
    assert "device-side assert" in bench.until(SlotDown).message
    bench.until(SlotUp)
    assert len(bench.events[before:]) == 2
    bench.host(slot, model)


# -- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("trouble", "kind"), [("kill", "infrastructure"), ("poison", "poisoned")])
def test_worker_death_fails_only_the_running_call(
    one: tuple[Bench, str], tmp_path: Path, trouble: str, kind: str
) -> None:
    bench, slot = one
    bench.host(slot, troubled(tokens(tmp_path), trouble))
    before = bench.read
    for number in range(3):
        bench.start(slot, attack_task(f"call {number}"))
    bench.until(SlotUp, timeout=30)
    failed, down, up = bench.events[before:]
    assert isinstance(failed, Failed)
    assert (failed.key, failed.kind) == ("call 0", kind)
    assert isinstance(down, SlotDown)
    assert (down.slot_id, down.final) == (slot, False)
    assert isinstance(up, SlotUp)
    assert up.slot.slot_id == slot
    bench.quiet()
    bench.start(slot, evaluate_task("evaluate"))
    assert "hosts no model" in bench.until(Failed).message, "the slot came back empty"
    bench.host(slot, toy("a", seed=1))
    bench.start(slot, attack_task("call 0"))
    assert bench.until(Finished).key == "call 0"


def test_death_of_an_idle_worker_is_reported(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr("segtransfer.runtime.executors.ray.executor.PING_EVERY", 0.5)
    bench = make()
    slot = bench.until(SlotUp).slot.slot_id
    (ray_slot,) = bench.executor._slots.values()
    os.kill(ray.get(ray_slot.worker.ping.remote())[0], signal.SIGKILL)
    assert bench.until(SlotDown, timeout=20).final is False
    assert bench.until(SlotUp).slot.slot_id == slot
    assert not [event for event in bench.events if isinstance(event, Failed)]


def test_silent_worker_is_replaced(
    one: tuple[Bench, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, slot = one
    bench.host(slot, troubled(tokens(tmp_path), "stop"))
    monkeypatch.setattr("segtransfer.runtime.executors.ray.executor.PING_EVERY", 0.5)
    monkeypatch.setattr("segtransfer.runtime.executors.ray.executor.PING_TIMEOUT", 4.0)
    before = bench.read
    bench.start(slot, attack_task("call 0"))
    bench.start(slot, attack_task("call 1"))
    bench.until(SlotUp, timeout=45)
    failed, down, _ = bench.events[before:]
    assert isinstance(failed, Failed)
    assert (failed.key, failed.kind) == ("call 0", "infrastructure")
    assert isinstance(down, SlotDown)
    assert "does not answer" in down.message


def test_pings_are_answered_during_a_call(
    one: tuple[Bench, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, slot = one
    bench.host(slot, SLOW)
    monkeypatch.setattr("segtransfer.runtime.executors.ray.executor.PING_EVERY", 0.2)
    monkeypatch.setattr("segtransfer.runtime.executors.ray.executor.PING_TIMEOUT", 3.0)
    before = bench.read
    bench.start(slot, attack_task("attack", PGD.model_copy(update={"steps": 120})))
    begun = time.monotonic()
    assert bench.until(Finished).key == "attack"
    assert time.monotonic() - begun > 4, "longer than the silence that is borne"
    assert len(bench.events[before:]) == 1


def test_error_of_an_unimportable_class_is_the_tasks_own(
    one: tuple[Bench, str], tmp_path: Path
) -> None:
    bench, slot = one
    bench.host(slot, troubled(tokens(tmp_path), "foreign"))
    bench.start(slot, attack_task("call 0"))
    bench.start(slot, attack_task("call 1"))
    failed = bench.until(Failed)
    assert (failed.key, failed.kind) == ("call 0", "task")
    assert "no such class" in failed.message
    assert "toys.py" in failed.message
    assert bench.until(Finished).key == "call 1"


def test_cancelled_calls_fail_and_other_calls_finish(
    one: tuple[Bench, str],
) -> None:
    bench, slot = one
    bench.host(slot, SLOW)
    before = bench.read
    for key in ("running", "queued"):
        bench.start(slot, attack_task(key, LONG))
    bench.start(slot, evaluate_task("kept"))
    bench.executor.cancel("queued")
    bench.quiet(1.5)
    bench.executor.cancel("running")
    bench.executor.cancel("never heard of")
    assert bench.until(Finished, timeout=20).key == "kept"
    first, second, _ = bench.events[before:]
    assert isinstance(first, Failed)
    assert (first.key, first.kind) == ("running", "cancelled")
    assert isinstance(second, Failed)
    assert (second.key, second.kind) == ("queued", "cancelled")


def test_recreate_replaces_a_busy_worker_without_failed_calls(one: tuple[Bench, str]) -> None:
    bench, slot = one
    bench.host(slot, SLOW)
    before = bench.read
    bench.start(slot, attack_task("endless", LONG))
    bench.start(slot, attack_task("behind", LONG))
    bench.quiet(1.0)
    bench.executor.recreate(slot)
    bench.executor.recreate(slot)
    bench.start(slot, attack_task("too early"))
    bench.until(SlotUp)
    down, _ = bench.events[before:]
    assert isinstance(down, SlotDown)
    assert not down.final
    bench.quiet()
    bench.host(slot, toy("a", seed=1))
    bench.start(slot, attack_task("next"))
    assert bench.until(Finished).key == "next"


def test_slot_is_removed_after_repeated_worker_deaths(
    make: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtransfer.runtime.executors.ray.executor.MOST_DEATHS", 2)
    bench = make()
    slot = bench.until(SlotUp).slot.slot_id
    model = troubled(tokens(tmp_path, 3), "kill")
    bench.host(slot, model)
    bench.start(slot, attack_task("call"))
    assert bench.until(SlotDown).final is False
    bench.until(SlotUp)
    bench.start(slot, attack_task("noise", NOISE))
    bench.until(Finished)
    for final in (False, True):
        bench.host(slot, model)
        (ray_slot,) = bench.executor._slots.values()
        ray_slot.deaths = int(final)
        bench.start(slot, attack_task("call"))
        assert bench.until(Failed).kind == "infrastructure"
        down = bench.until(SlotDown)
        assert down.final is final
        if not final:
            bench.until(SlotUp)
    assert "2 workers in a row" in down.message
    bench.quiet(2.0)
    bench.executor.open(1)
    assert bench.until(SlotUp).slot.slot_id != slot


def test_node_with_other_code_loses_its_slots(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtransfer.runtime.executors.ray.executor.code_hash", lambda: "f" * 64)
    bench = make()
    down = bench.until(SlotDown)
    assert down.final
    assert "its node has other code of segtransfer than the driver" in down.message
    assert not bench.executor.starting()
    bench.quiet()


# -- slots ------------------------------------------------------------------------------------


def test_every_worker_starts_if_all_cores_are_taken(make: Callable[..., Bench]) -> None:
    import ray

    class Greedy:
        def here(self) -> bool:
            return True

    free = ray.available_resources()["CPU"]  # the kept executor has the rest
    greedy: Any = ray.remote(Greedy).options(num_cpus=free).remote()
    assert ray.get(greedy.here.remote())
    bench = make("auto")
    slots = {bench.until(SlotUp).slot for _ in range(2)}
    assert len(slots) == 2
    bench.quiet(0.5)
    ray.kill(greedy)


def test_a_later_open_adds_slots_and_closing_leaves_no_worker(make: Callable[..., Bench]) -> None:
    before = set(actors_alive())
    bench = make("auto", models=2)
    assert bench.executor.starting()
    ids = [bench.until(SlotUp).slot.slot_id for _ in range(2)]
    assert not bench.executor.starting()
    bench.executor.open(2)
    bench.quiet(0.5)
    bench.executor.open(3)
    ids.append(bench.until(SlotUp).slot.slot_id)
    assert len(set(ids)) == 3
    assert len(set(actors_alive()) - before) == 3
    threading.Timer(0.5, bench.executor.close).start()
    assert bench.executor.wait(30) == []
    give_up = time.monotonic() + 20
    while set(actors_alive()) - before and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not set(actors_alive()) - before


def test_slots_follow_cores_models_memory_and_the_fleet() -> None:
    from segtransfer.runtime.executors.ray.nodes import NodeCapacity, count_slots

    small, large = NodeCapacity("small", 4, 0, 100), NodeCapacity("large", 12, 0, 100)
    poor, head = NodeCapacity("poor", 8, 0, 2), NodeCapacity("head", 0, 0, 100)
    auto = Fleet()

    def counts(fleet: Fleet, *nodes: NodeCapacity, models: int = 1, sources: int = 0) -> list[int]:
        return list(count_slots(fleet, nodes, models, sources, 1).values())

    assert counts(auto, small, large, head) == [4, 12, 0]
    assert counts(auto, small, large, models=32) == [8, 24]
    assert counts(auto, small, poor, models=16) == [14, 2]
    assert counts(auto, small, models=5, sources=1) == [8]  # three replicas use the other cores
    assert counts(auto, small, models=5, sources=4) == [5]
    assert counts(auto, NodeCapacity("sliver", 0.5, 0, 4)) == [1]
    assert counts(Fleet(slots=8), small, large, head) == [2, 6, 0]
    assert counts(Fleet(slots=1), small, large) == [0, 1]
    assert counts(auto, head) == [0]


def test_only_gpu_nodes_get_slots_if_any_node_has_gpus() -> None:
    from segtransfer.runtime.executors.ray.nodes import NodeCapacity, count_slots, share_gpus

    nodes = [
        NodeCapacity("cpu", 64, 0, 40),
        NodeCapacity("a", 16, 2, 40),
        NodeCapacity("b", 16, 4, 40),
    ]
    for models_wanted, per_gpu in ((1, 1), (6, 1), (7, 2), (600, 8)):
        assert share_gpus(Fleet(), nodes, models_wanted, ()) == per_gpu
    assert share_gpus(Fleet(slots_per_gpu=3), nodes, 600, ()) == 3
    assert count_slots(Fleet(), nodes, 7, 1, 2) == {"cpu": 0, "a": 4, "b": 8}
    assert count_slots(Fleet(slots=6), nodes, 7, 1, 2) == {"cpu": 0, "a": 2, "b": 4}
    assert count_slots(Fleet(slots=60), nodes, 7, 1, 2) == {"cpu": 0, "a": 4, "b": 8}


def test_autoscaler_request_covers_missing_resources_only() -> None:
    from segtransfer.runtime.executors.ray.nodes import NodeCapacity, missing_resources

    cpu, gpu = [NodeCapacity("cpu", 4, 0, 4)], [NodeCapacity("gpu", 4, 2, 4)]
    assert missing_resources(Fleet(), cpu, 1) == {}
    assert missing_resources(Fleet(), [], 1) == {"num_cpus": 1}
    assert missing_resources(Fleet(slots=4), cpu, 1) == {}
    assert missing_resources(Fleet(slots=5), cpu, 1) == {"num_cpus": 5}
    assert missing_resources(Fleet(slots=4), gpu, 2) == {}
    assert missing_resources(Fleet(slots=5), gpu, 2) == {"bundles": [{"GPU": 1.0}] * 3}


# -- poisoned devices -------------------------------------------------------------------------


def raised(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "poisoned"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `x`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (torch.AcceleratorError("an illegal memory access was encountered"), True),
        (raised(ValueError("wrapped"), RuntimeError("CUDA error: misaligned address")), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `x`"), False),
        (RuntimeError("size mismatch"), False),
        (ValueError("CUDA error is what this message is about"), False),
    ],
)
def test_poisoned_device_is_distinguished_from_other_errors(
    error: BaseException, poisoned: bool
) -> None:
    assert is_poisoned(error) is poisoned


# -- nodes that come and go -------------------------------------------------------------------


@pytest.mark.slow
def test_slots_follow_joining_and_leaving_nodes() -> None:
    """A process of its own: there is one Ray a process."""
    signal.alarm(400)  # a cluster of several nodes takes its time
    command = [sys.executable, "-m", "tests.orchestrator.runtime.executors.ray.nodes_come_and_go"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "all told"
