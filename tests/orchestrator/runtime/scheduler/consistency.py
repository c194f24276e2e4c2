"""What must hold inside a scheduler at any time: each count and index says what the records say."""

from collections import Counter

import pytest

from segtransfer.runtime.scheduler import FINAL, Scheduler, State
from segtransfer.runtime.scheduler.task_table import ANY


def check(s: Scheduler) -> None:
    _check_records(s)
    _check_queues(s)
    _check_slots(s)


def _check_records(s: Scheduler) -> None:
    open_ = [r for r in s._records if r.state not in FINAL]
    left = Counter(r.task.model or ANY for r in open_)
    assert dict(s._records._left) == dict(left)
    for model in left:
        cost = sum(r.task.cost for r in open_ if (r.task.model or ANY) == model)
        assert s._records.remaining[model] == pytest.approx(cost)
    assert s._records.remaining.keys() == left.keys()
    wanted = {client: set(keys) for client, keys in s._clients.items()}
    for key, record in s._records._records.items():
        assert set(record.clients) == {c for c, keys in wanted.items() if key in keys}
        assert record.clients or record.state is State.RUNNING
        attack = record.task.depends_on
        assert attack is None or key in s._records._scorers[attack]
    for attack, scorers in s._records._scorers.items():
        assert scorers
        assert len(scorers) == len(set(scorers))
        assert all(s._records[key].task.depends_on == attack for key in scorers)
    assert s._budget.bytes == sum(s._budget._held.values())
    assert s._budget._held.keys() <= s._records._records.keys()
    for key in s._retries._numbers:
        assert s._records[key].state is State.BLOCKED
    assert all(s._records[key].state not in FINAL for key in s._retries._failed_on)


def _check_queues(s: Scheduler) -> None:
    ready = [r for r in s._records if r.state is State.READY]
    for name, model in s._queues._models.items():
        mine = [r for r in ready if (r.task.model or ANY) == name]
        for is_attack in (True, False):
            queue = model.queue(is_attack)
            kind = [r for r in mine if (r.task.attack is not None) is is_attack]
            assert queue.count == len(kind)
            assert queue.cost == pytest.approx(sum(r.task.cost for r in kind))
            for record in kind:
                assert all(record in queue.lines[client] for client in record.clients)
        assert dict(model.ready) == dict(Counter(c for r in mine for c in r.clients))
        assert model.given.keys() >= model.ready.keys()
        assert model.given.keys() <= s._clients.keys()
    assert {r.task.model or ANY for r in ready} <= s._queues._models.keys()


def _check_slots(s: Scheduler) -> None:
    slots = s.slots
    running = {r.task.key: r.slot_id for r in s._records if r.state is State.RUNNING}
    assert running == {k: i for i, p in slots._places.items() for k in p.running}
    places = slots._places
    assert slots.loading == sum(p.loading for p in places.values())
    busy = Counter(p.slot.device for p in places.values() if p.load or p.loading)
    assert dict(slots.busy) == dict(busy)
    assert set(slots._free) == {i for i, p in places.items() if not p.load and not p.loading}
    assert {i for ids in slots._free_on.values() for i in ids} == set(slots._free)
    assert all(slots._free_on.values())
    able = {i for i in slots._free if not slots.saturated(i)}
    assert set(slots.free_and_able()) == able
    assert set(slots._draining) == {i for i, p in places.items() if p.draining}
    assert slots._had_turn.keys() <= places.keys()
    hosts: dict[str, set[str]] = {}
    for slot_id, place in places.items():
        assert place.load == len(place.running) <= slots.window
        if place.model is not None:
            hosts.setdefault(place.model, set()).add(slot_id)
    assert {m: set(ids) for m, ids in slots._hosts.items()} == hosts
    entered = {
        (model, load, slot_id)
        for model, levels in slots._levels.items()
        for load, level in enumerate(levels)
        for slot_id in level
    }
    assert entered == {
        (p.model, p.load, i)
        for i, p in places.items()
        if not p.loading and not p.draining and p.load < slots.window
    }


def check_empty(s: Scheduler) -> None:
    """Nothing is kept of clients that have left."""
    s.decide(0.0)  # takes notice of what changed
    for kept in (
        s._records._records,
        s._records._scorers,
        s._clients,
        s._records.remaining,
        s._records._left,
        s._starter.dirty,
        s._starter.held_back,
        s._homeless,
        s._unwanted,
        s._queues._models,
        s._budget._held,
        s._retries._due,
        s._retries._numbers,
        s._retries._failed_on,
    ):
        assert not kept
    assert s.held_bytes == 0
