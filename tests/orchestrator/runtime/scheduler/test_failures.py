"""Retries, failures, lost slots and models, and stored results that turn out corrupt."""

import pytest

from segtransfer.runtime.scheduler import Scheduler, State
from tests.orchestrator.runtime.scheduler.consistency import check, check_empty
from tests.orchestrator.runtime.scheduler.toys import (
    add_slot,
    attack,
    by_key,
    hosts,
    keys,
    scheduler,
    score,
    starts,
)


def test_dependants_of_a_failed_task_are_skipped_and_other_tasks_run() -> None:
    s = scheduler({"slot": "m"})
    work = by_key(attack("make"), score("e0", of="make"), score("e1", of="make"), score("clean"))
    s.submit("client", work, ())
    s.decide(0)
    assert s.failed("make", retry=False, now=0) == ["make", "e0", "e1"]
    assert s.state("make") is State.FAILED
    assert s.state("e0") is s.state("e1") is State.SKIPPED
    s.done("clean")
    assert s.decide(0) == []


def test_task_fails_after_its_last_attempt() -> None:
    s = scheduler({"slot": "m"}, attempts=3)
    s.submit("client", by_key(score("e")), ())
    for _ in range(2):
        assert keys(s.decide(100)) == ["e"]
        assert s.failed("e", retry=True, now=0) == []
    assert keys(s.decide(100)) == ["e"]
    assert s.failed("e", retry=True, now=0) == ["e"]
    assert s.state("e") is State.FAILED
    assert s.decide(100) == []


def test_back_off_doubles_with_each_failure() -> None:
    s = scheduler({"slot": "m"}, attempts=9)
    s.submit("client", by_key(score("e")), ())
    now = 0.0
    for wait in (1, 2, 4):
        assert keys(s.decide(now)) == ["e"]
        s.failed("e", retry=True, now=now)
        assert s.decide(now + 0.9 * wait) == []
        now += wait


def test_tasks_own_error_is_not_retried() -> None:
    s = scheduler({"slot": "m"}, attempts=3)
    s.submit("client", by_key(score("e")), ())
    s.decide(0)
    assert s.failed("e", retry=False, now=0) == ["e"]
    assert s.decide(100) == []


@pytest.mark.parametrize("busy", [False, True])
def test_retry_takes_another_slot_with_the_model(busy: bool) -> None:
    s = scheduler({"bad": "m", "good": "m"}, window=1)
    s.submit("client", by_key(score("e")), ())
    assert starts(s.decide(0)) == [("e", "bad")]
    if busy:
        s.submit("client", by_key(score("other")), ())
        assert starts(s.decide(0)) == [("other", "good")]
    s.failed("e", retry=True, now=0)
    if busy:
        assert starts(s.decide(10)) == []
        s.submit("client", by_key(score("third")), ())
        assert starts(s.decide(10)) == [("third", "bad")], "others pass by"
        s.done("other")
    assert starts(s.decide(10)) == [("e", "good")]


@pytest.mark.parametrize("how", ["lost", "given away"])
def test_retry_takes_the_failed_slot_if_no_other_hosts_the_model(how: str) -> None:
    s = scheduler({"bad": "m", "good": "m"}, window=1)
    s.submit("client", by_key(score("e"), score("other")), ())
    assert starts(s.decide(0)) == [("e", "bad"), ("other", "good")]
    s.failed("e", retry=True, now=0)
    assert s.decide(10) == []
    if how == "lost":
        s.done("other")
        s.remove_slot("good")
    else:
        s.done("other")
        s.slots.load("good", "n")
    assert starts(s.decide(10)) == [("e", "bad")]


def test_retry_of_a_shared_task_is_skipped_once_while_only_its_failed_slot_has_room() -> None:
    s = scheduler({"s1": "m", "s2": "m"}, window=1)
    work = by_key(score("e1"), score("e2"), score("e3"))
    s.submit("A", work, ())
    s.submit("B", {"e1": work["e1"]}, ())
    assert keys(s.decide(0)) == ["e1", "e2"]
    s.failed("e1", retry=True, now=0)  # on s1, and s2 is busy
    assert keys(s.decide(10)) == ["e3"]
    s.done("e2")
    assert starts(s.decide(20)) == [("e1", "s2")]
    check(s)


def test_retry_of_a_task_without_a_model_takes_another_slot() -> None:
    s = scheduler({"bad": None, "good": None}, window=1)
    s.submit("client", by_key(attack("noise", None)), ())
    assert starts(s.decide(0)) == [("noise", "bad")]
    s.failed("noise", retry=True, now=0)
    assert starts(s.decide(10)) == [("noise", "good")]
    s.remove_slot("bad")
    s.failed("noise", retry=True, now=10)
    assert starts(s.decide(20)) == [("noise", "good")]


def test_calls_of_a_removed_slot_run_first_elsewhere_with_all_attempts() -> None:
    s = scheduler({"one": "m"}, attempts=1)
    s.submit("client", by_key(*(score(f"e{i}") for i in range(4))), ())
    assert starts(s.decide(0)) == [("e0", "one"), ("e1", "one")]
    s.remove_slot("one")
    assert s.decide(0) == []
    add_slot(s, "two", "m")
    assert starts(s.decide(0)) == [("e0", "two"), ("e1", "two")]


def test_slot_added_twice_is_empty() -> None:
    s = scheduler({"slot": "m"})
    s.submit("client", by_key(score("e")), ())
    s.decide(0)
    add_slot(s, "slot")
    check(s)
    assert hosts(s.decide(0)) == [("slot", "m")]
    assert s.state("e") is State.READY


def test_model_of_a_slot_lost_during_loading_goes_to_another_slot() -> None:
    s = scheduler({"one": None})
    s.submit("client", by_key(score("e")), ())
    assert hosts(s.decide(0)) == [("one", "m")]
    s.remove_slot("one")
    s.hosted("one", "m")
    check(s)
    add_slot(s, "two")
    assert hosts(s.decide(0)) == [("two", "m")]


def test_refused_model_keeps_its_slot_and_gets_no_replicas() -> None:
    s = scheduler({"one": "m", "two": None}, window=1)
    s.submit("client", by_key(*(score(f"e{i}", cost=1000) for i in range(5))), ())
    assert hosts(s.decide(0)) == [("two", "m")]
    s.refused("two", "m")
    assert s.decide(0) == []
    s.done("e0")
    assert starts(s.decide(0)) == [("e1", "one")]


def test_lost_model_fails_its_tasks_and_skips_their_dependants() -> None:
    s = scheduler({"slot": "n"})
    work = by_key(attack("make"), score("e", "n", of="make"), score("clean", "n"))
    s.submit("client", work, ())
    assert s.model_lost("m") == ["make", "e"]
    assert keys(s.decide(0)) == ["clean"]


def test_tasks_without_a_model_can_fail_without_slots() -> None:
    s = scheduler()
    s.submit("client", by_key(attack("noise", None), score("e", "n", of="noise")), ())
    assert s.model_lost(None) == ["noise", "e"]


def test_damaged_attack_is_computed_again_before_its_dependants() -> None:
    s = scheduler({"slot": "m"}, window=1)
    work = by_key(attack("make"), score("e0", of="make"), score("e1", of="make"))
    s.submit("client", work, {"make"})
    first = keys(s.decide(0))
    s.invalidated("make")
    assert keys(s.decide(0)) == ["make"]
    assert s.state("e0") is s.state("e1") is State.BLOCKED
    s.done("make")
    assert keys(s.decide(0)) == first


def test_damage_reported_twice_computes_the_attack_once() -> None:
    s = scheduler({"slot": "m"}, window=4)
    s.submit("client", by_key(attack("make"), score("e0", of="make")), {"make"})
    s.decide(0)
    s.invalidated("make")
    s.invalidated("make")
    assert keys(s.decide(0)) == ["make"]


def _in_state(state: State | None) -> Scheduler:
    """An attack in each state that it can be in, scored by ``e``."""
    s = scheduler({"slot": "m"}, attempts=2)
    work = by_key(attack("make"), score("e", of="make"))
    if state is None:
        return s
    s.submit("client", work, {"make"} if state is State.DONE else ())
    if state in (State.RUNNING, State.BLOCKED, State.FAILED):
        s.decide(0)
    if state in (State.BLOCKED, State.FAILED):
        s.failed("make", retry=state is State.BLOCKED, now=0)
    return s


@pytest.mark.parametrize(
    "state", [None, State.BLOCKED, State.READY, State.RUNNING, State.FAILED, State.DONE]
)
def test_invalidated_task_without_a_result_is_unchanged(state: State | None) -> None:
    s = _in_state(state)
    assert s.state("make") is state
    s.invalidated("make")
    check(s)
    assert s.state("make") is (State.READY if state is State.DONE else state)


def test_evaluation_in_back_off_waits_for_its_damaged_attack() -> None:
    s = scheduler({"slot": "m"})
    s.submit("client", by_key(attack("make"), score("e", of="make")), {"make"})
    assert keys(s.decide(0)) == ["e"]
    s.failed("e", retry=True, now=0)
    s.invalidated("make")
    assert keys(s.decide(100)) == ["make"]
    assert s.state("e") is State.BLOCKED
    s.done("make")
    assert keys(s.decide(100)) == ["e"]


def test_running_evaluation_without_clients_is_dropped_with_its_damaged_attack() -> None:
    s = scheduler({"slot": "m"})
    s.submit("one", by_key(attack("make"), score("e", of="make")), {"make"})
    s.submit("two", by_key(attack("make"), score("f", of="make")), {"make"})
    assert keys(s.decide(0)) == ["e", "f"]
    s.cancel("one")
    s.invalidated("make")
    assert s.state("e") is None
    check(s)
    assert keys(s.decide(0)) == ["make"]


def test_result_after_the_failure_of_its_task_is_ignored() -> None:
    s = scheduler({"slot": "m"}, attempts=1)
    s.submit("client", by_key(attack("make"), score("e", of="make")), ())
    s.decide(0)
    s.failed("make", retry=True, now=0)
    s.done("make")
    assert s.state("make") is State.FAILED
    check(s)


def test_result_during_the_back_off_of_its_task_counts() -> None:
    s = scheduler({"slot": "m"})
    s.submit("client", by_key(score("e")), ())
    s.decide(0)
    s.failed("e", retry=True, now=0)
    s.done("e")
    assert s.decide(100) == []
    assert s.state("e") is State.DONE
    s.forget("client")
    check_empty(s)
