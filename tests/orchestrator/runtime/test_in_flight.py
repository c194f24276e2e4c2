"""Calls under way teach what others take; see ``test_driver`` for their deadlines."""

from dataclasses import replace
from typing import Any

import pytest

from segtransfer.runtime.in_flight import LEAST_SWITCH_COST, InFlightCalls
from segtransfer.runtime.scheduler import SWITCH_COST
from tests.orchestrator.runtime.scheduler.toys import attack

SHARD: Any = None


def after(loads: list[float], *costs_and_seconds: tuple[float, float]) -> InFlightCalls:
    """Calls that came one after another on one slot, and loads before them."""
    calls, now = InFlightCalls(least_deadline=1.0), 0.0
    for seconds in loads:
        calls.loaded(seconds)
    for number, (cost, seconds) in enumerate(costs_and_seconds):
        task = replace(attack(f"a{number}"), cost=cost)
        calls.begin(task, SHARD, "slot", now)
        now += seconds
        calls.end(task.key, now)
    return calls


def test_switch_cost_is_mean_load_over_mean_forward() -> None:
    """A load takes 6 s in the mean, and 0.05 s a unit."""
    assert after([4.0, 8.0], (50, 2.0), (150, 8.0)).switch_cost() == pytest.approx(120.0)


@pytest.mark.parametrize("calls", [after([]), after([4.0]), after([], (50, 2.0))])
def test_switch_cost_before_a_load_and_a_call_is_the_default(calls: InFlightCalls) -> None:
    assert calls.switch_cost() == SWITCH_COST


def test_switch_cost_of_a_quick_load_has_a_minimum() -> None:
    assert after([0.01], (10, 10.0)).switch_cost() == LEAST_SWITCH_COST


def test_failed_calls_do_not_change_paces() -> None:
    calls = after([1.0], (100, 1.0))
    task = attack("b")
    calls.begin(task, SHARD, "slot", 1.0)
    calls.end(task.key, 99.0, failed=True)
    assert calls.switch_cost() == pytest.approx(100.0)
