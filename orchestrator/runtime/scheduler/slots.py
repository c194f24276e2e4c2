"""Slots with their models and calls, and indexes for the questions of the scheduler."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Slot:
    """A share of a device that hosts one model at a time.

    Attributes:
        slot_id: The slot's id.
        device: The device, shared with the other slots of the same name.
        width: Number of slots that the device serves at full speed at the same time, equal for all
            its slots. More busy slots slow each other down.
    """

    slot_id: str
    device: str = "device"
    width: int = 1

    @property
    def type(self) -> str:
        """Return "cuda" for a share of a GPU, as the Ray executor names devices, else "cpu"."""
        return "cuda" if self.device.endswith("/gpu") else "cpu"


@dataclass(slots=True)
class _Occupancy:
    """A slot with its model and its calls."""

    slot: Slot
    model: str | None = None  # hosted or loading
    loading: bool = False
    calls: int = 0
    service: float = 0.0  # cost of the calls since the model was loaded
    draining: bool = False  # gets no calls, because another model needs the slot
    running: dict[str, None] = field(default_factory=dict)


class Slots:
    """All slots, with indexes that make the cost of a look-up independent of their number.

    No answer depends on the order of a set, so equal histories give equal answers. A busy slot has
    a call or a load, and a free slot has neither. Except for ``end``, methods with a ``slot_id``
    raise KeyError for an unknown slot.

    Args:
        window: Most calls of a slot at a time.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.time_slice = math.inf  # cost of calls after which a model may lose its slot
        self.busy: Counter[str] = Counter()  # device -> slots with a call or a load
        self.loading = 0
        self._states: dict[str, _Occupancy] = {}
        # model -> number of calls -> slots with room
        self._with_room: dict[str | None, list[dict[str, None]]] = {}
        self._hosts: dict[str, dict[str, None]] = {}
        self._free: dict[str, None] = {}  # slots without a call or a load
        self._free_on: dict[str, dict[str, None]] = {}  # device -> free slots
        self._unsaturated: dict[str, None] = {}  # devices with a free slot and capacity left
        self._draining: dict[str, None] = {}
        self._expired: dict[str, None] = {}  # slots whose time slice is used up

    def __contains__(self, slot_id: object) -> bool:
        return slot_id in self._states

    def __iter__(self) -> Iterator[Slot]:
        return (state.slot for state in self._states.values())

    def __len__(self) -> int:
        return len(self._states)

    def add(self, slot: Slot) -> None:
        """Add an empty slot."""
        self._states[slot.slot_id] = _Occupancy(slot)
        self._mark_free(slot)
        self._index(self._states[slot.slot_id])

    def remove(self, slot_id: str) -> list[str]:
        """Delete a slot and return the keys of its calls, in the order of their starts.

        Raises:
            KeyError: If there is no such slot.
        """
        state = self._states.pop(slot_id)
        self._unindex(state)
        self._unhost(state)
        self._draining.pop(slot_id, None)
        self._expired.pop(slot_id, None)
        self.loading -= state.loading
        if state.calls or state.loading:
            self._decrement_busy(state.slot)
        self._unmark_free(state.slot)
        return list(state.running)

    # -- models ----------------------------------------------------------------------------

    def load(self, slot_id: str, model: str) -> None:
        """Begin to load a model into a free slot, in place of the hosted model."""
        state = self._states[slot_id]
        self._unindex(state)
        self._unhost(state)
        self._hosts.setdefault(model, {})[slot_id] = None
        self._draining.pop(slot_id, None)
        self._expired.pop(slot_id, None)
        self.loading += 1
        self._mark_busy(state.slot)
        state.model, state.loading, state.service, state.draining = model, True, 0.0, False

    def loaded(self, slot_id: str, *, refused: bool = False) -> None:
        """End the loading of a slot's model, after which the slot takes calls.

        Args:
            slot_id: The slot; nothing is done unless it is loading.
            refused: Whether the load failed, which leaves the slot empty.
        """
        state = self._states[slot_id]
        if not state.loading:
            return
        if refused:
            self._unhost(state)
        state.loading = False
        self.loading -= 1
        self._decrement_busy(state.slot)
        self._mark_free(state.slot)
        self._index(state)

    def model(self, slot_id: str) -> str | None:
        """Return the hosted or loading model of a slot, or None."""
        return self._states[slot_id].model

    def hosted_model(self, slot_id: str) -> str | None:
        """Return the model of a slot after its load, or None if the slot is empty or loading."""
        state = self._states[slot_id]
        return None if state.loading else state.model

    def is_loading(self, slot_id: str) -> bool:
        """Return whether a slot is loading its model."""
        return self._states[slot_id].loading

    def hosts(self, model: str) -> int:
        """Return the number of slots with a model, hosted or loading."""
        return len(self._hosts[model]) if model in self._hosts else 0

    def count_loading(self, model: str) -> int:
        """Return the number of loads of a model under way."""
        return sum(self._states[slot_id].loading for slot_id in self._hosts.get(model, ()))

    def hosted_elsewhere(self, model: str | None, slot_id: str) -> bool:
        """Return whether another slot hosts or loads the model.

        Args:
            model: The model; None asks whether there is another slot at all.
            slot_id: The slot to leave out.
        """
        hosts = self._states if model is None else self._hosts.get(model, {})
        return len(hosts) > (slot_id in hosts)

    # -- calls -----------------------------------------------------------------------------

    def with_room(
        self, model: str | None, unless: str | None = None, *, empty: bool = True
    ) -> str | None:
        """Return the least-loaded slot that hosts ``model`` with room for another call, or None.

        Args:
            model: The hosted model; None stands for any.
            unless: A slot to leave out.
            empty: Whether slots without a model count if ``model`` is None.
        """
        if model is not None:
            known = [self._with_room.get(model, ())]
        else:
            known = [
                levels for host, levels in self._with_room.items() if empty or host is not None
            ]
        for calls in range(self.window):
            for levels in known:
                for slot_id in levels[calls] if levels else ():
                    if slot_id != unless:
                        return slot_id
        return None

    def begin(self, slot_id: str, key: str, cost: float) -> None:
        """Count a task as a call of a slot, and its cost as service of the slot's model."""
        state = self._states[slot_id]
        self._unindex(state)
        if not state.calls:
            self._mark_busy(state.slot)
        state.calls += 1
        state.service += cost
        if state.service >= self.time_slice:
            self._expired[slot_id] = None
        state.running[key] = None
        self._index(state)

    def end(self, slot_id: str | None, key: str) -> str | None:
        """End a call and return the model of its slot, which has room now.

        Returns:
            None also if the slot is unknown, has no such call, or hosts no model.
        """
        state = self._states.get(slot_id or "")
        if state is None or key not in state.running:
            return None
        self._unindex(state)
        del state.running[key]
        state.calls -= 1
        if not state.calls:
            self._decrement_busy(state.slot)
            self._mark_free(state.slot)
        self._index(state)
        return state.model

    # -- placement -------------------------------------------------------------------------

    def free(self) -> list[str]:
        """Return the free slots, the longest idle first."""
        return list(self._free)

    def empty(self) -> list[str]:
        """Return the free slots without a model."""
        return [slot_id for slot_id in self._free if self._states[slot_id].model is None]

    def free_unsaturated(self) -> list[str]:
        """Return the free slots of devices that are not saturated."""
        return [slot_id for device in self._unsaturated for slot_id in self._free_on[device]]

    def any_free(self) -> bool:
        """Return whether any slot is free."""
        return bool(self._free)

    def saturated(self, slot_id: str) -> bool:
        """Return whether ``width`` or more slots of the slot's device are busy."""
        slot = self._states[slot_id].slot
        return self.busy[slot.device] >= slot.width

    def speed(self, slot_id: str) -> float:
        """Return a busy slot's share of full speed, in (0, 1], given its device's busy slots."""
        slot = self._states[slot_id].slot
        return min(1.0, slot.width / max(1, self.busy[slot.device]))

    def drain(self, slot_id: str) -> None:
        """Give a slot no more calls, to load another model there."""
        state = self._states[slot_id]
        self._unindex(state)
        state.draining = True
        self._draining[slot_id] = None
        self._expired.pop(slot_id, None)

    def draining(self) -> int:
        """Return the number of draining slots."""
        return len(self._draining)

    def resume(self, keep: int) -> list[str | None]:
        """End the draining of all slots but the first ``keep``; return their models."""
        states = [self._states[slot_id] for slot_id in list(self._draining)[keep:]]
        for state in states:
            del self._draining[state.slot.slot_id]
            state.draining = False
            self._index(state)
        return [state.model for state in states]

    def first_expired(self) -> str | None:
        """Return the first slot whose model has used up its time slice, or None."""
        return next(iter(self._expired), None)

    def busy_replica(self) -> str | None:
        """Return the slot to drain in favour of another model, among the model with most slots.

        Returns:
            The busy slot with the most service since its load; None if fewer than two slots of the
            model are busy and not draining.
        """
        model = max(self._hosts, key=lambda m: len(self._hosts[m]), default=None)
        if model is None or len(self._hosts[model]) < 2:
            return None
        states = [self._states[slot_id] for slot_id in self._hosts[model]]
        busy = [s for s in states if s.calls and not s.draining]
        return max(busy, key=lambda s: s.service).slot.slot_id if len(busy) > 1 else None

    # -- indexes ---------------------------------------------------------------------------

    def _mark_busy(self, slot: Slot) -> None:
        self.busy[slot.device] += 1
        self._unmark_free(slot)

    def _decrement_busy(self, slot: Slot) -> None:
        self.busy[slot.device] -= 1
        if not self.busy[slot.device]:
            del self.busy[slot.device]

    def _mark_free(self, slot: Slot) -> None:
        self._free[slot.slot_id] = None
        self._free_on.setdefault(slot.device, {})[slot.slot_id] = None
        self._update_unsaturated(slot)

    def _unmark_free(self, slot: Slot) -> None:
        self._free.pop(slot.slot_id, None)
        on_device = self._free_on.get(slot.device)
        if on_device is not None:
            on_device.pop(slot.slot_id, None)
            if not on_device:
                del self._free_on[slot.device]
        self._update_unsaturated(slot)

    def _update_unsaturated(self, slot: Slot) -> None:
        if slot.device in self._free_on and self.busy[slot.device] < slot.width:
            self._unsaturated[slot.device] = None
        else:
            self._unsaturated.pop(slot.device, None)

    def _unhost(self, state: _Occupancy) -> None:
        """Empty a slot without calls."""
        if state.model is not None:
            hosts = self._hosts[state.model]
            del hosts[state.slot.slot_id]
            if not hosts:
                del self._hosts[state.model]
                self._with_room.pop(state.model, None)
        state.model = None

    def _index(self, state: _Occupancy) -> None:
        """Enter a slot among the slots with room, if the slot has room."""
        if state.draining or state.loading or state.calls >= self.window:
            return
        levels = self._with_room.get(state.model)
        if levels is None:
            levels = self._with_room[state.model] = [{} for _ in range(self.window)]
        levels[state.calls][state.slot.slot_id] = None

    def _unindex(self, state: _Occupancy) -> None:
        levels = self._with_room.get(state.model)
        if levels is not None and state.calls < self.window:
            levels[state.calls].pop(state.slot.slot_id, None)
