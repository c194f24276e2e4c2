"""What must hold inside a scheduler at any time: each count and index agrees with the tasks."""

from collections import Counter

import pytest

from segtransfer.runtime.scheduler import FINAL, Scheduler, State
from segtransfer.runtime.scheduler.task_table import ANY


def check(s: Scheduler) -> None:
    _check_tasks(s)
    _check_queues(s)
    _check_slots(s)


def _check_tasks(s: Scheduler) -> None:
    open_ = [r for r in s._tasks if r.state not in FINAL]
    left = Counter(r.task.model or ANY for r in open_)
    assert dict(s._tasks._unfinished) == dict(left)
    for model in left:
        cost = sum(r.task.cost for r in open_ if (r.task.model or ANY) == model)
        assert s._tasks.remaining[model] == pytest.approx(cost)
    assert s._tasks.remaining.keys() == left.keys()
    wanted = {client: set(keys) for client, keys in s._clients.items()}
    for key, entry in s._tasks._entries.items():
        assert set(entry.clients) == {c for c, keys in wanted.items() if key in keys}
        assert entry.clients or entry.state is State.RUNNING
        attack = entry.task.depends_on
        assert attack is None or key in s._tasks._evaluations[attack]
    for attack, evaluations in s._tasks._evaluations.items():
        assert evaluations
        assert len(evaluations) == len(set(evaluations))
        assert all(s._tasks[key].task.depends_on == attack for key in evaluations)
    assert s._state.in_flight.bytes == sum(s._state.in_flight._held.values())
    assert s._state.in_flight._held.keys() <= s._tasks._entries.keys()
    for key in s._state.retries._numbers:
        assert s._tasks[key].state is State.BLOCKED
    assert all(s._tasks[key].state not in FINAL for key in s._state.retries._failed_on)


def _check_queues(s: Scheduler) -> None:
    ready = [r for r in s._tasks if r.state is State.READY]
    for name, model in s._state.queues._models.items():
        mine = [r for r in ready if (r.task.model or ANY) == name]
        for is_attack in (True, False):
            queue = model.of_kind(is_attack)
            kind = [r for r in mine if (r.task.attack is not None) is is_attack]
            assert queue.count == len(kind)
            assert queue.cost == pytest.approx(sum(r.task.cost for r in kind))
            for entry in kind:
                assert all(entry in queue.clients[client] for client in entry.clients)
        assert dict(model.ready) == dict(Counter(c for r in mine for c in r.clients))
        assert model.charged.keys() >= model.ready.keys()
        assert model.charged.keys() <= s._clients.keys()
    assert {r.task.model or ANY for r in ready} <= s._state.queues._models.keys()


def _check_slots(s: Scheduler) -> None:
    slots = s.slots
    running = {r.task.key: r.slot_id for r in s._tasks if r.state is State.RUNNING}
    assert running == {k: i for i, p in slots._states.items() for k in p.running}
    states = slots._states
    assert slots.loading == sum(p.loading for p in states.values())
    busy = Counter(p.slot.device for p in states.values() if p.calls or p.loading)
    assert dict(slots.busy) == dict(busy)
    assert set(slots._free) == {i for i, p in states.items() if not p.calls and not p.loading}
    assert {i for ids in slots._free_on.values() for i in ids} == set(slots._free)
    assert all(slots._free_on.values())
    unsaturated = {i for i in slots._free if not slots.saturated(i)}
    assert set(slots.free_unsaturated()) == unsaturated
    assert set(slots._draining) == {i for i, p in states.items() if p.draining}
    assert slots._expired.keys() <= states.keys()
    hosts: dict[str, set[str]] = {}
    for slot_id, state in states.items():
        assert state.calls == len(state.running) <= slots.window
        if state.model is not None:
            hosts.setdefault(state.model, set()).add(slot_id)
    assert {m: set(ids) for m, ids in slots._hosts.items()} == hosts
    entered = {
        (model, load, slot_id)
        for model, levels in slots._with_room.items()
        for load, level in enumerate(levels)
        for slot_id in level
    }
    assert entered == {
        (p.model, p.calls, i)
        for i, p in states.items()
        if not p.loading and not p.draining and p.calls < slots.window
    }


def check_empty(s: Scheduler) -> None:
    """Nothing is kept of clients that have left."""
    s.decide(0.0)  # takes notice of what changed
    for kept in (
        s._tasks._entries,
        s._tasks._evaluations,
        s._clients,
        s._tasks.remaining,
        s._tasks._unfinished,
        s._state.dirty,
        s._starter.held_back,
        s._placement._waits,
        s._state.unwanted,
        s._state.queues._models,
        s._state.in_flight._held,
        s._state.retries._due,
        s._state.retries._numbers,
        s._state.retries._failed_on,
    ):
        assert not kept
    assert s.held_bytes == 0
