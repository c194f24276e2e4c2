"""What goes first: windows, kinds, lengths, replicas, and the byte budget."""

import pytest

from segtransfer.runtime.scheduler import State
from tests.orchestrator.runtime.scheduler.toys import (
    Fleet,
    add_slot,
    attack,
    by_key,
    hosts,
    keys,
    scheduler,
    score,
    starts,
)


def test_evaluation_goes_before_attack_on_a_slot() -> None:
    s = scheduler({"slot": "m"}, window=1)
    s.submit("client", by_key(attack("make"), score("clean")), ())
    assert keys(s.decide(0)) == ["clean"]
    s.done("clean")
    assert keys(s.decide(0)) == ["make"]


def test_calls_of_a_slot_stay_within_the_window() -> None:
    s = scheduler({"one": "m", "two": "m"}, window=2)
    s.submit("client", by_key(*(score(f"e{i}") for i in range(9))), ())
    assert sorted(slot for _, slot in starts(s.decide(0))) == ["one", "one", "two", "two"]
    assert s.decide(0) == []
    s.done("e0")
    assert len(s.decide(0)) == 1


def test_the_least_loaded_replica_is_served_first() -> None:
    s = scheduler({"one": "m"}, window=3)
    s.submit("client", by_key(score("e0")), ())
    s.decide(0)
    add_slot(s, "two", "m")
    s.submit("client", by_key(score("e1")), ())
    assert starts(s.decide(0)) == [("e1", "two")]


def test_evaluation_waits_for_its_attack() -> None:
    s = scheduler({"source": "m", "target": "n"})
    s.submit("client", by_key(attack("make"), score("e", "n", of="make")), ())
    assert starts(s.decide(0)) == [("make", "source")]
    assert s.state("e") is State.BLOCKED
    s.done("make")
    assert starts(s.decide(0)) == [("e", "target")]


def test_the_longest_attack_of_a_source_goes_first() -> None:
    s = scheduler({"slot": "m"}, window=1)
    s.submit("client", by_key(attack("short", cost=1), attack("long", cost=5)), ())
    assert keys(s.decide(0)) == ["long"]


def test_scarce_slot_goes_to_the_source_with_most_remaining_work() -> None:
    s = scheduler({"slot": None})
    light = [attack(f"light{i}", "light", cost=10) for i in range(3)]
    heavy = [attack(f"heavy{i}", "heavy", cost=15) for i in range(3)]
    s.submit("client", by_key(*light, *heavy), ())
    assert hosts(s.decide(0)) == [("slot", "heavy")]


def test_scarce_bytes_go_to_the_source_with_most_remaining_work() -> None:
    s = scheduler({"one": "light", "two": "heavy"}, budget=10)
    s.submit("client", by_key(attack("a", "light", 10), attack("b", "heavy", 15)), ())
    assert keys(s.decide(0)) == ["b"]


def test_sources_take_turns_within_a_small_byte_budget() -> None:
    s = scheduler({"one": "a", "two": "b"}, window=1, budget=10)
    work = [attack(f"a{i}", "a", 20) for i in range(4)] + [attack(f"b{i}", "b") for i in range(4)]
    s.submit("client", by_key(*work), ())
    fleet = Fleet(s)
    fleet.run()
    assert [key[0] for key in fleet.done] == ["a", "b"] * 4


def test_task_without_a_source_runs_on_any_slot_also_empty() -> None:
    s = scheduler({"one": "m", "two": None, "three": "n"}, window=1)
    s.submit("client", by_key(*(attack(f"noise{i}", None) for i in range(4))), ())
    decisions = s.decide(0)
    assert sorted(slot for _, slot in starts(decisions)) == ["one", "three", "two"]
    assert hosts(decisions) == []


def test_loading_slot_takes_no_task() -> None:
    s = scheduler({"slot": None})
    s.submit("client", by_key(score("e")), ())
    assert hosts(s.decide(0)) == [("slot", "m")]
    s.submit("client", by_key(attack("noise", None)), ())
    assert s.decide(0) == []
    s.hosted("slot", "m")
    assert keys(s.decide(0)) == ["e", "noise"]


def test_byte_budget_holds_attacks_back_until_aes_are_scored() -> None:
    s = scheduler({"slot": "m"}, window=4, budget=20)
    work = [attack(f"make{i}") for i in range(4)]
    work += [score(f"e{i}", of=f"make{i}") for i in range(4)]
    s.submit("client", by_key(*work), ())
    assert keys(s.decide(0)) == ["make0", "make1"]
    s.done("make0")
    assert keys(s.decide(0)) == ["e0"]
    s.done("e0")
    assert keys(s.decide(0)) == ["make2"]


def test_byte_budget_is_not_exceeded_by_a_part_of_an_attack() -> None:
    s = scheduler({"slot": "m"}, window=4, budget=25)
    s.submit("client", by_key(*(attack(f"make{i}") for i in range(4))), ())
    assert len(s.decide(0)) == 2
    assert s.held_bytes == 20


def test_the_byte_budget_may_change_at_any_time() -> None:
    s = scheduler({"slot": "m"}, window=4, budget=20)
    s.submit("client", by_key(*(attack(f"make{i}") for i in range(4))), ())
    assert len(s.decide(0)) == 2
    s.in_flight_bytes = 30
    assert len(s.decide(0)) == 1


def test_attack_larger_than_the_byte_budget_runs_alone() -> None:
    s = scheduler({"slot": "m"}, budget=1)
    s.submit("client", by_key(attack("make", nbytes=1000), score("e", of="make")), ())
    assert keys(s.decide(0)) == ["make"]


def test_large_attack_is_not_starved_by_small_attacks() -> None:
    s = scheduler({"one": "m", "two": "n"}, window=1, budget=20)
    small = [attack(f"small{i}", "m", cost=1, nbytes=10) for i in range(50)]
    s.submit("client", by_key(*small, attack("first", "n", 1.5), attack("large", "n", 1, 20)), ())
    fleet = Fleet(s)
    fleet.run()
    assert fleet.done.index("large") < 10


@pytest.mark.parametrize("how", ["slot lost", "failed", "cancelled", "damaged"])
def test_a_full_budget_never_deadlocks(how: str) -> None:
    s = scheduler({"slot": "m"}, window=1, budget=10)
    s.submit("client", by_key(attack("make"), score("e", of="make")), ())
    s.submit("other", by_key(attack("make2"), score("e2", of="make2")), ())
    assert keys(s.decide(0)) == ["make"]
    if how == "slot lost":
        s.remove_slot("slot")
        add_slot(s, "slot", "m")
        assert len(s.decide(0)) == 1
    elif how == "failed":
        s.failed("make", retry=True, now=0)
        assert keys(s.decide(0)) == ["make2"]
    elif how == "cancelled":
        s.done("make")
        s.cancel("client")
        assert keys(s.decide(0)) == ["make2"]
    else:
        s.done("make")
        assert keys(s.decide(0)) == ["e"]
        s.invalidated("make")
        assert len(s.decide(0)) == 1


@pytest.mark.parametrize("budget", [1, 10, 25])
def test_one_slot_with_many_models_ends_despite_a_full_byte_budget(
    budget: int,
) -> None:
    s = scheduler({"slot": None}, budget=budget)
    models = [f"m{i}" for i in range(4)]
    work = []
    for source in models:
        for i in range(3):
            nbytes = 10 + 10 * (i % 2)
            work.append(attack(f"{source}-{i}", source, nbytes=nbytes))
            work += [score(f"{source}-{i}-{t}", t, f"{source}-{i}") for t in models]
    s.submit("client", by_key(*work), ())
    fleet = Fleet(s, load_time=3.0)
    fleet.run(limit=1000)
    assert len(fleet.done) == len(work)
    assert s.held_bytes == 0
