"""The slots of a fleet: what each hosts, how many calls it has, which have room."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Slot:
    """A share of a device that hosts one model at a time.

    Slots of one ``device`` share its cores: more than ``width`` of them (all say the same) at work
    at once gain nothing.
    """

    slot_id: str
    device: str = "device"
    width: int = 1

    @property
    def type(self) -> str:
        """ "cuda" for a share of a GPU, as the Ray executor names it, else "cpu"."""
        return "cuda" if self.device.endswith("/gpu") else "cpu"


@dataclass(slots=True)
class _Place:
    slot: Slot
    model: str | None = None  # what it hosts, or is loading
    loading: bool = False
    load: int = 0
    served: float = 0.0  # cost of the calls since its model joined
    draining: bool = False  # takes no calls: another model needs the slot
    running: dict[str, None] = field(default_factory=dict)


class Slots:
    """All slots, indexed so that each question costs the same however many there are.

    Nothing here depends on the order of a set, so that equal histories give equal answers.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.turn = math.inf  # cost of calls after which a slot may be taken from its model
        self.busy: Counter[str] = Counter()  # device -> slots at work or loading
        self.loading = 0
        self._places: dict[str, _Place] = {}
        self._levels: dict[str | None, list[dict[str, None]]] = {}  # model -> load -> slots
        self._hosts: dict[str, dict[str, None]] = {}
        self._free: dict[str, None] = {}  # slots without a call that load nothing
        self._free_on: dict[str, dict[str, None]] = {}  # the same by device
        self._able: dict[str, None] = {}  # devices with a free slot, and something to spare
        self._draining: dict[str, None] = {}
        self._had_turn: dict[str, None] = {}

    def __contains__(self, slot_id: object) -> bool:
        return slot_id in self._places

    def __iter__(self) -> Iterator[Slot]:
        return (place.slot for place in self._places.values())

    def __len__(self) -> int:
        return len(self._places)

    def add(self, slot: Slot) -> None:
        """A slot joins, empty."""
        self._places[slot.slot_id] = _Place(slot)
        self._set_free(slot)
        self._enter(self._places[slot.slot_id])

    def remove(self, slot_id: str) -> list[str]:
        """Forget a slot; returns the keys that ran there."""
        place = self._places.pop(slot_id)
        self._leave(place)
        self._unhost(place)
        self._draining.pop(slot_id, None)
        self._had_turn.pop(slot_id, None)
        self.loading -= place.loading
        if place.load or place.loading:
            self._rest(place.slot)
        self._take(place.slot)
        return list(place.running)

    # -- models ----------------------------------------------------------------------------

    def load(self, slot_id: str, model: str) -> None:
        """The slot, without a call, begins to load a model in place of what it hosts."""
        place = self._places[slot_id]
        self._leave(place)
        self._unhost(place)
        self._hosts.setdefault(model, {})[slot_id] = None
        self._draining.pop(slot_id, None)
        self._had_turn.pop(slot_id, None)
        self.loading += 1
        self._work(place.slot)
        place.model, place.loading, place.served, place.draining = model, True, 0.0, False

    def loaded(self, slot_id: str, *, refused: bool = False) -> None:
        """Loading is over; a refused model leaves the slot empty."""
        place = self._places[slot_id]
        if not place.loading:
            return
        if refused:
            self._unhost(place)
        place.loading = False
        self.loading -= 1
        self._rest(place.slot)
        self._set_free(place.slot)
        self._enter(place)

    def model(self, slot_id: str) -> str | None:
        return self._places[slot_id].model

    def is_loading(self, slot_id: str) -> bool:
        return self._places[slot_id].loading

    def hosts(self, model: str) -> int:
        """How many slots host a model or are loading it."""
        return len(self._hosts[model]) if model in self._hosts else 0

    def coming(self, model: str) -> int:
        """How many slots are loading a model."""
        return sum(self._places[slot_id].loading for slot_id in self._hosts.get(model, ()))

    # -- calls -----------------------------------------------------------------------------

    def with_room(
        self, model: str | None, unless: str | None = None, *, empty: bool = True
    ) -> str | None:
        """Of the slots that host ``model`` (None: of all, with or without the ``empty``), but for
        ``unless``, one with the fewest calls and room for another."""
        if model is not None:
            known = [self._levels.get(model, ())]
        else:
            known = [levels for host, levels in self._levels.items() if empty or host is not None]
        for load in range(self.window):
            for levels in known:
                for slot_id in levels[load] if levels else ():
                    if slot_id != unless:
                        return slot_id
        return None

    def others(self, model: str | None, slot_id: str) -> bool:
        """Whether another slot hosts the model too (None: whether there is another)."""
        hosts = self._places if model is None else self._hosts.get(model, {})
        return len(hosts) > (slot_id in hosts)

    def begin(self, slot_id: str, key: str, cost: float) -> None:
        place = self._places[slot_id]
        self._leave(place)
        if not place.load:
            self._work(place.slot)
        place.load += 1
        place.served += cost
        if place.served >= self.turn:
            self._had_turn[slot_id] = None
        place.running[key] = None
        self._enter(place)

    def end(self, slot_id: str | None, key: str) -> str | None:
        """A call is over; returns the model of the slot that now has room."""
        place = self._places.get(slot_id or "")
        if place is None or key not in place.running:
            return None
        self._leave(place)
        del place.running[key]
        place.load -= 1
        if not place.load:
            self._rest(place.slot)
            self._set_free(place.slot)
        self._enter(place)
        return place.model

    # -- placement -------------------------------------------------------------------------

    def free(self) -> list[str]:
        """Slots without a call that load nothing, in order of idling."""
        return list(self._free)

    def empty(self) -> list[str]:
        """Those of them that host nothing."""
        return [slot_id for slot_id in self._free if self._places[slot_id].model is None]

    def free_and_able(self) -> list[str]:
        """Free slots of devices that are not saturated."""
        return [slot_id for device in self._able for slot_id in self._free_on[device]]

    def any_free(self) -> bool:
        return bool(self._free)

    def saturated(self, slot_id: str) -> bool:
        """Whether the slot's device has as many slots at work as it can make use of."""
        slot = self._places[slot_id].slot
        return self.busy[slot.device] >= slot.width

    def drain(self, slot_id: str) -> None:
        """Give the slot no more calls, so that another model can have it."""
        place = self._places[slot_id]
        self._leave(place)
        place.draining = True
        self._draining[slot_id] = None
        self._had_turn.pop(slot_id, None)

    def draining(self) -> int:
        return len(self._draining)

    def resume(self, keep: int) -> list[str | None]:
        """Let draining slots, but for ``keep``, take calls again; returns their models."""
        places = [self._places[slot_id] for slot_id in list(self._draining)[keep:]]
        for place in places:
            del self._draining[place.slot.slot_id]
            place.draining = False
            self._enter(place)
        return [place.model for place in places]

    def had_turn(self) -> str | None:
        """A slot whose model has had it for long enough."""
        return next(iter(self._had_turn), None)

    def spare(self) -> str | None:
        """A slot at work of the model that has most slots, where that is more than one."""
        model = max(self._hosts, key=lambda m: len(self._hosts[m]), default=None)
        if model is None or len(self._hosts[model]) < 2:
            return None
        places = [self._places[slot_id] for slot_id in self._hosts[model]]
        at_work = [p for p in places if p.load and not p.draining]
        return max(at_work, key=lambda p: p.served).slot.slot_id if len(at_work) > 1 else None

    def _work(self, slot: Slot) -> None:
        """The slot, which was free, is at work from now on."""
        self.busy[slot.device] += 1
        self._take(slot)

    def _rest(self, slot: Slot) -> None:
        """The slot is no longer at work."""
        self.busy[slot.device] -= 1
        if not self.busy[slot.device]:
            del self.busy[slot.device]

    def _take(self, slot: Slot) -> None:
        self._free.pop(slot.slot_id, None)
        mates = self._free_on.get(slot.device)
        if mates is not None:
            mates.pop(slot.slot_id, None)
            if not mates:
                del self._free_on[slot.device]
        self._review(slot)

    def _set_free(self, slot: Slot) -> None:
        self._free[slot.slot_id] = None
        self._free_on.setdefault(slot.device, {})[slot.slot_id] = None
        self._review(slot)

    def _review(self, slot: Slot) -> None:
        if slot.device in self._free_on and self.busy[slot.device] < slot.width:
            self._able[slot.device] = None
        else:
            self._able.pop(slot.device, None)

    def _unhost(self, place: _Place) -> None:
        """The slot, which takes no calls, hosts nothing any more."""
        if place.model is not None:
            hosts = self._hosts[place.model]
            del hosts[place.slot.slot_id]
            if not hosts:
                del self._hosts[place.model]
                self._levels.pop(place.model, None)
        place.model = None

    def _enter(self, place: _Place) -> None:
        if place.draining or place.loading or place.load >= self.window:
            return
        levels = self._levels.get(place.model)
        if levels is None:
            levels = self._levels[place.model] = [{} for _ in range(self.window)]
        levels[place.load][place.slot.slot_id] = None

    def _leave(self, place: _Place) -> None:
        levels = self._levels.get(place.model)
        if levels is not None and place.load < self.window:
            levels[place.load].pop(place.slot.slot_id, None)
