"""The Ray executor: one worker a slot, pinned to its node; images travel as object references."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace as changed
from typing import Any

import numpy as np
import ray
from ray.exceptions import (
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

from segtransfer.experiment.provenance import code_hash
from segtransfer.experiment.spec import Fleet
from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import (
    Event,
    Failed,
    Finished,
    Hosted,
    LostError,
    Output,
    Refused,
    Served,
    SlotDown,
    SlotUp,
)
from segtransfer.runtime.executors.ray.nodes import (
    NO_NODES,
    Node,
    NodeRequest,
    ask_autoscaler,
    count_slots,
    living_nodes,
    missing_resources,
    resources_of_worker,
    share_gpus,
)
from segtransfer.runtime.executors.ray.slot import PendingCall, PendingLoad, RaySlot, in_short
from segtransfer.runtime.executors.ray.worker import Broken, Loaded
from segtransfer.runtime.executors.slot_sizing import pick_slots_per_gpu
from segtransfer.runtime.scheduler import Slot
from segtransfer.store import Store
from segtransfer.tasks.data.shards import Shard

log = logging.getLogger(__name__)

PING_EVERY = 10.0  # seconds between pings of a worker
SILENCE = 60.0  # seconds without an answer after which a worker counts as dead
START_WITHIN = 300.0  # seconds for a new worker to answer at all
NODES_EVERY = 3.0  # seconds between looks at the cluster's nodes
PAUSE = 0.5  # seconds that one look at references lasts at most, so that the rest is not late
LOAD_WITHIN = 1800.0  # seconds that a model may take to load: it may come over the network
MOST_DEATHS = 5  # of a slot's workers in a row, none of which finished anything
MOST_LOAD_DEATHS = 3  # of workers in a row that were loading one model
DEAD = (RayActorError, WorkerCrashedError, OutOfMemoryError)


class RayExecutor:
    """Workers on the nodes of the cluster that this process is connected to.

    Any thread may call, but only one of them ``wait``.
    """

    interruptible = True

    def __init__(self, *, fleet: Fleet, micro_batch: int, store: str) -> None:
        self._fleet = fleet
        self._micro_batch = micro_batch
        self._store = store if Store(store).remote else None
        self._seats: dict[str, RaySlot] = {}
        self._numbers: Counter[str] = Counter()  # node -> slots it ever got
        self._nodes: set[str] = set()
        self._per_gpu: int | None = None
        self._models, self._sources = 0, 0
        self._peaks: Sequence[int] = ()
        self._load_deaths: Counter[str] = Counter()
        self._request = NodeRequest()
        self._events: list[Event] = []
        self._next_look = 0.0
        self._budget = 2**30
        self._closed = False
        self._lock = threading.RLock()

    # -- what the driver asks for ----------------------------------------------------------

    def open(self, models: int, sources: int = 0, peaks: Sequence[int] = ()) -> None:
        with self._lock:
            self._peaks = peaks
            self._models = max(self._models, models, 1)
            self._sources = max(self._sources, sources)
            nodes = living_nodes()
            self._add_slots(nodes, everywhere=True)
            self._ask_for_nodes(nodes)

    def starting(self) -> bool:
        with self._lock:
            return any(not seat.known for seat in self._seats.values())

    def awaited(self) -> str:
        with self._lock:
            return str(self._request)

    def budget(self) -> int:
        """A third of the cluster's object store: images, labels and copies take room there too."""
        try:
            resources = ray.cluster_resources()
        except Exception as error:  # the head may be restarting: what was true is good enough
            log.warning("the cluster's memory could not be asked for: %s", error)
        else:
            self._budget = int(resources.get("object_store_memory", 0.0) / 3)
        return self._budget

    def host(self, slot_id: str, model: str, served: Served) -> None:
        with self._lock:
            if seat := self._ready(slot_id):
                seat.host(model, served)

    def put(self, array: np.ndarray) -> Any:
        return ray.put(array)

    def fetch(self, handle: Any) -> np.ndarray:
        try:
            return ray.get(handle)
        except RayError as error:
            raise LostError(f"images were lost: {in_short(error)}") from None

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        with self._lock:
            if seat := self._ready(slot_id):
                seat.start(task, shard, images, labels)

    def cancel(self, key: str) -> None:
        with self._lock:
            for seat in self._seats.values():
                for call in seat.calls:
                    if call.key == key:
                        ray.cancel(call.answer)

    def recreate(self, slot_id: str) -> None:
        with self._lock:
            if seat := self._ready(slot_id):
                self._count_death(seat, "it took too long")
                self._replace(seat, f"the worker of slot {slot_id} is replaced")

    def wait(self, timeout: float) -> list[Event]:
        give_up = time.monotonic() + timeout
        while not self._closed:
            with self._lock:
                self._look_after()
            left = give_up - time.monotonic()
            if not self._events:
                self._listen(max(0.0, min(PAUSE, left)))
            if self._events or left <= 0:
                break
        with self._lock:
            events, self._events = self._events, []
        return events

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for seat in self._seats.values():
                ray.kill(seat.worker)
            self._seats.clear()
            self._events.clear()
            # Whatever this life of the driver asked for: one before may have asked too.
            ask_autoscaler(NO_NODES)

    # -- slots and their workers -----------------------------------------------------------

    def _ready(self, slot_id: str) -> RaySlot | None:
        """The slot, None where it is not up: the driver is about to hear so, and asks again."""
        seat = self._seats.get(slot_id)
        return seat if seat is not None and seat.up else None

    def _add_slots(self, nodes: list[Node], *, everywhere: bool) -> None:
        """Give nodes the slots they lack: all nodes, or those that joined."""
        if self._per_gpu is None and any(node.gpus for node in nodes):
            self._per_gpu = share_gpus(self._fleet, nodes, self._models, self._peaks)
        per_gpu = self._slots_per_gpu()
        counts = count_slots(self._fleet, nodes, self._models, self._sources, per_gpu)
        have = Counter(seat.node_id for seat in self._seats.values())
        room = float("inf") if self._fleet.slots == "auto" else self._fleet.slots - have.total()
        for node in nodes:
            new = int(min(counts[node.node_id] - have[node.node_id], room))
            if new > 0 and (everywhere or node.node_id not in self._nodes):
                room -= new
                self._hire(node, new, counts[node.node_id], per_gpu)
        self._nodes = {node.node_id for node in nodes}
        if not self._seats:
            log.warning("no node of the cluster has cores or GPUs for a slot; waiting for one")

    def _ask_for_nodes(self, nodes: list[Node]) -> None:
        missing = missing_resources(self._fleet, nodes, self._slots_per_gpu())
        self._request.update(missing, time.monotonic())

    def _slots_per_gpu(self) -> int:
        """As decided when the first GPUs were seen; before that, the least that will share one."""
        return self._per_gpu or pick_slots_per_gpu(self._fleet, 0, self._models)

    def _hire(self, node: Node, new: int, slots: int, per_gpu: int) -> None:
        """New slots on a node, and a worker for each."""
        resources = resources_of_worker(node, new, per_gpu)
        device = f"node-{node.short}/{'gpu' if node.gpus else 'cpu'}"
        width = slots if node.gpus else max(1, int(node.cores))
        for _ in range(new):
            slot_id = f"{node.short}-{self._numbers[node.node_id]}"
            self._numbers[node.node_id] += 1
            seat = RaySlot(Slot(slot_id, device, width), node.node_id, resources)
            self._seats[slot_id] = seat
            seat.new_worker(self._micro_batch, self._store)

    def _died(self, seat: RaySlot, message: str) -> None:
        """A worker is gone: the call that it was at may be why, those behind it are not."""
        self._look_at_nodes()
        if seat.slot.slot_id not in self._seats:
            return
        if seat.calls:
            self._events.append(Failed(seat.calls[0].key, "infrastructure", message))
        self._count_death(seat, message)
        self._replace(seat, message)

    def _count_death(self, seat: RaySlot, message: str) -> None:
        seat.deaths += 1
        load = seat.load
        if load is None:
            return
        self._load_deaths[load.model] += 1
        if self._load_deaths[load.model] >= MOST_LOAD_DEATHS:
            why = (
                f"{self._load_deaths[load.model]} workers in a row were lost while loading it; "
                f"the last: {message}"
            )
            self._events.append(Refused(seat.slot.slot_id, load.model, why))

    def _replace(self, seat: RaySlot, message: str, *, final: bool = False) -> None:
        """Tell that a slot lost its worker, and start another unless the slot is given up."""
        slot_id = seat.slot.slot_id
        if not final and seat.deaths >= MOST_DEATHS:
            final = True
            message = f"slot {slot_id} lost {seat.deaths} workers in a row; the last: {message}"
        if seat.up or final:
            self._events.append(SlotDown(slot_id, final, message))
        log.info("slot %s: %s", slot_id, message)
        if final:
            ray.kill(seat.worker)
            del self._seats[slot_id]
        else:
            seat.new_worker(self._micro_batch, self._store)

    # -- what happens by itself ------------------------------------------------------------

    def _look_after(self) -> None:
        """What the clock asks for: a look at the nodes, and pings."""
        now = time.monotonic()
        if now >= self._next_look and self._models:
            self._look_at_nodes()
        pinged = {s.ping: s for s in self._seats.values() if s.up and s.ping is not None}
        for reference in self._done(pinged, 0.0):
            self._hear_ping(pinged[reference])
        for seat in list(self._seats.values()):
            if seat.load is not None and now - seat.load.since > LOAD_WITHIN:
                self._died(seat, f"it did not load a model within {LOAD_WITHIN:.0f} s")
                continue
            silent = now - seat.asked
            if seat.ping is None:
                if silent > PING_EVERY:
                    seat.send_ping()
            elif silent > (SILENCE if seat.up else START_WITHIN):
                if not seat.up:
                    # Without cores of its own a worker can start, whoever took them meanwhile.
                    seat.resources = {**seat.resources, "num_cpus": 0}
                self._died(seat, f"the worker of slot {seat.slot.slot_id} does not answer")

    def _look_at_nodes(self) -> None:
        """Take slots from nodes that died, give slots to nodes that joined."""
        self._next_look = time.monotonic() + NODES_EVERY
        try:
            nodes = living_nodes()
        except Exception as error:  # the head may be restarting; workers go on without it
            log.warning("the cluster's nodes could not be listed: %s", error)
            return
        alive = {node.node_id for node in nodes}
        for seat in list(self._seats.values()):
            if seat.node_id not in alive:
                message = f"the node of slot {seat.slot.slot_id} died"
                if seat.calls:
                    self._events.append(Failed(seat.calls[0].key, "infrastructure", message))
                self._replace(seat, message, final=True)
        if alive != self._nodes:
            self._add_slots(nodes, everywhere=False)
        self._ask_for_nodes(nodes)

    def _listen(self, timeout: float) -> None:
        """Wait until one of the slots has news, and hear it."""
        with self._lock:
            awaited = {seat.awaited(): seat for seat in self._seats.values()}
        awaited.pop(None, None)
        if not awaited:
            time.sleep(timeout)
        for reference in self._done(awaited, timeout):
            with self._lock:
                self._hear(awaited[reference])

    def _done(self, references: Iterable[Any], timeout: float) -> list[Any]:
        """Those that are there, as soon as one is; closing from another thread ends them all."""
        listed = list(references)
        if not listed:
            return []
        ready, _ = ray.wait(listed, num_returns=1, timeout=timeout, fetch_local=False)
        if ready and len(listed) > 1:
            ready, _ = ray.wait(listed, num_returns=len(listed), timeout=0, fetch_local=False)
        return ready

    # -- answers ---------------------------------------------------------------------------

    def _hear(self, seat: RaySlot) -> None:
        """What a slot's awaited reference says."""
        if seat.slot.slot_id not in self._seats:
            return  # its node died, as another slot's answer has shown
        if not seat.up:
            self._hear_ping(seat)
        elif seat.load is not None:
            self._hear_load(seat, seat.load)
        elif seat.calls:
            self._hear_call(seat, seat.calls[0])

    def _hear_ping(self, seat: RaySlot) -> None:
        """A ping's answer; the first says that a worker is there, and of what code."""
        reference, seat.ping = seat.ping, None
        try:
            _, code = ray.get(reference)
        except RayError as error:
            # What is under way fails too, and tells better which call it was that went wrong.
            if not seat.up or seat.awaited() is None:
                self._died(seat, in_short(error))
            return
        if seat.up:
            return
        if code != code_hash():
            message = (
                f"slot {seat.slot.slot_id} is given up: its node has other code of segtransfer "
                "than the driver; give every node the same wheel or image"
            )
            self._replace(seat, message, final=True)
        else:
            seat.up = seat.known = True
            self._events.append(SlotUp(seat.slot))

    def _hear_load(self, seat: RaySlot, load: PendingLoad) -> None:
        try:
            answer: Loaded | Broken = ray.get(load.answer)
        except RayTaskError as error:
            answer = Broken("task", in_short(error))
        except RayError as error:
            answer = Broken("infrastructure", in_short(error))
        if isinstance(answer, Broken) and answer.kind != "task":
            self._died(seat, answer.message)
            return
        seat.load, seat.deaths = None, 0
        if isinstance(answer, Broken):
            self._events.append(Refused(seat.slot.slot_id, load.model, answer.message))
        else:
            self._load_deaths.pop(load.model, None)
            self._events.append(Hosted(seat.slot.slot_id, load.model, answer.seconds))

    def _hear_call(self, seat: RaySlot, call: PendingCall) -> None:
        """What a call came to; a worker that died is told apart from a call that failed."""
        try:
            output: Output | Broken = ray.get(call.answer)
            if call.made is not None and self._store is None:
                # AEs may be lost with their node after their call ended; then this raises. Where
                # the worker has stored them they stay on its node: nobody here reads them.
                ray.get(call.made)
        except TaskCancelledError:
            output = Broken("cancelled", "the call was cancelled before it began")
        except RayTaskError as error:
            if isinstance(error.cause, RayError):
                output = Broken("infrastructure", f"an input was lost: {in_short(error)}")
            else:
                output = Broken("task", str(error))
        except DEAD as error:
            self._died(seat, in_short(error))
            return
        except RayError as error:
            output = Broken("infrastructure", in_short(error))
        seat.calls.popleft()
        if isinstance(output, Output) or output.kind == "task":
            seat.deaths = 0
        if isinstance(output, Output):
            self._events.append(Finished(call.key, changed(output, images=call.made)))
            return
        self._events.append(Failed(call.key, output.kind, output.message))
        if output.kind == "poisoned":
            self._count_death(seat, "its device was lost")
            self._replace(seat, f"the worker of slot {seat.slot.slot_id} lost its device")
