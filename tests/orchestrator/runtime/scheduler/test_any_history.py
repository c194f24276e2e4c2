"""Any history of clients, slots, models and failures: what always holds."""

import copy
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler import FINAL, Host, Scheduler, Slot, State
from tests.orchestrator.runtime.scheduler.consistency import check, check_empty
from tests.orchestrator.runtime.scheduler.toys import attack, by_key, score

MODELS = ("m0", "m1", "m2", "m3")
WINDOW = 2
WIDTHS = {"narrow": 1, "wide": 2}  # of devices


def _pool() -> dict[str, Task]:
    """All tasks that clients may ask for: clean scores, attacks, scores of what they make."""
    tasks = [score(f"clean-{m}", m) for m in MODELS]
    for source in (*MODELS[:3], None):
        for shard in range(2):
            nbytes = 30 if source == "m2" else 10
            made = attack(f"make-{source}-{shard}", source, cost=5.3 + shard, nbytes=nbytes)
            tasks += [made, *(score(f"{made.key}-{m}", m, made.key, 0.7) for m in MODELS)]
    return by_key(*tasks)


POOL = _pool()
SCORES = sorted(key for key, task in POOL.items() if task.kind == "evaluate")
ATTACKS = sorted(key for key, task in POOL.items() if task.kind == "attack")
SCORERS = {a: [k for k, task in POOL.items() if task.depends_on == a] for a in ATTACKS}


class History(RuleBasedStateMachine):
    """A fleet and its clients, as they look from outside."""

    @initialize(
        budget=st.sampled_from([5, 25, 60]),
        switch_cost=st.sampled_from([0.0, 0.05, 2.0, 100.0]),
        attempts=st.sampled_from([1, 3]),
    )
    def begin(self, budget: int, switch_cost: float, attempts: int) -> None:
        self.budget = budget
        self.options: dict[str, Any] = {
            "window": WINDOW,
            "attempts": attempts,
            "in_flight_bytes": budget,
            "switch_cost": switch_cost,
        }
        self.scheduler = Scheduler(**self.options)
        self.told: list[tuple[str, Any, Any]] = []  # what it was told, and what it answered
        self.now = 0.0
        self.slots: dict[str, str | None] = {}  # slot -> model that it hosts
        self.loading: dict[str, str] = {}
        self.running: dict[str, str] = {}
        self.wanted: dict[str, set[str]] = {}  # client -> its keys
        self.committed: set[str] = set()
        self.final: dict[str, State] = {}
        self.made: set[str] = set()  # attacks that began, and whose AEs are in memory
        self.late: set[str] = set()  # calls that go on though they count no more
        self.names = 0

    def tell(self, method: str, *args: Any, **more: Any) -> Any:
        answer = getattr(self.scheduler, method)(*args, **more)
        self.told.append((method, (args, more), copy.copy(answer)))
        return answer

    def known(self) -> list[str]:
        return sorted(set().union(*self.wanted.values()))

    def state(self, key: str) -> State | None:
        return self.scheduler.state(key)

    # -- clients ---------------------------------------------------------------------------

    @rule(scores=st.sets(st.sampled_from(SCORES), min_size=1, max_size=8))
    def client_joins(self, scores: set[str]) -> None:
        self.names += 1
        self.submit(f"client{self.names}", scores)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data(), scores=st.sets(st.sampled_from(SCORES), min_size=1, max_size=3))
    def client_wants_more(self, data: st.DataObject, scores: set[str]) -> None:
        self.submit(data.draw(st.sampled_from(sorted(self.wanted))), scores)

    def submit(self, client: str, scores: set[str]) -> None:
        needed = {POOL[key].depends_on for key in scores} - {None}
        chosen = {key: task for key, task in POOL.items() if key in scores | needed}
        self.wanted[client] = self.wanted.get(client, set()) | set(chosen)
        for key in chosen:
            if self.final.get(key) is not State.DONE:
                self.final.pop(key, None)  # what ended without a result may be tried again
        self.tell("submit", client, chosen, self.committed & chosen.keys())

    @precondition(lambda self: self.wanted)
    @rule(data=st.data(), stop=st.booleans())
    def client_leaves(self, data: st.DataObject, stop: bool) -> None:
        client = data.draw(st.sampled_from(sorted(self.wanted)))
        mine = self.wanted.pop(client)
        others = set(self.known())
        states = {key: self.state(key) for key in mine}
        dropped = self.tell("cancel", client)
        waited = {k for k in mine - others if states[k] in (State.BLOCKED, State.READY)}
        assert set(dropped) == waited
        assert len(dropped) == len(waited)
        self.drop_forgotten()
        if stop:
            for key in self.tell("unwanted"):
                assert key in self.running
                assert key not in others
                del self.running[key]
                assert self.tell("failed", key, retry=True, now=self.now) == []

    @precondition(lambda self: any(self.through()))
    @rule(data=st.data())
    def client_is_through(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.through()))
        del self.wanted[client]
        self.tell("forget", client)
        self.drop_forgotten()

    def through(self) -> list[str]:
        return [c for c, keys in self.wanted.items() if all(self.state(k) in FINAL for k in keys)]

    def drop_forgotten(self) -> None:
        for key in set(self.final) - set(self.known()):
            del self.final[key]
            if key not in self.running:
                assert self.state(key) is None

    # -- slots -----------------------------------------------------------------------------

    @rule(device=st.sampled_from(sorted(WIDTHS)))
    def slot_joins(self, device: str) -> None:
        if len(self.slots) < 4:
            self.names += 1
            self.slots[f"slot{self.names}"] = None
            self.tell("add_slot", Slot(f"slot{self.names}", device, WIDTHS[device]))

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), back=st.booleans())
    def slot_is_lost(self, data: st.DataObject, back: bool) -> None:
        lost = data.draw(st.sampled_from(sorted(self.slots)))
        del self.slots[lost]
        self.loading.pop(lost, None)
        self.running = {k: s for k, s in self.running.items() if s != lost}
        self.tell("remove_slot", lost)
        if back:
            self.slots[lost] = None
            self.tell("add_slot", Slot(lost, "narrow", 1))

    @precondition(lambda self: self.loading)
    @rule(data=st.data())
    def model_is_loaded(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.loading)))
        self.slots[slot] = self.loading.pop(slot)
        self.tell("hosted", slot, self.slots[slot])

    @precondition(lambda self: self.loading)
    @rule(data=st.data())
    def model_is_refused(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.loading)))
        model = self.loading.pop(slot)
        self.tell("refused", slot, model)
        if not self.scheduler.slots.hosts(model):
            self.check_ended(self.tell("model_lost", model))

    # -- calls -----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 100.0]))
    def decide(self, seconds: float) -> None:
        self.now += seconds
        for decision in self.tell("decide", self.now):
            slot = decision.slot_id
            assert slot not in self.loading
            if isinstance(decision, Host):
                assert slot not in self.running.values(), "loads a model beside a call"
                self.slots[slot], self.loading[slot] = None, decision.model
            else:
                self.start(decision.task, slot)
        self.is_work_conserving()

    def start(self, task: Task, slot: str) -> None:
        assert task.key in self.known()
        assert task.key not in self.running, "runs twice at a time"
        assert task.key not in self.final, "runs after its end"
        assert task.model in (None, self.slots[slot])
        if task.depends_on:
            assert self.state(task.depends_on) is State.DONE
            assert task.depends_on in self.committed
        if task.kind == "attack":
            held = sum(POOL[key].nbytes for key in self.made)
            assert held == 0 or held + task.nbytes <= self.budget
            self.made.add(task.key)
        self.running[task.key] = slot

    def is_work_conserving(self) -> None:
        """No slot with room has a task that it may run; no slot idles while a model has none."""
        s = self.scheduler
        ready = [POOL[k] for k in self.known() if self.state(k) is State.READY]
        ready = [t for t in ready if t.kind == "evaluate" or not s._state.in_flight.full()]
        unhosted = {t.model for t in ready if t.model and not s.slots.hosts(t.model)}
        loads = list(self.running.values())
        for slot, hosted in self.slots.items():
            if slot in self.loading or loads.count(slot) >= WINDOW:
                continue
            assert loads.count(slot) or not unhosted
            if slot in s.slots._draining:
                assert unhosted, "drains for nobody"
                continue
            here = [t for t in ready if t.model in (None, hosted)]
            assert all(s._state.retries.failed_on(t.key) == slot for t in here)
            assert all(s.slots.hosted_elsewhere(t.model, slot) for t in here)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def call_ends(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.running))))

    def finish(self, key: str) -> None:
        del self.running[key]
        self.committed.add(key)
        self.tell("done", key)
        assert self.state(key) is (State.DONE if key in self.known() else None)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), retry=st.booleans())
    def call_fails(self, data: st.DataObject, retry: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[key]
        wanted = key in self.known()
        ended = self.tell("failed", key, retry=retry, now=self.now)
        self.check_ended(ended)
        assert retry or not wanted or key in ended

    def check_ended(self, ended: list[str]) -> None:
        assert all(self.state(k) in (State.FAILED, State.SKIPPED) for k in ended)
        assert len(set(ended)) == len(ended)
        assert not set(ended) & self.final.keys()

    @rule(damaged=st.sampled_from(ATTACKS))
    def images_turn_out_damaged(self, damaged: str) -> None:
        if self.state(damaged) is State.DONE:
            self.final.pop(damaged, None)
            self.committed.discard(damaged)
            for key in SCORERS[damaged]:
                if self.running.pop(key, None) is not None:
                    self.late.add(key)
        self.tell("invalidated", damaged)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def call_ends_that_counts_no_more(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.late)))
        self.late.discard(key)
        if self.state(key) in (State.BLOCKED, State.READY):
            self.committed.add(key)
        if self.state(key) is not State.RUNNING:
            self.tell("done", key)

    # -- what always holds -----------------------------------------------------------------

    @invariant()
    def an_end_is_an_end(self) -> None:
        for key in self.known():
            state = self.state(key)
            assert state is not None
            assert self.final.get(key, state) is state, f"{key} ended twice"
            if state in FINAL:
                self.final[key] = state

    @invariant()
    def what_runs_is_known_and_fits_the_window(self) -> None:
        known = [k for k in self.known() if self.state(k) is State.RUNNING]
        assert set(known) == self.running.keys() & set(self.known())
        loads = list(self.running.values())
        assert all(loads.count(slot) <= WINDOW for slot in self.slots)

    @invariant()
    def bytes_are_held_from_an_attack_to_its_last_score(self) -> None:
        for key in list(self.made):
            scores = [self.state(k) for k in SCORERS[key]]
            waits = any(state is not None and state not in FINAL for state in scores)
            state = self.state(key)
            if state is not State.RUNNING and not (state is State.DONE and waits):
                self.made.discard(key)
        assert self.scheduler.held_bytes == sum(POOL[key].nbytes for key in self.made)

    @invariant()
    def all_counts_are_right(self) -> None:
        check(self.scheduler)

    def teardown(self) -> None:
        """Without more trouble all that was asked for ends, and nothing is kept."""
        if not hasattr(self, "scheduler"):
            return
        if not self.slots:
            self.slot_joins("narrow")
        for _ in range(1000):
            self.decide(100.0)
            self.an_end_is_an_end()
            for slot in sorted(self.loading):
                self.slots[slot] = self.loading.pop(slot)
                self.tell("hosted", slot, self.slots[slot])
            if self.running:
                self.finish(next(iter(self.running)))
            self.bytes_are_held_from_an_attack_to_its_last_score()
            if not self.running and all(self.state(key) in FINAL for key in self.known()):
                break
        else:
            raise AssertionError("some tasks never end")
        for client in list(self.wanted):
            assert self.tell("cancel", client) == []
        check_empty(self.scheduler)
        self.the_same_history_gives_the_same_decisions()

    def the_same_history_gives_the_same_decisions(self) -> None:
        again = Scheduler(**self.options)
        for method, (args, more), answer in self.told:
            call: Callable[..., Any] = getattr(again, method)
            assert call(*args, **more) == answer


TestAnyHistory = History.TestCase
TestAnyHistory.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
