"""Clients that share tasks, leave, come back, and get fair shares."""

from collections.abc import Mapping

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


def test_equal_tasks_of_two_clients_are_computed_once() -> None:
    s = scheduler({"slot": "m"}, window=9)
    work = by_key(attack("make"), score("e", of="make"))
    s.submit("one", work, ())
    assert keys(s.decide(0)) == ["make"]
    s.submit("two", work, ())
    assert s.decide(0) == []
    s.done("make")
    assert keys(s.decide(0)) == ["e"]


def test_client_submits_new_and_known_tasks_again() -> None:
    s = scheduler({"slot": "m"})
    s.submit("client", by_key(score("e")), ())
    s.submit("client", by_key(score("e"), score("f")), ())
    check(s)
    assert keys(s.decide(0)) == ["e", "f"]
    assert s.tasks_of("client") == ["e", "f"]


def test_stored_task_is_not_computed_and_its_dependants_are_ready() -> None:
    s = scheduler({"slot": "m"})
    s.submit("client", by_key(attack("make"), score("e", of="make")), {"make"})
    assert keys(s.decide(0)) == ["e"]


def test_cancel_drops_only_tasks_without_another_client() -> None:
    s = scheduler({"slot": "m"})
    s.submit("one", by_key(score("both"), score("mine")), ())
    s.submit("two", by_key(score("both"), score("theirs")), ())
    assert s.cancel("one") == ["mine"]
    assert sorted(keys(s.decide(0))) == ["both", "theirs"]


def test_unwanted_call_is_listed_once_and_not_retried() -> None:
    s = scheduler({"slot": "m"})
    s.submit("client", by_key(score("kept"), score("lost")), ())
    s.decide(0)
    assert s.cancel("client") == []
    assert s.unwanted() == ["kept", "lost"]
    assert s.unwanted() == []
    s.done("kept")
    assert s.failed("lost", retry=True, now=0) == []
    assert s.state("kept") is s.state("lost") is None
    assert s.decide(100) == []
    check_empty(s)


def test_call_wanted_again_is_not_listed_as_unwanted() -> None:
    s = scheduler({"slot": "m"})
    s.submit("one", by_key(score("e")), ())
    s.decide(0)
    s.cancel("one")
    s.submit("two", by_key(score("e")), ())
    assert s.unwanted() == []
    s.failed("e", retry=True, now=0)
    assert keys(s.decide(10)) == ["e"]


def test_call_dropped_twice_is_listed_once_as_unwanted() -> None:
    s = scheduler({"slot": "m"})
    for client in ("one", "two"):
        s.submit(client, by_key(score("e")), ())
        s.decide(0)
        s.cancel(client)
    assert s.unwanted() == ["e"]


def test_unwanted_call_of_a_lost_slot_is_not_repeated() -> None:
    s = scheduler({"slot": "m"})
    s.submit("client", by_key(attack("make"), score("e", of="make")), ())
    s.decide(0)
    s.cancel("client")
    s.remove_slot("slot")
    check_empty(s)


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_failed_skipped_or_cancelled_task_is_computed_when_submitted_again(how: str) -> None:
    s = scheduler({"slot": "m"}, attempts=1)
    work = by_key(attack("make"), score("e", of="make"))
    s.submit("one", work, ())
    s.decide(0)
    if how == "failed":
        s.failed("make", retry=True, now=0)
    else:
        s.remove_slot("slot")
        add_slot(s, "slot", "m")
        s.cancel("one")
    assert s.decide(0) == []
    s.submit("two", work, ())
    check(s)
    assert keys(s.decide(0)) == ["make"]
    s.done("make")
    assert keys(s.decide(0)) == ["e"]


def test_task_cancelled_in_back_off_does_not_run_early() -> None:
    s = scheduler({"slot": "m"})
    work = by_key(attack("make"), score("e", of="make"))
    s.submit("one", work, {"make"})
    s.decide(0)
    s.failed("e", retry=True, now=0)
    s.cancel("one")
    s.submit("two", work, ())
    assert keys(s.decide(100)) == ["make"]
    assert s.state("e") is State.BLOCKED


def test_ready_task_stays_queued_for_the_remaining_client() -> None:
    s = scheduler()
    for client in ("one", "two"):
        s.submit(client, by_key(score("e"), score("f")), ())
    s.cancel("one")
    check(s)
    add_slot(s, "slot", "m")
    assert keys(s.decide(0)) == ["e", "f"]


def test_forgotten_client_leaves_tasks_of_other_clients() -> None:
    s = scheduler({"slot": "m"})
    s.submit("one", by_key(score("both"), score("mine")), ())
    s.submit("two", by_key(score("both")), ())
    for key in keys(s.decide(0)):
        s.done(key)
    s.forget("one")
    assert s.state("mine") is None
    assert s.state("both") is State.DONE
    s.forget("two")
    check_empty(s)


def test_no_state_remains_of_forgotten_clients() -> None:
    s = scheduler({"slot": "m", "empty": None}, attempts=2)
    work = by_key(
        *(attack(f"make{i}", model) for i, model in enumerate(("m", "n", None))),
        *(score(f"e{i}-{m}", m, of=f"make{i}") for i in range(3) for m in ("m", "n")),
    )
    backwards = dict(reversed(work.items()))
    for client, tasks in (("one", work), ("two", backwards), ("three", work)):
        s.submit(client, tasks, {"make0"} if client == "one" else ())
        for now in (0, 100):
            for decision in s.decide(now):
                if (decision.slot_id, "n") in hosts([decision]):
                    s.hosted(decision.slot_id, "n")
            running = keys_running(s, work)
            if running:
                s.failed(running[0], retry=True, now=now)
                for key in running[1:]:
                    s.done(key)
            check(s)
    for client in ("two", "one", "three"):
        s.cancel(client)
        check(s)
    for key in keys_running(s, work):
        s.done(key)
    check_empty(s)


def keys_running(s: Scheduler, work: Mapping[str, object]) -> list[str]:
    return [key for key in work if s.state(key) is State.RUNNING]


def serve(s: Scheduler, count: int) -> list[str]:
    """The clients (first letters of the keys) that are served one after the other on one slot."""
    served = []
    for _ in range(count):
        ((key, _slot),) = starts(s.decide(0))
        served.append(key[0])
        s.done(key)
    return served


def test_two_clients_get_equal_cost_within_one_task() -> None:
    s = scheduler({"slot": "m"}, window=1)
    s.submit("a", by_key(*(score(f"a{i}", cost=3) for i in range(60))), ())
    s.submit("b", by_key(*(score(f"b{i}", cost=1) for i in range(60))), ())
    given = {"a": 0, "b": 0}
    for client in serve(s, 60):
        given[client] += 3 if client == "a" else 1
        assert abs(given["a"] - given["b"]) <= 3


def test_late_client_gets_half_of_later_calls() -> None:
    s = scheduler({"slot": "m"}, window=1)
    s.submit("a", by_key(*(score(f"a{i}") for i in range(99))), ())
    serve(s, 50)
    s.submit("b", by_key(*(score(f"b{i}") for i in range(99))), ())
    served = serve(s, 40)
    assert all(abs(served[:n].count("a") - n / 2) <= 1 for n in range(40))


def test_idle_client_gets_no_credit() -> None:
    s = scheduler({"slot": "m"}, window=1)
    s.submit("a", by_key(*(score(f"a{i}") for i in range(99))), ())
    s.submit("b", by_key(score("b")), ())
    serve(s, 50)
    s.submit("b", by_key(*(score(f"b{i}") for i in range(99))), ())
    served = serve(s, 40)
    assert all(abs(served[:n].count("a") - n / 2) <= 1 for n in range(40))


def test_new_client_gets_no_credit_from_a_client_of_another_model() -> None:
    s = scheduler({"slot": "m"}, window=1)
    s.submit("a", by_key(*(score(f"a{i}") for i in range(99))), ())
    s.submit("idle", by_key(score("idle", "n")), ())
    serve(s, 50)
    s.submit("b", by_key(*(score(f"b{i}") for i in range(99))), ())
    served = serve(s, 40)
    assert all(abs(served[:n].count("a") - n / 2) <= 1 for n in range(40))


def test_shared_task_charges_each_client_half() -> None:
    s = scheduler({"slot": "m"}, window=1)
    both = [score(f"s{i}", cost=10) for i in range(3)]
    s.submit("a", by_key(*both, *(score(f"a{i}", cost=5) for i in range(9))), ())
    s.submit("b", by_key(*both), ())
    s.submit("c", by_key(*(score(f"c{i}", cost=5) for i in range(9))), ())
    assert "".join(serve(s, 6)) == "scscsc"
