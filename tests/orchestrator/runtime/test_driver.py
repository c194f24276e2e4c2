"""The driver between clients, scheduler, executor and store, on an executor that does nothing
until it is told to."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.experiment.task import Task
from segtransfer.runtime import driver as driver_module
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
from segtransfer.runtime.runner import served
from segtransfer.runtime.scheduler import SWITCH_COST, Slot
from segtransfer.runtime.sessions import Notice, Submission, UnknownClientError
from segtransfer.store import Store
from segtransfer.store.measured_costs import COSTS_VERSION
from segtransfer.tasks.data.shards import Shard
from tests.orchestrator.toy_experiments import run_toy, toy, toy_experiment


class Hands:
    """An executor whose slots, loads and calls come and end as a test says."""

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
        """Calls end well, with arrays of zeros."""
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


class Desk:
    """A driver with such an executor, and its clients."""

    def __init__(self, folder: Path, hands: Hands, **options: Any) -> None:
        self.folder, self.hands = folder, hands
        runtime = options.pop("runtime", {})
        experiment = toy_experiment(folder, runtime=runtime)
        self.store = Store(experiment.runtime.store)
        self.driver = Driver(hands, self.store, experiment.runtime, **options)

    def plan(self, **changes: Any) -> Plan:
        plan = make_plan(toy_experiment(self.folder, **changes), self.store)
        for shard in plan.shards.values():
            self.store.put_shard(shard)
        return plan

    def submit(self, plan: Plan) -> str:
        return self.driver.submit(Submission(plan.tasks, served(plan), plan.stored))

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.driver.step(0.0)

    def until_busy(self) -> None:
        """Until every slot hosts a model and has as many calls as it may."""
        while len(self.hands.calls) < 2 * len(self.hands.slots):
            self.step()

    def to_the_end(self, client: str) -> list[Notice]:
        give_up = time.monotonic() + 60
        while (news := self.news(client))[-1:] == [] or news[-1].kind != "finished":
            assert time.monotonic() < give_up
            self.hands.finish()
            self.step()
        return news

    def news(self, client: str, kind: str = "") -> list[Notice]:
        return [n for n in self.driver.events(client, 0) if n.kind == (kind or n.kind)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, Hands())


def test_every_task_is_started_once_and_told_of_once(desk: Desk) -> None:
    plan = desk.plan()
    client = desk.submit(plan)
    news = desk.to_the_end(client)
    assert sorted(desk.hands.started) == sorted(plan.tasks)
    assert sorted(n.key for n in news if n.kind == "done") == sorted(plan.tasks)
    assert [n.kind for n in news if n.kind not in ("slot", "done")] == ["ready", "finished"]
    assert desk.store.keys() == plan.tasks.keys()


def test_what_another_client_had_computed_since_the_plan_is_not_computed_again(desk: Desk) -> None:
    early, late = desk.plan(), desk.plan()
    assert late.stored == frozenset()
    desk.to_the_end(desk.submit(early))
    started = list(desk.hands.started)
    assert [n.kind for n in desk.news(desk.submit(late))] == ["finished"]
    assert desk.hands.started == started


def test_what_is_stored_but_damaged_is_done_again_although_it_was_committed(desk: Desk) -> None:
    plan = desk.plan()
    desk.to_the_end(desk.submit(plan))
    key = next(key for key, task in plan.tasks.items() if task.attack is None)
    stored = frozenset(plan.tasks) - {key}
    again = Submission(plan.tasks, served(plan), stored, damaged=frozenset({key}))
    started = len(desk.hands.started)
    desk.to_the_end(desk.driver.submit(again))
    assert desk.hands.started[started:] == [key]


def test_a_driver_keeps_nothing_of_clients_that_are_through(desk: Desk) -> None:
    client = desk.submit(desk.plan())
    heard = len(desk.to_the_end(client))
    assert desk.driver.events(client, heard) == []
    assert desk.news(client) == [], "what was heard is let go"
    desk.driver.cancel(client)
    state = vars(desk.driver) | vars(desk.driver._shelf)
    kept = ("_tasks", "_shards", "_images")
    assert {name: state[name] for name in kept} == {name: {} for name in kept}
    assert not desk.driver._clients
    assert sum(desk.driver.status().counts.values()) == 0


def test_a_client_that_falls_silent_is_cancelled_and_another_is_served(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Hands(), lease=0.2)
    dead = desk.submit(desk.plan())
    desk.until_busy()
    alive, give_up = desk.submit(desk.plan(attacks=["noise"])), time.monotonic() + 30
    while dead in desk.driver._clients:
        assert time.monotonic() < give_up
        desk.step()
        desk.driver.events(alive, 0)
    with pytest.raises(UnknownClientError):
        desk.driver.events(dead, 0)
    wanted = desk.plan(attacks=["noise"]).tasks.keys()
    assert set(desk.hands.cancelled).isdisjoint(wanted)
    desk.to_the_end(alive)
    assert desk.store.keys() >= wanted


def test_cancelling_stops_the_calls_that_nobody_else_wants(desk: Desk) -> None:
    one, both = desk.plan(), desk.plan(attacks=["noise"])
    first, second = desk.submit(one), desk.submit(both)
    desk.until_busy()
    while all(key in both.tasks for key in desk.hands.calls):
        desk.hands.finish()
        desk.step(2)
    running = set(desk.hands.calls)
    desk.driver.cancel(first)
    assert set(desk.hands.cancelled) == running - both.tasks.keys()
    for key in desk.hands.cancelled:
        del desk.hands.calls[key]
        desk.hands.events.append(Failed(key, "cancelled", "asked for"))
    news = desk.to_the_end(second)
    assert sorted(n.key for n in news if n.kind == "done") == sorted(both.tasks)
    assert not [n for n in news if n.kind in ("retried", "failed", "skipped")]


def test_a_call_that_is_cancelled_while_a_new_client_wants_it_is_made_again(desk: Desk) -> None:
    plan = desk.plan()
    first = desk.submit(plan)
    desk.until_busy()
    key = next(iter(desk.hands.calls))
    desk.driver.cancel(first)
    second = desk.submit(plan)
    del desk.hands.calls[key]
    desk.hands.events.append(Failed(key, "cancelled", "asked for"))
    news = desk.to_the_end(second)
    assert sorted(n.key for n in news if n.kind == "done") == sorted(plan.tasks)


def test_a_call_past_its_deadline_loses_its_worker_and_is_tried_elsewhere(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Hands(), runtime={"least_deadline": 0.2})
    plan = desk.plan(attacks=["pgd"])
    client = desk.submit(plan)
    desk.until_busy()
    # One evaluation on each slot is done at once, so that there is something to compare with.
    for slot in desk.hands.slots:
        desk.hands.finish(desk.hands.on(slot.slot_id)[0])
    desk.step(2)
    stuck = desk.hands.on("slot-0")
    give_up = time.monotonic() + 30
    while not desk.hands.recreated:
        assert time.monotonic() < give_up
        for key in desk.hands.on("slot-1"):
            desk.hands.finish(key)
        desk.step()
    assert desk.hands.recreated == ["slot-0"]
    for key in stuck:
        desk.hands.calls.pop(key, None)
    (retried,) = desk.news(client, "retried")
    assert retried.key == stuck[0], "only the call that was under way is at fault"
    assert "past its deadline" in retried.message
    assert "slot-0" in retried.message
    news = desk.to_the_end(client)
    assert sorted(n.key for n in news if n.kind == "done") == sorted(plan.tasks)
    assert all(call[1] != "slot-0" for call in desk.hands.calls.values())


@pytest.mark.parametrize(("measured_on", "given_up"), [("cpu", True), ("cuda", False)])
def test_the_first_call_of_all_is_held_to_what_was_measured_on_its_type_of_device(
    tmp_path: Path, measured_on: str, given_up: bool
) -> None:
    desk = Desk(tmp_path, Hands(1), runtime={"least_deadline": 0.05})
    plan = desk.plan(models=[toy("a", seed=1)])
    line = {"call": 0.0, "image": 1e-4}
    (model,) = plan.models
    content = {
        "version": COSTS_VERSION,
        "of": {"model": model, "type": measured_on, "size": [24, 32], "micro_batch": 4},
        "rates": {"load": 1.0, "forward": line, "step": line, "scaled": line, "finish": 0.0},
    }
    desk.store.files.write("calibration/a.json", json.dumps(content).encode())
    client = desk.submit(plan)
    desk.until_busy()
    time.sleep(0.2)
    desk.step()
    assert desk.hands.recreated == (["slot-0"] if given_up else [])
    assert bool(desk.news(client, "retried")) is given_up


def test_a_change_of_models_is_weighed_by_what_loads_and_calls_took(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    desk = Desk(tmp_path, Hands(), runtime={"journal": str(journal)})
    desk.to_the_end(desk.submit(desk.plan()))
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    weighed = [event["switch"] for event in events if event["event"] == "decide"]
    assert weighed[0] == SWITCH_COST
    assert weighed[-1] != SWITCH_COST
    assert all(then == now for then, now in replay(journal))


def test_calls_that_cannot_be_interrupted_have_no_deadline(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Hands(), runtime={"least_deadline": 0.01})
    desk.hands.interruptible = False
    client = desk.submit(desk.plan(attacks=["pgd"]))
    desk.until_busy()
    for slot in desk.hands.slots:
        desk.hands.finish(desk.hands.on(slot.slot_id)[0])
    desk.step(2)
    time.sleep(0.5)
    desk.step()
    assert desk.hands.recreated == []
    desk.to_the_end(client)


def test_every_client_hears_when_its_own_work_begins_and_of_its_own_retries(desk: Desk) -> None:
    first, second = desk.submit(desk.plan()), desk.submit(desk.plan(seed=7, attacks=["noise"]))
    desk.until_busy()
    own = desk.plan().tasks.keys() - desk.plan(seed=7, attacks=["noise"]).tasks.keys()
    while not (running := own & desk.hands.calls.keys()):
        desk.hands.finish()
        desk.step(2)
    key = next(iter(running))
    del desk.hands.calls[key]
    desk.hands.events.append(Failed(key, "infrastructure", "lost"))
    desk.to_the_end(first)
    desk.to_the_end(second)
    assert [len(desk.news(client, "ready")) for client in (first, second)] == [1, 1]
    assert [n.key for n in desk.news(first, "retried")] == [key]
    assert desk.news(second, "retried") == []


def test_why_damaged_images_could_not_be_made_again_reaches_the_client(desk: Desk) -> None:
    alone = {"sources": ["a"], "attacks": ["pgd"]}
    desk.to_the_end(desk.submit(desk.plan(targets=["a"], **alone)))
    plan = desk.plan(targets=["b"], **alone)
    makes = {key for key, task in plan.tasks.items() if task.attack is not None}
    assert makes <= plan.stored
    for key in makes:
        blob = Path(desk.store.location, desk.store.row(key).blob)  # type: ignore[union-attr]
        blob.write_bytes(b"damaged")
    client = desk.submit(plan)
    give_up = time.monotonic() + 30
    while not makes & desk.hands.calls.keys():
        assert time.monotonic() < give_up
        desk.hands.finish(*(desk.hands.calls.keys() - makes))
        desk.step()
    while makes & desk.hands.calls.keys():
        for key in makes & desk.hands.calls.keys():
            del desk.hands.calls[key]
            desk.hands.events.append(Failed(key, "task", "no gradient"))
        desk.step(2)
    news = desk.to_the_end(client)
    assert {n.key for n in news if n.kind == "failed" and n.message == "no gradient"} == makes


def test_the_result_of_a_call_that_was_given_up_is_not_taken_twice(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Hands())
    plan = desk.plan()
    client = desk.submit(plan)
    desk.until_busy()
    key = desk.hands.on("slot-0")[0]
    late = desk.hands.calls[key]
    desk.hands.events.append(SlotDown("slot-0", True, "gone"))
    desk.step()
    desk.hands.calls = {k: c for k, c in desk.hands.calls.items() if c[1] != "slot-0"}
    news = desk.to_the_end(client)
    desk.hands.calls[key] = late
    desk.hands.finish(key)
    desk.step()
    assert [n.key for n in news].count(key) == 1


def test_a_slot_that_goes_takes_only_what_it_was_doing(desk: Desk) -> None:
    plan = desk.plan()
    client = desk.submit(plan)
    desk.until_busy()
    head, *rest = desk.hands.on("slot-0")
    desk.hands.events += [
        Failed(head, "infrastructure", "the worker died"),
        SlotDown("slot-0", False, "the worker died"),
    ]
    for key in (head, *rest):
        del desk.hands.calls[key]
    desk.step()
    desk.hands.events.append(SlotUp(desk.hands.slots[0]))
    news = desk.to_the_end(client)
    assert [n.key for n in news if n.kind == "retried"] == [head]
    assert sorted(n.key for n in news if n.kind == "done") == sorted(plan.tasks)


def test_images_that_went_with_a_worker_are_taken_from_the_store(desk: Desk) -> None:
    plan = desk.plan()
    client = desk.submit(plan)
    desk.until_busy()
    while not (scored := [k for k in desk.hands.calls if plan.tasks[k].depends_on]):
        desk.hands.finish()
        desk.step(2)
    key = scored[0]
    made = plan.tasks[key].depends_on
    before = desk.hands.calls.pop(key)[3]
    desk.hands.events.append(Failed(key, "infrastructure", "an object was lost"))
    desk.step()
    give_up = time.monotonic() + 30
    while key not in desk.hands.calls:
        assert time.monotonic() < give_up
        desk.hands.finish()
        desk.step()
    assert np.array_equal(desk.hands.calls[key][3], before)
    assert desk.hands.calls[key][3] is not before
    desk.to_the_end(client)
    assert desk.store.row(str(made)) is not None


def test_a_model_that_no_slot_can_load_fails_with_the_reason(desk: Desk) -> None:
    plan = desk.plan()
    bad = next(iter(plan.models))
    host = desk.hands.host

    def refuse(slot_id: str, model: str, served: Served) -> None:
        if model == bad:
            desk.hands.events.append(Refused(slot_id, model, "no such file"))
        else:
            host(slot_id, model, served)

    desk.hands.host = refuse  # type: ignore[method-assign]
    client = desk.submit(plan)
    news = desk.to_the_end(client)
    needs = {k for k, t in plan.tasks.items() if t.model == bad}
    skipped = {k for k, t in plan.tasks.items() if t.depends_on in needs} | {
        k for k in needs if plan.tasks[k].depends_on in needs
    }
    assert {n.key for n in news if n.kind == "failed"} == needs - skipped
    assert {n.key for n in news if n.kind == "skipped"} == skipped
    assert all("could not be loaded: no such file" in n.message for n in news if n.kind == "failed")
    assert sorted(n.key for n in news if n.kind == "done") == sorted(
        plan.tasks.keys() - needs - skipped
    )


def test_without_any_slot_left_the_run_ends_after_a_while(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "WITHOUT_SLOTS", 0.2)
    plan = desk.plan()
    client = desk.submit(plan)
    desk.until_busy()
    desk.hands.calls.clear()
    desk.hands.events += [SlotDown(slot.slot_id, True, "gone") for slot in desk.hands.slots]
    news = desk.to_the_end(client)
    ended = {n.key for n in news if n.kind in ("failed", "skipped")}
    assert ended == plan.tasks.keys()
    assert any("no slot was left" in n.message for n in news)


def test_nodes_that_were_asked_for_are_waited_for_longer_and_that_is_told_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "WITHOUT_SLOTS", 0.0)
    slots, desk.hands.slots, desk.hands.nodes = desk.hands.slots, [], "GPUs: 8 in all"
    client = desk.submit(desk.plan())
    for _ in range(3):
        desk.step()
        time.sleep(0.01)
    (waits,) = desk.news(client)
    assert waits.kind == "slot"
    assert "GPUs: 8 in all" in waits.message
    assert "60 minutes" in waits.message
    other = desk.submit(desk.plan(attacks=["noise"]))
    desk.step()
    assert [n.message for n in desk.news(other)] == [waits.message]
    desk.hands.slots, desk.hands.nodes = slots, ""
    desk.hands.events += [SlotUp(slot) for slot in slots]
    assert not [n for n in desk.to_the_end(client) if n.kind in ("failed", "skipped")]


def test_nodes_that_never_come_end_the_run_with_what_was_asked_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "WITHOUT_NODES", 0.1)
    desk.hands.slots, desk.hands.nodes = [], "GPUs: 8 in all"
    news = desk.to_the_end(desk.submit(desk.plan()))
    assert any("GPUs: 8 in all" in n.message for n in news if n.kind == "failed")


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
def test_a_task_for_which_a_bucket_failed_once_is_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    if method == "attack_images":  # read where AEs are stored and their scores are not
        desk.to_the_end(desk.submit(desk.plan(targets=["a"])))
    plan = desk.plan()
    client = desk.submit(plan)
    monkeypatch.setattr(Store, "remote", True)
    Flaky(monkeypatch, method)
    news = desk.to_the_end(client)
    assert [n.message for n in news if n.kind == "retried"] == ["the bucket answers 503"]
    assert not [n for n in news if n.kind in ("failed", "skipped")]
    assert desk.store.keys() >= plan.tasks.keys()


def test_a_bucket_that_stays_away_fails_its_tasks_and_leaves_the_driver_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, Hands(), runtime={"attempts": 1})
    client = desk.submit(plan := desk.plan())
    with monkeypatch.context() as patch:
        patch.setattr(Store, "remote", True)
        for method in ("commit_attack", "commit_evaluation", "record_failure"):
            Flaky(patch, method, failures=1000)
        news = desk.to_the_end(client)
    ended = [n for n in news if n.kind in ("failed", "skipped")]
    assert {n.key for n in ended} == plan.tasks.keys()
    assert "the bucket answers 503" in {n.message for n in ended}
    again = desk.to_the_end(desk.submit(plan))
    assert {n.key for n in again if n.kind == "done"} == plan.tasks.keys()


@pytest.mark.parametrize("method", ["shard", "commit_evaluation"])
def test_a_disk_that_fails_ends_the_driver_with_its_sentence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    client = desk.submit(desk.plan())
    Flaky(monkeypatch, method)
    with pytest.raises(OSError, match="the bucket answers 503"):
        desk.to_the_end(client)


def test_the_byte_budget_is_what_the_executor_has_unless_the_user_says(tmp_path: Path) -> None:
    for runtime, budget in (({}, 12345), ({"in_flight_mib": 3}, 3 * 2**20)):
        desk = Desk(tmp_path, Hands(), runtime=runtime)
        desk.submit(desk.plan())
        desk.until_busy()
        assert desk.driver.status().budget_bytes == budget


def test_status_says_what_each_slot_does(desk: Desk) -> None:
    plan = desk.plan()
    desk.submit(plan)
    desk.until_busy()
    status = desk.driver.status()
    assert {slot.model for slot in status.slots} == {"a", "b"}
    assert [slot.queued for slot in status.slots] == [1, 1]
    assert status.counts["running"] == 4
    assert sum(status.counts.values()) == len(plan.tasks)
    assert all(slot.task and "scores on shard" in slot.task for slot in status.slots)
    assert status.clients == 1


def test_the_journal_of_a_run_leads_to_the_same_decisions_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    run_toy(tmp_path, runtime={"journal": str(journal)})
    then, now = zip(*replay(journal), strict=True)
    assert then == now
    assert sum(map(len, then)) > 10
    assert any(kind == "host" for decisions in then for kind, *_ in decisions)


def test_a_journal_of_other_events_leads_to_other_decisions(tmp_path: Path) -> None:
    """The comparison can fail."""
    journal = tmp_path / "journal.jsonl"
    run_toy(tmp_path, runtime={"journal": str(journal)})
    lines = journal.read_text().splitlines()
    lost = next(i for i, line in enumerate(lines) if '"event": "done"' in line)
    journal.write_text("\n".join(lines[:lost] + lines[lost + 1 :]) + "\n")
    assert any(then != now for then, now in replay(journal))
