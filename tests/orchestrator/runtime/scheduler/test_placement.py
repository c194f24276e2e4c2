"""Which slot hosts which model, and for how long."""

from collections import Counter

import pytest

from segtransfer.runtime.scheduler import Host, Slot, Start, State
from segtransfer.runtime.scheduler.machine import TIME_SLICE
from segtransfer.runtime.scheduler.placement import STARVATION_LIMIT
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


def test_an_empty_slot_loads_a_model_and_then_takes_its_tasks() -> None:
    s = scheduler({"slot": None})
    s.submit("client", by_key(score("e")), ())
    assert s.decide(0) == [Host("slot", "m")]
    assert s.decide(0) == []
    s.hosted("slot", "m")
    assert starts(s.decide(0)) == [("e", "slot")]


def test_every_model_gets_a_slot_before_any_replica() -> None:
    s = scheduler({f"slot{i}": None for i in range(3)})
    work = [score(f"m{i}", "m", cost=10000) for i in range(9)]
    s.submit("client", by_key(*work, score("n", "n"), score("o", "o")), ())
    assert sorted(model for _, model in hosts(s.decide(0))) == ["m", "n", "o"]


def test_models_get_replicas_in_proportion_to_their_work() -> None:
    s = scheduler({f"slot{i}": None for i in range(8)})
    heavy = [score(f"m{i}", "m", cost=1000) for i in range(60)]
    light = [score(f"n{i}", "n", cost=1000) for i in range(20)]
    s.submit("client", by_key(*heavy, *light), ())
    assert Counter(model for _, model in hosts(s.decide(0))) == {"m": 6, "n": 2}


def test_no_replica_is_loaded_for_less_work_than_loading_costs() -> None:
    s = scheduler({"one": "m", "two": None}, window=1, switch_cost=100)
    s.submit("client", by_key(*(score(f"e{i}", cost=10) for i in range(20))), ())
    assert hosts(s.decide(0)) == []


def test_cheaper_switch_is_made_for_less_work() -> None:
    s = scheduler({"one": "m", "two": None}, window=1, switch_cost=100)
    s.submit("client", by_key(*(score(f"e{i}", cost=10) for i in range(20))), ())
    s.decide(0)
    s.switch_cost = 94
    assert hosts(s.decide(0)) == [("two", "m")]


def test_cheaper_switch_shortens_the_time_slice() -> None:
    """A turn is fifty times what a change costs; another model waits for the one slot."""
    for switch_cost, next_model in ((100, []), (2, ["n"])):
        s = scheduler({"slot": "m"}, window=1, switch_cost=100)
        tasks = [score(f"e{i}", cost=120) for i in range(9)]
        s.submit("client", by_key(*tasks, score("f", "n", cost=30)), ())
        s.switch_cost = switch_cost
        seen = []
        for _ in range(3):
            decisions = s.decide(0)
            seen += [model for _, model in hosts(decisions)]
            for key in keys(decisions):
                s.done(key)
        assert seen == next_model


def test_a_second_slot_of_a_saturated_device_gets_no_replica() -> None:
    s = scheduler()
    for i in range(2):
        s.add_slot(Slot(f"narrow{i}", "narrow", width=1))
        s.add_slot(Slot(f"wide{i}", "wide", width=2))
    s.submit("client", by_key(*(score(f"e{i}", cost=1000) for i in range(50))), ())
    assert sorted(slot for slot, _ in hosts(s.decide(0))) == ["narrow0", "wide0", "wide1"]


def test_model_without_a_slot_is_placed_even_on_a_saturated_device() -> None:
    s = scheduler()
    for i in range(2):
        s.add_slot(Slot(f"slot{i}", "device", width=1))
    s.submit("client", by_key(score("e", "m"), score("f", "n")), ())
    assert len(hosts(s.decide(0))) == 2


def test_models_are_spread_over_devices() -> None:
    s = scheduler()
    for device in ("d0", "d1"):
        for i in range(2):
            s.add_slot(Slot(f"{device}-{i}", device, width=1))
    s.submit("client", by_key(score("e", "m"), score("f", "n")), ())
    assert sorted(slot for slot, _ in hosts(s.decide(0))) == ["d0-0", "d1-0"]


def test_model_replaces_a_model_without_remaining_work_first() -> None:
    s = scheduler({"through": "a", "later": "b", "source": "c"}, window=1)
    s.submit("client", by_key(attack("make", "c"), score("e", "b", of="make")), ())
    assert keys(s.decide(0)) == ["make"]
    s.submit("client", by_key(score("f", "d")), ())
    assert hosts(s.decide(0)) == [("through", "d")]


@pytest.mark.parametrize(("lump", "model"), [(500, "m"), (1500, "o")])
def test_free_slot_switches_to_an_unhosted_model_with_enough_ready_work(
    lump: float, model: str
) -> None:
    s = scheduler({"one": "m", "two": "n"}, window=1)
    work = [score(f"m{i}", "m", cost=1000) for i in range(9)]
    s.submit("client", by_key(*work, score("o", "o", cost=lump)), ())
    assert hosts(s.decide(0)) == [("two", model)]


def test_unhosted_model_gets_an_idle_slot_for_any_work() -> None:
    s = scheduler({"one": "m", "two": "n"}, window=1)
    s.submit("client", by_key(score("m", "m"), score("o", "o")), ())
    assert hosts(s.decide(0)) == [("two", "o")]


def test_busy_slot_keeps_its_model() -> None:
    s = scheduler({"slot": "m"}, window=1)
    s.submit("client", by_key(attack("make"), score("e", "n", of="make")), ())
    s.decide(0)
    s.submit("client", by_key(score("f", "n")), ())
    assert s.decide(0) == []
    s.done("make")
    assert hosts(s.decide(0)) == [("slot", "n")]


@pytest.mark.parametrize("slots", [1, 2])
def test_models_outnumbering_slots_take_turns(slots: int) -> None:
    s = scheduler({f"slot{i}": None for i in range(slots)}, switch_cost=1.0)
    work = [score(f"{m}{i}", m) for m in "abcde" for i in range(200)]
    s.submit("client", by_key(*work), ())
    fleet = Fleet(s, load_time=1.0)
    fleet.run()
    assert len(fleet.done) == len(work)
    assert 5 <= len(fleet.loads) <= 30


def test_no_model_starves_beside_models_with_endless_work() -> None:
    s = scheduler({"slot": None}, switch_cost=1.0)
    fleet = Fleet(s, load_time=1.0)
    s.submit("patient", by_key(score("rare", "rare")), ())

    def more_comes() -> bool:
        for model in ("a", "b"):
            while s._state.queues.count(model, "evaluate") < 10:
                more_comes.count += 1  # type: ignore[attr-defined]
                key = f"{model}-{more_comes.count}"  # type: ignore[attr-defined]
                s.submit("endless", by_key(score(key, model, cost=5)), ())
        return s.state("rare") is State.DONE

    more_comes.count = 0  # type: ignore[attr-defined]
    fleet.run(until=more_comes, limit=2000)
    assert s.state("rare") is State.DONE
    assert fleet.now < (STARVATION_LIMIT + 2) * TIME_SLICE


def test_model_keeps_its_slot_for_a_time_slice() -> None:
    s = scheduler({"slot": None}, switch_cost=1.0, window=1)
    work = [score(f"a{i}", "a") for i in range(200)] + [score(f"b{i}", "b") for i in range(100)]
    s.submit("client", by_key(*work), ())
    fleet = Fleet(s)
    fleet.run(until=lambda: len(fleet.loads) == 2)
    assert len(fleet.done) == TIME_SLICE


def test_draining_slot_resumes_when_the_waiting_model_has_no_work() -> None:
    s = scheduler({"slot": "m"}, switch_cost=0.01, window=2)
    s.submit("client", by_key(*(score(f"m{i}") for i in range(9))), ())
    s.submit("other", by_key(score("n", "n")), ())
    assert len(starts(s.decide(0))) == 2
    s.done("m0")
    assert s.decide(0) == [], "it runs dry"
    s.cancel("other")
    assert len(starts(s.decide(0))) == 1


def test_draining_slot_resumes_when_the_waiting_model_has_a_slot() -> None:
    s = scheduler({"slot": "m"}, switch_cost=0.01, window=2)
    s.submit("client", by_key(*(score(f"m{i}") for i in range(9)), score("n", "n")), ())
    assert len(starts(s.decide(0))) == 2
    s.done("m0")
    assert s.decide(0) == [], "it runs dry"
    add_slot(s, "new")
    decisions = s.decide(0)
    assert Host("new", "n") in decisions
    assert len([d for d in decisions if isinstance(d, Start)]) == 1


def test_replica_is_drained_as_soon_as_the_switch_pays() -> None:
    s = scheduler({"one": "m", "two": "m"}, window=1, switch_cost=1.0)
    s.submit("client", by_key(*(score(f"m{i}") for i in range(40))), ())
    s.submit("other", by_key(score("n", "n", cost=100)), ())
    s.decide(0)
    s.done("m0")
    s.done("m1")
    decisions = s.decide(0)
    assert [d.model for d in decisions if isinstance(d, Host)] == ["n"]
    assert len(starts(decisions)) == 1


def test_attacks_held_back_by_the_byte_budget_take_no_slot() -> None:
    s = scheduler({"slot": "m"}, window=1, budget=10)
    s.submit("client", by_key(attack("make"), score("e", "n", of="make", cost=1)), ())
    s.submit("other", by_key(*(attack(f"o{i}", "o", cost=1000) for i in range(9))), ())
    assert keys(s.decide(0)) == ["make"]
    s.done("make")
    assert hosts(s.decide(0)) == [("slot", "n")]
