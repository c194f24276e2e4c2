"""The scheduler decides purely: unit cases, and any history of events."""

from collections.abc import Iterable

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.plan import Task
from orchestrator.scheduler import FINAL, Assignment, Scheduler, Slot, State
from tasks.attacks.spec import AttackSpec

PGD = AttackSpec.model_validate("pgd")


def attack(key: str, model: str | None = "m", cost: float = 10.0, nbytes: int = 10) -> Task:
    return Task(key, model, "shard", cost, nbytes, attack=PGD)


def score(key: str, model: str = "m", of: str | None = None, cost: float = 1.0) -> Task:
    return Task(key, model, "shard", cost, 0, depends_on=of)


def by_key(*tasks: Task) -> dict[str, Task]:
    return {task.key: task for task in tasks}


def scheduler(
    *slots: tuple[str, str], window: int = 2, attempts: int = 3, budget: int = 10**6
) -> Scheduler:
    made = Scheduler(window=window, attempts=attempts, in_flight_bytes=budget)
    for slot_id, models in slots:
        made.add_slot(Slot(slot_id, frozenset(models.split())))
    return made


def pairs(assignments: Iterable[Assignment]) -> list[tuple[str, str]]:
    return [(a.task.key, a.slot_id) for a in assignments]


def keys(assignments: Iterable[Assignment]) -> list[str]:
    return [a.task.key for a in assignments]


def test_an_evaluation_goes_before_an_attack_on_the_same_slot() -> None:
    s = scheduler(("slot", "m"), window=1)
    s.submit("client", by_key(attack("make"), score("clean")), ())
    assert keys(s.decide()) == ["clean"]
    s.done("clean")
    assert keys(s.decide()) == ["make"]


def test_no_slot_ever_has_more_calls_than_the_window() -> None:
    s = scheduler(("one", "m"), ("two", "m"), window=2)
    s.submit("client", by_key(*(score(f"e{i}") for i in range(9))), ())
    slots = [slot for _, slot in pairs(s.decide())]
    assert sorted(slots) == ["one", "one", "two", "two"]
    assert s.decide() == []
    s.done("e0")
    assert len(s.decide()) == 1


def test_the_byte_budget_holds_attacks_back_until_what_was_made_is_scored() -> None:
    s = scheduler(("slot", "m"), window=4, budget=20)
    work = [attack(f"make{i}") for i in range(4)] + [
        score(f"e{i}", of=f"make{i}") for i in range(4)
    ]
    s.submit("client", by_key(*work), ())
    assert keys(s.decide()) == ["make0", "make1"]
    s.done("make0")
    assert keys(s.decide()) == ["e0"]
    s.done("e0")
    assert keys(s.decide()) == ["make2"]


def test_one_attack_larger_than_the_whole_budget_still_runs() -> None:
    s = scheduler(("slot", "m"), budget=1)
    s.submit("client", by_key(attack("make", nbytes=1000), score("e", of="make")), ())
    assert keys(s.decide()) == ["make"]


@pytest.mark.parametrize("how", ["slot lost", "failed", "cancelled", "damaged"])
def test_a_full_budget_never_deadlocks(how: str) -> None:
    s = scheduler(("slot", "m"), window=1, budget=10)
    s.submit("client", by_key(attack("make"), score("e", of="make")), ())
    s.submit("other", by_key(attack("make2"), score("e2", of="make2")), ())
    assert keys(s.decide()) == ["make"]
    if how == "slot lost":
        s.remove_slot("slot")
        s.add_slot(Slot("slot", frozenset({"m"})))
        assert keys(s.decide()) == ["make"]
    elif how == "failed":
        s.failed("make", retry=True)
        assert keys(s.decide()) == ["make"]
    elif how == "cancelled":
        s.done("make")
        s.cancel("client")
        assert keys(s.decide()) == ["make2"]
    else:
        s.done("make")
        assert keys(s.decide()) == ["e"]
        s.invalidated("make")
        assert len(s.decide()) == 1


def test_the_least_loaded_replica_is_served_first() -> None:
    s = scheduler(("one", "m"), window=3)
    s.submit("client", by_key(score("e0")), ())
    s.decide()
    s.add_slot(Slot("two", frozenset({"m"})))
    s.submit("client", by_key(score("e1")), ())
    assert pairs(s.decide()) == [("e1", "two")]


def test_attacks_of_the_model_with_most_work_left_go_first_on_a_shared_slot() -> None:
    s = scheduler(("slot", "light heavy"), window=1)
    work = [attack(f"light{i}", "light", cost=10) for i in range(2)]
    work += [attack(f"heavy{i}", "heavy", cost=15) for i in range(2)]
    s.submit("client", by_key(*work), ())
    order = []
    for _ in work:
        (assignment,) = s.decide()
        order.append(assignment.task.model)
        s.done(assignment.task.key)
    assert order == ["heavy", "light", "heavy", "light"]  # 30:20, 15:20, 15:10, 0:10


def test_an_evaluation_waits_for_the_attack_it_scores() -> None:
    s = scheduler(("source", "m"), ("target", "n"))
    s.submit("client", by_key(attack("make"), score("e", "n", of="make")), ())
    assert pairs(s.decide()) == [("make", "source")]
    assert s.state("e") is State.BLOCKED
    s.done("make")
    assert pairs(s.decide()) == [("e", "target")]


def test_what_depends_on_a_failed_task_is_skipped_and_the_rest_goes_on() -> None:
    s = scheduler(("slot", "m"))
    work = by_key(attack("make"), score("e0", of="make"), score("e1", of="make"), score("clean"))
    s.submit("client", work, ())
    s.decide()
    assert s.failed("make", retry=False) == ["make", "e0", "e1"]
    assert s.state("make") is State.FAILED
    assert s.state("e0") is s.state("e1") is State.SKIPPED
    s.done("clean")
    assert s.decide() == []


def test_a_task_is_tried_as_often_as_attempts_say_and_then_has_failed() -> None:
    s = scheduler(("slot", "m"), attempts=3)
    s.submit("client", by_key(score("e")), ())
    for _ in range(2):
        assert keys(s.decide()) == ["e"]
        assert s.failed("e", retry=True) == []
    assert keys(s.decide()) == ["e"]
    assert s.failed("e", retry=True) == ["e"]
    assert s.state("e") is State.FAILED
    assert s.decide() == []


def test_the_tasks_own_error_is_never_tried_again() -> None:
    s = scheduler(("slot", "m"), attempts=3)
    s.submit("client", by_key(score("e")), ())
    s.decide()
    assert s.failed("e", retry=False) == ["e"]
    assert s.decide() == []


def test_cancelling_drops_only_what_nobody_else_wants() -> None:
    s = scheduler(("slot", "m"))
    s.submit("one", by_key(score("both"), score("mine")), ())
    s.submit("two", by_key(score("both"), score("theirs")), ())
    assert s.cancel("one") == ["mine"]
    assert sorted(keys(s.decide())) == ["both", "theirs"]


def test_a_cancelled_call_in_flight_is_kept_but_not_tried_again() -> None:
    s = scheduler(("slot", "m"))
    s.submit("client", by_key(score("kept"), score("lost")), ())
    s.decide()
    assert s.cancel("client") == []
    s.done("kept")
    s.failed("lost", retry=True)
    assert s.state("kept") is State.DONE
    assert s.state("lost") is State.CANCELLED
    assert s.decide() == []


def test_a_cancelled_task_that_is_asked_for_again_is_computed() -> None:
    s = scheduler(("slot", "m"))
    work = by_key(attack("make"), score("e", of="make"))
    s.submit("one", work, ())
    s.cancel("one")
    assert s.decide() == []
    s.submit("two", work, ())
    assert keys(s.decide()) == ["make"]
    s.done("make")
    assert keys(s.decide()) == ["e"]


def test_equal_tasks_of_two_clients_are_computed_once() -> None:
    s = scheduler(("slot", "m"), window=9)
    work = by_key(attack("make"), score("e", of="make"))
    s.submit("one", work, ())
    assert keys(s.decide()) == ["make"]
    s.submit("two", work, ())
    assert s.decide() == []
    assert s.clients_of("make") == {"one", "two"}
    s.done("make")
    assert keys(s.decide()) == ["e"]


def test_a_stored_task_is_not_computed_and_wakes_what_depends_on_it() -> None:
    s = scheduler(("slot", "m"))
    s.submit("client", by_key(attack("make"), score("e", of="make")), {"make"})
    assert keys(s.decide()) == ["e"]


def test_what_ran_on_a_removed_slot_runs_elsewhere_without_a_mark_against_it() -> None:
    s = scheduler(("one", "m"), attempts=1)
    s.submit("client", by_key(score("e")), ())
    assert pairs(s.decide()) == [("e", "one")]
    s.remove_slot("one")
    assert s.decide() == []
    s.add_slot(Slot("two", frozenset({"m"})))
    assert pairs(s.decide()) == [("e", "two")]


def test_a_damaged_attack_is_made_again_before_what_depends_on_it() -> None:
    s = scheduler(("slot", "m"), window=1)
    work = by_key(attack("make"), score("e0", of="make"), score("e1", of="make"))
    s.submit("client", work, {"make"})
    (first,) = s.decide()
    s.invalidated("make")
    assert keys(s.decide()) == ["make"]
    assert s.state("e0") is s.state("e1") is State.BLOCKED
    s.done("make")
    assert keys(s.decide()) == [first.task.key]


def test_a_damage_reported_twice_makes_the_attack_once() -> None:
    s = scheduler(("slot", "m"), window=4)
    s.submit("client", by_key(attack("make"), score("e0", of="make")), {"make"})
    s.decide()
    s.invalidated("make")
    s.invalidated("make")
    assert keys(s.decide()) == ["make"]


def test_a_task_without_a_source_runs_on_any_slot() -> None:
    s = scheduler(("one", "m"), ("two", "n"), window=1)
    s.submit("client", by_key(*(attack(f"noise{i}", None) for i in range(3))), ())
    assert sorted(slot for _, slot in pairs(s.decide())) == ["one", "two"]


def test_a_lost_model_fails_its_own_tasks_and_skips_what_depends_on_them() -> None:
    s = scheduler(("slot", "n"))
    work = by_key(attack("make"), score("e", "n", of="make"), score("clean", "n"))
    s.submit("client", work, ())
    assert s.model_lost("m") == ["make", "e"]
    assert keys(s.decide()) == ["clean"]


MODELS = ("m0", "m1", "m2")


def _pool() -> dict[str, Task]:
    """All tasks that clients may ask for: clean scores, attacks, scores of what they make."""
    tasks = [score(f"clean-{m}", m) for m in MODELS]
    for source in (*MODELS, None):
        for shard in range(2):
            made = attack(f"make-{source}-{shard}", source, cost=5.0 + shard, nbytes=10)
            tasks += [made, *(score(f"{made.key}-{m}", m, of=made.key) for m in MODELS)]
    return by_key(*tasks)


POOL = _pool()
SCORES = sorted(key for key, task in POOL.items() if task.kind == "evaluate")


class History(RuleBasedStateMachine):
    """Any joins, losses, failures, cancellations and damage, seen from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.window, self.budget = 2, 25
        self.scheduler = scheduler(window=self.window, attempts=2, budget=self.budget)
        self.slots: dict[str, frozenset[str]] = {}
        self.running: dict[str, str] = {}
        self.wanted: dict[str, set[str]] = {}  # client -> its keys
        self.committed: set[str] = set()
        self.final: dict[str, State] = {}
        self.held: set[str] = set()
        self.names = 0

    def known(self) -> list[str]:
        return sorted(set().union(*self.wanted.values()))

    def dependants(self, key: str) -> list[str]:
        return [k for k in self.known() if POOL[k].depends_on == key]

    @rule(scores=st.sets(st.sampled_from(SCORES), min_size=1, max_size=6))
    def client_joins(self, scores: set[str]) -> None:
        self.names += 1
        client = f"client{self.names}"
        needed = {POOL[key].depends_on for key in scores} - {None}
        chosen = {key: task for key, task in POOL.items() if key in scores | needed}
        self.wanted[client] = set(chosen)
        for key in chosen:
            if self.final.get(key) is not State.DONE:
                self.final.pop(key, None)  # what ended without a result may be tried again
        self.scheduler.submit(client, chosen, self.committed & chosen.keys())

    @rule(models=st.sets(st.sampled_from(MODELS), min_size=1))
    def slot_joins(self, models: set[str]) -> None:
        if len(self.slots) < 4:
            self.names += 1
            self.slots[f"slot{self.names}"] = frozenset(models)
            self.scheduler.add_slot(Slot(f"slot{self.names}", frozenset(models)))

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def slot_is_lost(self, data: st.DataObject) -> None:
        lost = data.draw(st.sampled_from(sorted(self.slots)))
        del self.slots[lost]
        self.running = {k: s for k, s in self.running.items() if s != lost}
        self.scheduler.remove_slot(lost)

    @rule()
    def decide(self) -> None:
        for assignment in self.scheduler.decide():
            task = assignment.task
            hosted = self.slots[assignment.slot_id]
            assert task.key not in self.running, "runs twice at a time"
            assert task.key not in self.final, "runs after its end"
            assert task.model is None or task.model in hosted
            if task.depends_on:
                assert self.scheduler.state(task.depends_on) is State.DONE
                assert task.depends_on in self.committed
            self.running[task.key] = assignment.slot_id
            if task.kind == "attack":
                self.held.add(task.key)
        self.is_work_conserving()

    def is_work_conserving(self) -> None:
        """No slot with room has a task that it may run, but for attacks over the budget."""
        self.forget_scored()
        over = len(self.held) * 10 >= self.budget
        ready = [POOL[k] for k in self.known() if self.scheduler.state(k) is State.READY]
        for slot, hosted in self.slots.items():
            if list(self.running.values()).count(slot) < self.window:
                here = [t for t in ready if t.model is None or t.model in hosted]
                assert not [t.key for t in here if t.kind == "evaluate" or not over]

    def forget_scored(self) -> None:
        for key in list(self.held):
            state = self.scheduler.state(key)
            scored = all(self.scheduler.state(k) in FINAL for k in self.dependants(key))
            if state in (State.READY, State.BLOCKED) or (state in FINAL and scored):
                self.held.discard(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def call_ends(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[key]
        self.committed.add(key)
        self.scheduler.done(key)
        assert self.scheduler.state(key) is State.DONE

    @precondition(lambda self: self.running)
    @rule(data=st.data(), retry=st.booleans())
    def call_fails(self, data: st.DataObject, retry: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[key]
        ended = self.scheduler.failed(key, retry=retry)
        assert all(self.scheduler.state(k) in (State.FAILED, State.SKIPPED) for k in ended)
        assert len(set(ended)) == len(ended)
        assert not set(ended) & self.final.keys()
        assert retry or key in ended

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(sorted(self.wanted)))
        others = [c for c in self.wanted if c != client]
        dropped = self.scheduler.cancel(client)
        for key in dropped:
            assert key in self.wanted[client]
            assert key not in self.running
            assert not [c for c in others if c in self.scheduler.clients_of(key)]

    @precondition(lambda self: any(POOL[k].depends_on for k in self.running))
    @rule(data=st.data())
    def images_turn_out_damaged(self, data: st.DataObject) -> None:
        scoring = sorted(k for k in self.running if POOL[k].depends_on)
        damaged = POOL[data.draw(st.sampled_from(scoring))].depends_on
        assert damaged is not None
        for key in self.dependants(damaged):
            self.running.pop(key, None)
        self.committed.discard(damaged)
        self.final.pop(damaged, None)
        self.scheduler.invalidated(damaged)

    @rule(model=st.sampled_from(MODELS))
    def model_is_lost(self, model: str) -> None:
        if not any(model in hosted for hosted in self.slots.values()):
            ended = self.scheduler.model_lost(model)
            assert not set(ended) & self.final.keys()
            assert len(set(ended)) == len(ended)

    @invariant()
    def an_end_is_an_end(self) -> None:
        for key in self.known():
            state = self.scheduler.state(key)
            assert self.final.get(key, state) is state, f"{key} ended twice"
            if state in FINAL:
                self.final[key] = state
        self.forget_scored()

    @invariant()
    def what_runs_is_known_and_fits_the_window(self) -> None:
        assert {k for k in self.known() if self.scheduler.state(k) is State.RUNNING} == (
            self.running.keys()
        )
        loads = [list(self.running.values()).count(slot) for slot in self.slots]
        assert all(load <= self.window for load in loads)

    def teardown(self) -> None:
        """With every model hosted and no more trouble, all that was asked for ends."""
        self.scheduler.add_slot(Slot("last", frozenset(MODELS)))
        self.slots["last"] = frozenset(MODELS)
        self.decide()
        while self.running:
            key = next(iter(self.running))
            del self.running[key]
            self.committed.add(key)
            self.scheduler.done(key)
            self.an_end_is_an_end()
            self.decide()
        assert all(self.scheduler.state(key) in FINAL for key in self.known())


TestAnyHistory = History.TestCase
TestAnyHistory.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
