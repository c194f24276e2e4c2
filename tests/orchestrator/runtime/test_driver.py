"""The driver between clients, scheduler, executor and store, on a controlled executor."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.experiment.task import Task
from segtransfer.runtime import slot_supply
from segtransfer.runtime.drive import served_models
from segtransfer.runtime.driver import Driver
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
from segtransfer.runtime.replay import replay
from segtransfer.runtime.scheduler import SWITCH_COST, Slot
from segtransfer.runtime.sessions import Notice, Submission, UnknownClientError
from segtransfer.store import Store
from segtransfer.store.measured_costs import COSTS_VERSION
from segtransfer.tasks.data.shards import Shard
from tests.orchestrator.toy_experiments import run_toy, toy, toy_experiment


class ControlledExecutor:
    """An executor whose slots, loads and calls begin and end as a test says."""

    interruptible = True

    def __init__(self, slots: int = 2) -> None:
        self.slots = [Slot(f"slot-{n}", "device", slots) for n in range(slots)]
        self.events: list[Event] = []
        self.calls: dict[str, tuple[Task, str, Shard, Any]] = {}
        self.hosted: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.recreated: list[str] = []
        self.started: list[str] = []
        self.nodes = ""

    def open(self, models: int, sources: int = 0, peaks: Sequence[int] = ()) -> None:
        self.peaks = peaks
        if not self.hosted and not self.events:
            self.events += [SlotUp(slot) for slot in self.slots]

    def starting(self) -> bool:
        return False

    def awaited(self) -> str:
        return self.nodes

    def budget(self) -> int:
        return 12345

    def host(self, slot_id: str, model: str, served: Served) -> None:
        self.hosted[slot_id] = model
        self.events.append(Hosted(slot_id, model, 0.5))

    def put(self, array: np.ndarray) -> Any:
        return array

    def fetch(self, handle: Any) -> np.ndarray:
        return handle

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        self.calls[task.key] = task, slot_id, shard, images
        self.started.append(task.key)

    def cancel(self, key: str) -> None:
        self.cancelled.append(key)

    def recreate(self, slot_id: str) -> None:
        self.recreated.append(slot_id)

    def wait(self, timeout: float) -> list[Event]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        self.events.clear()

    def finish(self, *keys: str) -> None:
        """End calls with a result, arrays of zeros; all calls if no key is given."""
        for key in keys if keys else tuple(self.calls):
            task, _, shard, _ = self.calls.pop(key)
            count, classes = len(shard.image_ids), task.num_classes
            output = Output(images=shard.images[None].copy(), report={})
            if task.attack is None:
                confusions = np.zeros((count, classes, classes), np.int64)
                output = Output(None, confusions, shard.labels.astype(np.uint8), {})
            self.events.append(Finished(key, output))

    def on(self, slot_id: str) -> list[str]:
        return [key for key, call in self.calls.items() if call[1] == slot_id]


class Harness:
    """A driver with a controlled executor, and its clients."""

    def __init__(self, folder: Path, executor: ControlledExecutor, **options: Any) -> None:
        self.folder, self.executor = folder, executor
        runtime = options.pop("runtime", {})
        experiment = toy_experiment(folder, runtime=runtime)
        self.store = Store(experiment.runtime.store)
        self.driver = Driver(executor, self.store, experiment.runtime, **options)

    def plan(self, **changes: Any) -> Plan:
        plan = make_plan(toy_experiment(self.folder, **changes), self.store, self.store.put_shard)
        return plan

    def submit(self, plan: Plan) -> str:
        return self.driver.submit(Submission(plan.tasks, served_models(plan), plan.stored))

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.driver.step(0.0)

    def until_busy(self) -> None:
        """Step until every slot hosts a model and has as many calls as fit."""
        while len(self.executor.calls) < 2 * len(self.executor.slots):
            self.step()

    def to_the_end(self, client: str) -> list[Notice]:
        give_up = time.monotonic() + 60
        while (notices := self.notices(client))[-1:] == [] or notices[-1].kind != "finished":
            assert time.monotonic() < give_up
            self.executor.finish()
            self.step()
        return notices

    def notices(self, client: str, kind: str = "") -> list[Notice]:
        return [n for n in self.driver.events(client, 0) if n.kind == (kind or n.kind)]


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path, ControlledExecutor())


def test_every_task_is_started_once_and_notified_once(harness: Harness) -> None:
    plan = harness.plan()
    client = harness.submit(plan)
    notices = harness.to_the_end(client)
    assert sorted(harness.executor.started) == sorted(plan.tasks)
    assert sorted(n.key for n in notices if n.kind == "done") == sorted(plan.tasks)
    assert [n.kind for n in notices if n.kind not in ("slot", "done")] == ["ready", "finished"]
    assert harness.store.keys() == plan.tasks.keys()


def test_task_computed_since_the_plan_is_not_computed_again(
    harness: Harness,
) -> None:
    early, late = harness.plan(), harness.plan()
    assert late.stored == frozenset()
    harness.to_the_end(harness.submit(early))
    started = list(harness.executor.started)
    assert [n.kind for n in harness.notices(harness.submit(late))] == ["finished"]
    assert harness.executor.started == started


def test_damaged_result_is_computed_again_although_committed(
    harness: Harness,
) -> None:
    plan = harness.plan()
    harness.to_the_end(harness.submit(plan))
    key = next(key for key, task in plan.tasks.items() if task.attack is None)
    stored = frozenset(plan.tasks) - {key}
    again = Submission(plan.tasks, served_models(plan), stored, damaged=frozenset({key}))
    started = len(harness.executor.started)
    harness.to_the_end(harness.driver.submit(again))
    assert harness.executor.started[started:] == [key]


def test_finished_client_leaves_no_state_in_the_driver(harness: Harness) -> None:
    client = harness.submit(harness.plan())
    received = len(harness.to_the_end(client))
    assert harness.driver.events(client, received) == []
    assert harness.notices(client) == [], "acknowledged notices are deleted"
    harness.driver.cancel(client)
    state = vars(harness.driver._registry) | vars(harness.driver._cache)
    kept = ("tasks", "_shards", "_images")
    assert {name: state[name] for name in kept} == {name: {} for name in kept}
    assert not harness.driver._sessions
    assert sum(harness.driver.status().counts.values()) == 0


def test_client_past_its_lease_is_cancelled_and_another_is_served(
    tmp_path: Path,
) -> None:
    harness = Harness(tmp_path, ControlledExecutor(), lease=0.2)
    dead = harness.submit(harness.plan())
    harness.until_busy()
    alive, give_up = harness.submit(harness.plan(attacks=["noise"])), time.monotonic() + 30
    while dead in harness.driver._sessions:
        assert time.monotonic() < give_up
        harness.step()
        harness.driver.events(alive, 0)
    with pytest.raises(UnknownClientError):
        harness.driver.events(dead, 0)
    wanted = harness.plan(attacks=["noise"]).tasks.keys()
    assert set(harness.executor.cancelled).isdisjoint(wanted)
    harness.to_the_end(alive)
    assert harness.store.keys() >= wanted


def test_cancel_stops_calls_without_another_client(harness: Harness) -> None:
    one, both = harness.plan(), harness.plan(attacks=["noise"])
    first, second = harness.submit(one), harness.submit(both)
    harness.until_busy()
    while all(key in both.tasks for key in harness.executor.calls):
        harness.executor.finish()
        harness.step(2)
    running = set(harness.executor.calls)
    harness.driver.cancel(first)
    assert set(harness.executor.cancelled) == running - both.tasks.keys()
    for key in harness.executor.cancelled:
        del harness.executor.calls[key]
        harness.executor.events.append(Failed(key, "cancelled", "asked for"))
    notices = harness.to_the_end(second)
    assert sorted(n.key for n in notices if n.kind == "done") == sorted(both.tasks)
    assert not [n for n in notices if n.kind in ("retried", "failed", "skipped")]


def test_cancelled_call_is_repeated_for_a_new_client(
    harness: Harness,
) -> None:
    plan = harness.plan()
    first = harness.submit(plan)
    harness.until_busy()
    key = next(iter(harness.executor.calls))
    harness.driver.cancel(first)
    second = harness.submit(plan)
    del harness.executor.calls[key]
    harness.executor.events.append(Failed(key, "cancelled", "asked for"))
    notices = harness.to_the_end(second)
    assert sorted(n.key for n in notices if n.kind == "done") == sorted(plan.tasks)


def test_call_past_its_deadline_gets_a_new_worker_and_is_retried_elsewhere(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ControlledExecutor(), runtime={"least_deadline": 0.2})
    plan = harness.plan(attacks=["pgd"])
    client = harness.submit(plan)
    harness.until_busy()
    # One evaluation on each slot is done at once, so that there is something to compare with.
    for slot in harness.executor.slots:
        harness.executor.finish(harness.executor.on(slot.slot_id)[0])
    harness.step(2)
    stuck = harness.executor.on("slot-0")
    give_up = time.monotonic() + 30
    while not harness.executor.recreated:
        assert time.monotonic() < give_up
        for key in harness.executor.on("slot-1"):
            harness.executor.finish(key)
        harness.step()
    assert harness.executor.recreated == ["slot-0"]
    for key in stuck:
        harness.executor.calls.pop(key, None)
    (retried,) = harness.notices(client, "retried")
    assert retried.key == stuck[0], "only the call that was under way is at fault"
    assert "exceeded its deadline" in retried.message
    assert "slot-0" in retried.message
    notices = harness.to_the_end(client)
    assert sorted(n.key for n in notices if n.kind == "done") == sorted(plan.tasks)
    assert all(call[1] != "slot-0" for call in harness.executor.calls.values())


@pytest.mark.parametrize(("measured_on", "replaced"), [("cpu", True), ("cuda", False)])
def test_first_call_has_the_deadline_measured_on_its_type_of_device(
    tmp_path: Path, measured_on: str, replaced: bool
) -> None:
    harness = Harness(tmp_path, ControlledExecutor(1), runtime={"least_deadline": 0.05})
    plan = harness.plan(models=[toy("a", seed=1)])
    line = {"call": 0.0, "image": 1e-4}
    (model,) = plan.models
    content = {
        "version": COSTS_VERSION,
        "of": {"model": model, "type": measured_on, "size": [24, 32], "micro_batch": 4},
        "rates": {"load": 1.0, "forward": line, "step": line, "scaled": line, "finish": 0.0},
    }
    harness.store.files.write("calibration/a.json", json.dumps(content).encode())
    client = harness.submit(plan)
    harness.until_busy()
    time.sleep(0.2)
    harness.step()
    assert harness.executor.recreated == (["slot-0"] if replaced else [])
    assert bool(harness.notices(client, "retried")) is replaced


def test_switch_cost_follows_the_seconds_of_loads_and_calls(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    harness = Harness(tmp_path, ControlledExecutor(), runtime={"journal": str(journal)})
    harness.to_the_end(harness.submit(harness.plan()))
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    weighed = [event["switch"] for event in events if event["event"] == "decide"]
    assert weighed[0] == SWITCH_COST
    assert weighed[-1] != SWITCH_COST
    assert all(then == now for then, now in replay(journal))


def test_uninterruptible_calls_have_no_deadline(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ControlledExecutor(), runtime={"least_deadline": 0.01})
    harness.executor.interruptible = False
    client = harness.submit(harness.plan(attacks=["pgd"]))
    harness.until_busy()
    for slot in harness.executor.slots:
        harness.executor.finish(harness.executor.on(slot.slot_id)[0])
    harness.step(2)
    time.sleep(0.5)
    harness.step()
    assert harness.executor.recreated == []
    harness.to_the_end(client)


def test_every_client_is_notified_of_its_first_task_and_of_its_own_retries(
    harness: Harness,
) -> None:
    first, second = (
        harness.submit(harness.plan()),
        harness.submit(harness.plan(seed=7, attacks=["noise"])),
    )
    harness.until_busy()
    own = harness.plan().tasks.keys() - harness.plan(seed=7, attacks=["noise"]).tasks.keys()
    while not (running := own & harness.executor.calls.keys()):
        harness.executor.finish()
        harness.step(2)
    key = next(iter(running))
    del harness.executor.calls[key]
    harness.executor.events.append(Failed(key, "infrastructure", "lost"))
    harness.to_the_end(first)
    harness.to_the_end(second)
    assert [len(harness.notices(client, "ready")) for client in (first, second)] == [1, 1]
    assert [n.key for n in harness.notices(first, "retried")] == [key]
    assert harness.notices(second, "retried") == []


def test_reason_of_a_failed_recomputation_reaches_the_client(harness: Harness) -> None:
    alone = {"sources": ["a"], "attacks": ["pgd"]}
    harness.to_the_end(harness.submit(harness.plan(targets=["a"], **alone)))
    plan = harness.plan(targets=["b"], **alone)
    makes = {key for key, task in plan.tasks.items() if task.attack is not None}
    assert makes <= plan.stored
    for key in makes:
        blob = Path(harness.store.location, harness.store.row(key).blob)  # type: ignore[union-attr]
        blob.write_bytes(b"damaged")
    client = harness.submit(plan)
    give_up = time.monotonic() + 30
    while not makes & harness.executor.calls.keys():
        assert time.monotonic() < give_up
        harness.executor.finish(*(harness.executor.calls.keys() - makes))
        harness.step()
    while makes & harness.executor.calls.keys():
        for key in makes & harness.executor.calls.keys():
            del harness.executor.calls[key]
            harness.executor.events.append(Failed(key, "task", "no gradient"))
        harness.step(2)
    notices = harness.to_the_end(client)
    assert {n.key for n in notices if n.kind == "failed" and n.message == "no gradient"} == makes


def test_the_late_result_of_a_call_on_a_lost_slot_is_not_committed_twice(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ControlledExecutor())
    plan = harness.plan()
    client = harness.submit(plan)
    harness.until_busy()
    key = harness.executor.on("slot-0")[0]
    late = harness.executor.calls[key]
    harness.executor.events.append(SlotDown("slot-0", True, "gone"))
    harness.step()
    harness.executor.calls = {k: c for k, c in harness.executor.calls.items() if c[1] != "slot-0"}
    notices = harness.to_the_end(client)
    harness.executor.calls[key] = late
    harness.executor.finish(key)
    harness.step()
    assert [n.key for n in notices].count(key) == 1


def test_slot_going_down_fails_only_the_call_under_way(harness: Harness) -> None:
    plan = harness.plan()
    client = harness.submit(plan)
    harness.until_busy()
    head, *rest = harness.executor.on("slot-0")
    harness.executor.events += [
        Failed(head, "infrastructure", "the worker died"),
        SlotDown("slot-0", False, "the worker died"),
    ]
    for key in (head, *rest):
        del harness.executor.calls[key]
    harness.step()
    harness.executor.events.append(SlotUp(harness.executor.slots[0]))
    notices = harness.to_the_end(client)
    assert [n.key for n in notices if n.kind == "retried"] == [head]
    assert sorted(n.key for n in notices if n.kind == "done") == sorted(plan.tasks)


def test_images_lost_with_a_worker_are_read_from_the_store(harness: Harness) -> None:
    plan = harness.plan()
    client = harness.submit(plan)
    harness.until_busy()
    while not (scored := [k for k in harness.executor.calls if plan.tasks[k].depends_on]):
        harness.executor.finish()
        harness.step(2)
    key = scored[0]
    made = plan.tasks[key].depends_on
    before = harness.executor.calls.pop(key)[3]
    harness.executor.events.append(Failed(key, "infrastructure", "an object was lost"))
    harness.step()
    give_up = time.monotonic() + 30
    while key not in harness.executor.calls:
        assert time.monotonic() < give_up
        harness.executor.finish()
        harness.step()
    assert np.array_equal(harness.executor.calls[key][3], before)
    assert harness.executor.calls[key][3] is not before
    harness.to_the_end(client)
    assert harness.store.row(str(made)) is not None


def test_model_refused_by_all_slots_fails_with_the_reason(harness: Harness) -> None:
    plan = harness.plan()
    bad = next(iter(plan.models))
    host = harness.executor.host

    def refuse(slot_id: str, model: str, served: Served) -> None:
        if model == bad:
            harness.executor.events.append(Refused(slot_id, model, "no such file"))
        else:
            host(slot_id, model, served)

    harness.executor.host = refuse  # type: ignore[method-assign]
    client = harness.submit(plan)
    notices = harness.to_the_end(client)
    needs = {k for k, t in plan.tasks.items() if t.model == bad}
    skipped = {k for k, t in plan.tasks.items() if t.depends_on in needs} | {
        k for k in needs if plan.tasks[k].depends_on in needs
    }
    assert {n.key for n in notices if n.kind == "failed"} == needs - skipped
    assert {n.key for n in notices if n.kind == "skipped"} == skipped
    assert all(
        "could not be loaded: no such file" in n.message for n in notices if n.kind == "failed"
    )
    assert sorted(n.key for n in notices if n.kind == "done") == sorted(
        plan.tasks.keys() - needs - skipped
    )


def test_run_without_slots_ends_after_the_slot_wait(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_supply, "SLOT_WAIT", 0.2)
    plan = harness.plan()
    client = harness.submit(plan)
    harness.until_busy()
    harness.executor.calls.clear()
    harness.executor.events += [
        SlotDown(slot.slot_id, True, "gone") for slot in harness.executor.slots
    ]
    notices = harness.to_the_end(client)
    ended = {n.key for n in notices if n.kind in ("failed", "skipped")}
    assert ended == plan.tasks.keys()
    assert any("no slot was up" in n.message for n in notices)


def test_requested_nodes_are_awaited_longer_and_announced_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_supply, "SLOT_WAIT", 0.0)
    slots, harness.executor.slots, harness.executor.nodes = (
        harness.executor.slots,
        [],
        "GPUs: 8 in all",
    )
    client = harness.submit(harness.plan())
    for _ in range(3):
        harness.step()
        time.sleep(0.01)
    (waits,) = harness.notices(client)
    assert waits.kind == "slot"
    assert "GPUs: 8 in all" in waits.message
    assert "60 minutes" in waits.message
    other = harness.submit(harness.plan(attacks=["noise"]))
    harness.step()
    assert [n.message for n in harness.notices(other)] == [waits.message]
    harness.executor.slots, harness.executor.nodes = slots, ""
    harness.executor.events += [SlotUp(slot) for slot in slots]
    assert not [n for n in harness.to_the_end(client) if n.kind in ("failed", "skipped")]


def test_run_without_requested_nodes_ends_and_names_the_request(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_supply, "NODE_WAIT", 0.1)
    harness.executor.slots, harness.executor.nodes = [], "GPUs: 8 in all"
    notices = harness.to_the_end(harness.submit(harness.plan()))
    assert any("GPUs: 8 in all" in n.message for n in notices if n.kind == "failed")


# -- commits ----------------------------------------------------------------------------------


def refusing(key: str) -> Callable[..., None]:
    """A ``Store.commit`` that fails for a single task."""
    commit = Store.commit

    def refuse(store: Store, task: Task, *arguments: Any) -> None:
        if task.key == key:
            raise OSError("the store refuses")
        commit(store, task, *arguments)

    return refuse


def test_results_of_a_wait_are_written_together_and_notified_in_their_order(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first write ends after the second, which a single writer would never begin."""
    client = harness.submit(harness.plan())
    harness.until_busy()
    first, second = list(harness.executor.calls)[:2]
    written, commit = threading.Event(), Store.commit

    def late(store: Store, task: Task, *arguments: Any) -> None:
        assert task.key == second or written.wait(30)
        commit(store, task, *arguments)
        written.set()

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", late)
        harness.executor.finish(first, second)
        harness.step()
    assert [n.key for n in harness.notices(client, "done")] == [first, second]


def test_result_that_a_bucket_refuses_is_retried_without_the_others_of_its_wait(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "remote", True)
    client = harness.submit(harness.plan())
    harness.until_busy()
    first, second, third = list(harness.executor.calls)[:3]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", refusing(second))
        harness.executor.finish(first, second, third)
        harness.step()
    assert [n.key for n in harness.notices(client, "done")] == [first, third]
    assert [n.key for n in harness.notices(client, "retried")] == [second]
    assert {n.key for n in harness.to_the_end(client) if n.kind == "done"} == harness.store.keys()


# -- a store that fails -----------------------------------------------------------------------


class Flaky:
    """A method of a store whose first ``failures`` calls raise what a bucket raises."""

    def __init__(self, patch: pytest.MonkeyPatch, method: str, failures: int = 1) -> None:
        self._method, self._left = getattr(Store, method), failures
        patch.setattr(Store, method, lambda *arguments: self(*arguments))

    def __call__(self, *arguments: Any) -> Any:
        if self._left:
            self._left -= 1
            raise OSError("the bucket answers 503")
        return self._method(*arguments)


@pytest.mark.parametrize("method", ["shard", "attack_images", "commit_attack", "commit_evaluation"])
def test_task_is_retried_after_a_bucket_failed_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    if method == "attack_images":  # read where AEs are stored and their scores are not
        harness.to_the_end(harness.submit(harness.plan(targets=["a"])))
    plan = harness.plan()
    client = harness.submit(plan)
    monkeypatch.setattr(Store, "remote", True)
    Flaky(monkeypatch, method)
    notices = harness.to_the_end(client)
    assert [n.message for n in notices if n.kind == "retried"] == ["the bucket answers 503"]
    assert not [n for n in notices if n.kind in ("failed", "skipped")]
    assert harness.store.keys() >= plan.tasks.keys()


def test_unreachable_bucket_fails_tasks_and_not_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(tmp_path, ControlledExecutor(), runtime={"attempts": 1})
    client = harness.submit(plan := harness.plan())
    with monkeypatch.context() as patch:
        patch.setattr(Store, "remote", True)
        for method in ("commit_attack", "commit_evaluation", "record_failure"):
            Flaky(patch, method, failures=1000)
        notices = harness.to_the_end(client)
    ended = [n for n in notices if n.kind in ("failed", "skipped")]
    assert {n.key for n in ended} == plan.tasks.keys()
    assert "the bucket answers 503" in {n.message for n in ended}
    again = harness.to_the_end(harness.submit(plan))
    assert {n.key for n in again if n.kind == "done"} == plan.tasks.keys()


def test_results_written_beside_a_failed_one_are_notified_before_the_driver_ends(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = harness.submit(harness.plan())
    harness.until_busy()
    first, second = list(harness.executor.calls)[:2]
    monkeypatch.setattr(Store, "commit", refusing(first))
    harness.executor.finish(first, second)
    with pytest.raises(OSError, match="the store refuses"):
        harness.step()
    assert [n.key for n in harness.notices(client, "done")] == [second]
    assert harness.store.keys() == {second}


@pytest.mark.parametrize("method", ["shard", "commit_evaluation"])
def test_failed_disk_ends_the_driver_with_its_message(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    client = harness.submit(harness.plan())
    Flaky(monkeypatch, method)
    with pytest.raises(OSError, match="the bucket answers 503"):
        harness.to_the_end(client)


def test_byte_budget_is_the_executors_unless_set_by_the_user(tmp_path: Path) -> None:
    for runtime, budget in (({}, 12345), ({"in_flight_mib": 3}, 3 * 2**20)):
        harness = Harness(tmp_path, ControlledExecutor(), runtime=runtime)
        harness.submit(harness.plan())
        harness.until_busy()
        assert harness.driver.status().budget_bytes == budget


def test_status_describes_the_call_of_each_slot(harness: Harness) -> None:
    plan = harness.plan()
    harness.submit(plan)
    harness.until_busy()
    status = harness.driver.status()
    assert {slot.model for slot in status.slots} == {"a", "b"}
    assert [slot.queued for slot in status.slots] == [1, 1]
    assert status.counts["running"] == 4
    assert sum(status.counts.values()) == len(plan.tasks)
    assert all(slot.task and "evaluation on shard" in slot.task for slot in status.slots)
    assert status.clients == 1


def test_replayed_journal_of_a_run_gives_equal_decisions(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    run_toy(tmp_path, runtime={"journal": str(journal)})
    then, now = zip(*replay(journal), strict=True)
    assert then == now
    assert sum(map(len, then)) > 10
    assert any(kind == "host" for decisions in then for kind, *_ in decisions)


def test_replayed_journal_with_changed_events_gives_other_decisions(tmp_path: Path) -> None:
    """The comparison can fail."""
    journal = tmp_path / "journal.jsonl"
    run_toy(tmp_path, runtime={"journal": str(journal)})
    lines = journal.read_text().splitlines()
    lost = next(i for i, line in enumerate(lines) if '"event": "done"' in line)
    journal.write_text("\n".join(lines[:lost] + lines[lost + 1 :]) + "\n")
    assert any(then != now for then, now in replay(journal))


def test_a_journal_without_options_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"event": "decide"}\n')
    with pytest.raises(InputError, match="is not a journal of a driver"):
        list(replay(journal))
