"""Placement of models on slots: every model with ready work in turn, heavy models more often."""

from collections.abc import Mapping
from dataclasses import dataclass

from segtransfer.runtime.scheduler.queues import ReadyQueues
from segtransfer.runtime.scheduler.slots import Slots

# A model without a slot gets one once its ready work is this many times the cost of a switch.
READY_PER_SWITCH = 10.0
# ... and in any case once other models were placed this many times while it waited.
STARVATION_LIMIT = 8


@dataclass(frozen=True)
class Host:
    """A decision: this slot loads this model, in place of the hosted model."""

    slot_id: str
    model: str


class Placement:
    """Gives free slots to models that need them, and drains slots of models that had their share.

    The rule: a switch of models has to pay.

    - A free slot goes to a model without a slot whose ready work is large compared to a switch, or
      which has waited too long. The longest wait goes first, then the most remaining work.
    - Else the free slot becomes a replica of the model with the most ready work per replica, if the
      replica would take over work worth more than a switch.
    - Else the free slot goes to a model without a slot and with little ready work. An empty slot
      has nothing to lose.
    - A busy slot is drained for a model whose switch pays if another replica remains, and for any
      waiting model once the time slice of the hosted model is used up.
    """

    def __init__(self, slots: Slots, queues: ReadyQueues, remaining: Mapping[str, float]) -> None:
        """Bind the placement to the parts of the scheduler's state.

        Args:
            slots: The slots, whose loads and drains change with each decision.
            queues: The ready tasks of each model.
            remaining: Cost of the unfinished tasks of each model.
        """
        self._slots = slots
        self._queues = queues
        self._remaining = remaining
        self._waits: dict[str, int] = {}  # model without a slot -> placements of other models
        self._single: dict[str, None] = {}  # models that some slot could not load

    def forbid_replicas(self, model: str) -> None:
        """Keep a model to one slot, because another slot could not load it.

        Args:
            model: The model's key; the rule holds for good.
        """
        self._single[model] = None

    def any_unhosted(self) -> bool:
        """Return whether a model with ready tasks has no slot."""
        hosts = self._slots.hosts
        return any(not hosts(model) for model in self._queues.models(attacks=True))

    def decide(self, *, attacks: bool, switch_cost: float) -> tuple[list[Host], list[str | None]]:
        """Place models, after all tasks that can start have started.

        Args:
            attacks: Whether attacks may start now; if not, only evaluations count as ready work.
            switch_cost: Cost of a switch of models, in the unit of the tasks' costs.

        Returns:
            The loads to begin, and the models of slots whose draining ended, which take calls
            again.
        """
        slots, queues, waits = self._slots, self._queues, self._waits
        wanted = queues.models(attacks=attacks)
        unhosted = self._by_wait([model for model in wanted if not slots.hosts(model)])
        enough = READY_PER_SWITCH * switch_cost
        paying = [
            model
            for model in unhosted
            if waits[model] >= STARVATION_LIMIT or queues.cost(model, attacks=attacks) >= enough
        ]
        placed = self._place(paying)
        placed += self._place(unhosted, empty=True)
        if all(slots.hosts(model) for model in paying):
            wanted = [m for m in wanted if m not in self._single and slots.hosts(m)]
            placed += self._replicate(wanted, attacks, switch_cost)
        placed += self._place(unhosted)
        unhosted = [model for model in unhosted if not slots.hosts(model)]
        if placed:
            waits.update((model, waits[model] + 1) for model in unhosted)
        resumed = slots.resume(keep=len(unhosted))
        self._drain_for(unhosted, paying)
        return placed, resumed

    def _by_wait(self, unhosted: list[str]) -> list[str]:
        """Sort models without a slot by their wait, the longest first.

        Without this order a light model might starve behind heavy models with endless work.
        """
        waits = self._waits
        for model in list(waits):
            if self._slots.hosts(model) or not self._queues.ready(model):
                del waits[model]
        new = [model for model in unhosted if model not in waits]
        new.sort(key=lambda model: -self._remaining[model])
        waits.update(dict.fromkeys(new, 0))
        if len(unhosted) == len(waits):
            return list(waits)
        able = set(unhosted)
        return [model for model in waits if model in able]

    def _place(self, models: list[str], *, empty: bool = False) -> list[Host]:
        """Give a free slot to each model without a slot.

        Empty slots go first, then the slots with the least loss, unsaturated devices first.

        Args:
            models: The models, the most urgent first.
            empty: Whether to use only slots without a model.
        """
        slots = self._slots
        if not slots.any_free():
            return []
        unhosted = [model for model in models if not slots.hosts(model)]
        if not unhosted:
            return []
        free = slots.empty() if empty else slots.free()

        placed: list[Host] = []
        for model in unhosted[: len(free)]:
            slot_id = min(free, key=self._loss)
            free.remove(slot_id)
            slots.load(slot_id, model)
            placed.append(Host(slot_id, model))
        return placed

    def _loss(self, slot_id: str) -> tuple[bool, bool, bool, float]:
        """Return a sort key: how much a free slot's model would lose without the slot."""
        slots = self._slots
        model, full = slots.model(slot_id), slots.saturated(slot_id)
        if model is None:
            return False, full, False, 0.0
        left = self._remaining.get(model, 0.0)
        return left > 0 and not slots.hosted_elsewhere(model, slot_id), full, True, left

    def _replicate(self, wanted: list[str], attacks: bool, switch_cost: float) -> list[Host]:
        """Give further slots to the models with the most ready work per slot.

        A model gets at most one replica per ready call.
        """
        slots, queues = self._slots, self._queues
        placed: list[Host] = []
        if not wanted or not slots.any_free():
            return placed
        ready = {model: queues.cost(model, attacks=attacks) for model in wanted}
        kinds = ("evaluate", "attack") if attacks else ("evaluate",)
        calls = {
            m: sum(queues.count(m, kind) for kind in kinds) - slots.count_loading(m) for m in wanted
        }

        def gain(model: str) -> float:
            return ready[model] / (slots.hosts(model) + 1) if calls[model] > 0 else 0.0

        best = max(wanted, key=gain)
        if gain(best) <= switch_cost:
            return placed
        for slot_id in sorted(slots.free_unsaturated(), key=self._loss):
            if gain(best) <= switch_cost:
                break
            # A model with remaining work would have to be loaded again later.
            returns = self._loss(slot_id)[0] and gain(best) <= 2 * switch_cost
            if slots.model(slot_id) == best or slots.saturated(slot_id) or returns:
                continue
            slots.load(slot_id, best)
            placed.append(Host(slot_id, best))
            calls[best] -= 1
            best = max(wanted, key=gain)
        return placed

    def _drain_for(self, unhosted: list[str], paying: list[str]) -> None:
        """Drain a slot for each unhosted model: an expired slot, else a replica if it pays."""
        slots = self._slots
        for model in unhosted[slots.draining() :]:
            slot_id = slots.first_expired()
            if slot_id is None and model in paying:
                slot_id = slots.busy_replica()
                if slot_id is None:
                    break
            if slot_id is not None:
                slots.drain(slot_id)
