"""Which slot hosts which model: every model with ready work in turn, the heavy ones more often."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from segtransfer.runtime.scheduler.queues import ReadyQueues
from segtransfer.runtime.scheduler.slots import Slots

# A model that has none is worth a slot once this many times the cost of a change is ready for it.
PAYS = 10.0
# ... and in any case once others were given slots this many times while it waited.
PATIENCE = 8


@dataclass(frozen=True)
class Host:
    """A decision: this slot loads this model, in place of what it hosts."""

    slot_id: str
    model: str


def place(
    slots: Slots,
    queues: ReadyQueues,
    remaining: Mapping[str, float],
    waiting: dict[str, int],
    *,
    single: Container[str],
    attacks: bool,
    switch_cost: float,
) -> tuple[list[Host], list[str | None]]:
    """Give free slots to models that need them, and take slots from models that had their turn.

    Called when all that could start has started. The rule: a change of models has to pay. So

    - a slot that is free goes to a model with ready work that no slot hosts once a good lump of
      such work has gathered (or the model waited too long), the longest wait first, then the most
      work left (``remaining``); else it becomes a replica where the ready work is most for each
      replica, if what it would take over is more than ``switch_cost``; else, rather than idle, it
      goes to a model without a slot that has little ready. An empty slot has nothing to lose;
    - a slot at work is taken from a model with several for a model with a good lump, and from any
      model that had its turn for whoever waits.

    Models in ``single`` get no replicas; ``attacks`` says whether attacks may start now;
    ``waiting`` is kept from call to call. Returns the decisions, and the models whose slots have
    room again.
    """
    wanted = queues.models(attacks=attacks)
    homeless = [model for model in wanted if not slots.hosts(model)]
    homeless = _in_turn(slots, queues, remaining, waiting, homeless)
    enough = PAYS * switch_cost
    paying = [
        model
        for model in homeless
        if waiting[model] >= PATIENCE or queues.cost(model, attacks=attacks) >= enough
    ]
    placed = _house(slots, remaining, paying)
    placed += _house(slots, remaining, homeless, empty=True)
    if all(slots.hosts(model) for model in paying):
        wanted = [model for model in wanted if model not in single and slots.hosts(model)]
        placed += _replicate(slots, queues, remaining, wanted, attacks, switch_cost)
    placed += _house(slots, remaining, homeless)
    homeless = [model for model in homeless if not slots.hosts(model)]
    if placed:
        waiting.update((model, waiting[model] + 1) for model in homeless)
    resumed = slots.resume(keep=len(homeless))
    _take_turns(slots, homeless, paying)
    return placed, resumed


def _in_turn(
    slots: Slots,
    queues: ReadyQueues,
    remaining: Mapping[str, float],
    waiting: dict[str, int],
    homeless: list[str],
) -> list[str]:
    """Homeless models, longest wait first. Else a light model might starve behind heavy ones that
    never run out of work."""
    for model in list(waiting):
        if slots.hosts(model) or not queues.ready(model):
            del waiting[model]
    new = [model for model in homeless if model not in waiting]
    new.sort(key=lambda model: -remaining[model])
    waiting.update(dict.fromkeys(new, 0))
    if len(homeless) == len(waiting):
        return list(waiting)
    able = set(homeless)
    return [model for model in waiting if model in able]


def _house(
    slots: Slots, remaining: Mapping[str, float], models: list[str], *, empty: bool = False
) -> list[Host]:
    """Free slots (only the ``empty`` ones) for models that have none: empty ones first, then those
    that are missed least, and of these on devices with something to spare."""
    homeless = [model for model in models if not slots.hosts(model)]
    if not homeless or not slots.any_free():
        return []
    free = slots.empty() if empty else slots.free()

    placed: list[Host] = []
    for model in homeless[: len(free)]:
        slot_id = min(free, key=lambda slot_id: _missed(slots, remaining, slot_id))
        free.remove(slot_id)
        slots.load(slot_id, model)
        placed.append(Host(slot_id, model))
    return placed


def _missed(
    slots: Slots, remaining: Mapping[str, float], slot_id: str
) -> tuple[bool, bool, bool, float]:
    """How much a free slot would be missed where it is."""
    model, full = slots.model(slot_id), slots.saturated(slot_id)
    if model is None:
        return False, full, False, 0.0
    left = remaining.get(model, 0.0)
    return left > 0 and not slots.others(model, slot_id), full, True, left


def _replicate(
    slots: Slots,
    queues: ReadyQueues,
    remaining: Mapping[str, float],
    wanted: list[str],
    attacks: bool,
    switch_cost: float,
) -> list[Host]:
    """Further slots for the models whose ready work is most for each that hosts them, up to one a
    ready call."""
    placed: list[Host] = []
    if not wanted or not slots.any_free():
        return placed
    ready = {model: queues.cost(model, attacks=attacks) for model in wanted}
    kinds = ("evaluate", "attack") if attacks else ("evaluate",)
    calls = {m: sum(queues.count(m, kind) for kind in kinds) - slots.coming(m) for m in wanted}

    def gain(model: str) -> float:
        return ready[model] / (slots.hosts(model) + 1) if calls[model] > 0 else 0.0

    best = max(wanted, key=gain)
    if gain(best) <= switch_cost:
        return placed
    # Those that host what is through first, whatever is kept for later last.
    free = sorted(slots.free_and_able(), key=lambda slot_id: _missed(slots, remaining, slot_id))
    for slot_id in free:
        if gain(best) <= switch_cost:
            break
        # Leaving a model that has work to come means to load it again later.
        returns = _missed(slots, remaining, slot_id)[0] and gain(best) <= 2 * switch_cost
        if slots.model(slot_id) == best or slots.saturated(slot_id) or returns:
            continue
        slots.load(slot_id, best)
        placed.append(Host(slot_id, best))
        calls[best] -= 1
        best = max(wanted, key=gain)
    return placed


def _take_turns(slots: Slots, homeless: list[str], paying: Container[str]) -> None:
    """Let slots run dry for models that wait and have none: of models with several slots as soon
    as the change pays, of others once they had their turn."""
    for model in homeless[slots.draining() :]:
        slot_id = slots.had_turn()
        if slot_id is None and model in paying:
            slot_id = slots.spare()
            if slot_id is None:
                break
        if slot_id is not None:
            slots.drain(slot_id)
