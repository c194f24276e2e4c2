"""The Ray executor: a worker per slot, pinned to its node. Images travel as object references."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from segtransfer.experiment.provenance import code_hash
from segtransfer.experiment.runtime_spec import Fleet
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
from segtransfer.runtime.executors.ray.allocation import SlotAllocator
from segtransfer.runtime.executors.ray.nodes import (
    NO_NODES,
    NodeCapacity,
    alive_nodes,
    ask_autoscaler,
)
from segtransfer.runtime.executors.ray.slot import (
    WORKER_DEATHS,
    PendingCall,
    PendingLoad,
    RaySlot,
    in_short,
)
from segtransfer.runtime.executors.ray.worker import RemoteFailure
from segtransfer.store import Store
from segtransfer.tasks.data.shards import Shard

log = logging.getLogger(__name__)

PING_EVERY = 10.0  # seconds between pings of a worker
PING_TIMEOUT = 60.0  # seconds without an answer after which a worker counts as dead
START_WITHIN = 300.0  # seconds for a new worker to answer its first ping
NODES_EVERY = 3.0  # seconds between updates of the cluster's nodes
LONGEST_POLL = 0.5  # seconds; longer waits for references would delay pings
LOAD_WITHIN = 1800.0  # seconds to load a model, which may come over the network
MOST_DEATHS = 5  # dead workers in a row, without a finished call, that remove a slot
MOST_LOAD_DEATHS = 3  # dead workers in a row, during loads of a model, that refuse the model


class RayExecutor:
    """Workers on the nodes of the cluster of this process; ``Executor`` has the methods' contracts.

    Only one thread may call ``wait``; any thread may call the other methods.
    """

    interruptible = True

    def __init__(self, *, fleet: Fleet, micro_batch: int, store: str) -> None:
        self._micro_batch = micro_batch
        self._store = Store(store)
        self._allocator = SlotAllocator(fleet)
        self._slots: dict[str, RaySlot] = {}
        self._load_deaths: Counter[str] = Counter()
        self._events: list[Event] = []
        self._opened = False
        self._closed = False
        self._next_update = 0.0
        self._budget = 2**30
        self._lock = threading.RLock()

    # -- calls of the driver ---------------------------------------------------------------

    def open(self, models: int, sources: int = 0, peaks: Sequence[int] = ()) -> None:
        """Open slots on all nodes, and request missing nodes; see ``Executor.open``."""
        with self._lock:
            self._opened = True
            self._allocator.expect(models, sources, peaks)
            nodes = alive_nodes()
            self._add_slots(nodes, everywhere=True)
            self._allocator.request_missing(nodes)

    def starting(self) -> bool:
        """Return whether any slot has never been up."""
        with self._lock:
            return any(not slot.was_up for slot in self._slots.values())

    def awaited(self) -> str:
        """Return a phrase for the requested nodes; empty if none are requested."""
        with self._lock:
            return self._allocator.awaited()

    def budget(self) -> int:
        """Return a third of the cluster's object store, which holds labels and copies, too."""
        try:
            resources = ray.cluster_resources()
        except Exception as error:  # The head may be restarting. The last answer holds.
            log.warning("the size of Ray's object store could not be read: %s", error)
        else:
            self._budget = int(resources.get("object_store_memory", 0.0) / 3)
        return self._budget

    def host(self, slot_id: str, model: str, served: Served) -> None:
        """Begin to load a model on a slot; a slot that is down is ignored."""
        with self._lock:
            if slot := self._slot_up(slot_id):
                slot.host(model, served)

    def put(self, array: np.ndarray) -> Any:
        """Store an array in the cluster's object store, and return its reference."""
        return ray.put(array)

    def fetch(self, handle: Any) -> np.ndarray:
        """Return the array of an object reference, copied to this node.

        Raises:
            LostError: The array is lost with its worker or node.
        """
        try:
            return ray.get(handle)
        except RayError as error:
            raise LostError(f"AEs were lost: {in_short(error)}") from None

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        """Queue a call on a slot; a slot that is down is ignored."""
        with self._lock:
            if slot := self._slot_up(slot_id):
                slot.start(task, shard, images, labels)

    def cancel(self, key: str) -> None:
        """Cancel the call of a task, running or queued."""
        with self._lock:
            for slot in self._slots.values():
                for call in slot.calls:
                    if call.key == key:
                        ray.cancel(call.answer)

    def recreate(self, slot_id: str) -> None:
        """Replace the worker of a slot that is up; a slot of too many deaths is given up."""
        with self._lock:
            if slot := self._slot_up(slot_id):
                self._count_death(slot, "its call exceeded the deadline")
                self._replace_worker(slot, f"the worker of slot {slot_id} is replaced")

    def wait(self, timeout: float) -> list[Event]:
        """Return the events since the last call, and replace dead or silent workers meanwhile.

        Returns:
            An empty list after ``timeout`` seconds without an event, and after ``close``.
        """
        give_up = time.monotonic() + timeout
        while not self._closed:
            with self._lock:
                self._supervise()
            left = give_up - time.monotonic()
            if not self._events:
                self._await_answers(max(0.0, min(LONGEST_POLL, left)))
            if self._events or left <= 0:
                break
        with self._lock:
            events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Kill all workers, and withdraw the request for nodes."""
        with self._lock:
            self._closed = True
            for slot in self._slots.values():
                ray.kill(slot.worker)
            self._slots.clear()
            self._events.clear()
            # Always, because an earlier process of this driver may have made a request, too.
            ask_autoscaler(NO_NODES)

    # -- slots and their workers -----------------------------------------------------------

    def _slot_up(self, slot_id: str) -> RaySlot | None:
        """Return a slot, or None if it is down, of which an event will notify the driver."""
        slot = self._slots.get(slot_id)
        return slot if slot is not None and slot.up else None

    def _add_slots(self, nodes: list[NodeCapacity], *, everywhere: bool) -> None:
        """Start workers on new slots, on all nodes or only on nodes that joined."""
        current = Counter(slot.node_id for slot in self._slots.values())
        for slot in self._allocator.allocate(nodes, current, everywhere=everywhere):
            self._slots[slot.slot_id] = slot
            slot.new_worker(self._micro_batch, self._store)
        if not self._slots:
            log.warning("no node of the cluster has cores or GPUs for a slot; waiting for a node")

    def _handle_death(self, slot: RaySlot, message: str) -> None:
        """Replace a dead worker; its running call fails, because it may be the cause of death."""
        self._update_nodes()
        if slot.slot_id not in self._slots:
            return
        self._fail_running_call(slot, message)
        self._count_death(slot, message)
        self._replace_worker(slot, message)

    def _fail_running_call(self, slot: RaySlot, message: str) -> None:
        if slot.calls:
            self._events.append(Failed(slot.calls[0].key, "infrastructure", message))

    def _count_death(self, slot: RaySlot, message: str) -> None:
        """Count a death of a slot's worker, and refuse a model whose loads killed too many."""
        slot.deaths += 1
        load = slot.load
        if load is None:
            return
        self._load_deaths[load.model] += 1
        if self._load_deaths[load.model] >= MOST_LOAD_DEATHS:
            why = (
                f"{self._load_deaths[load.model]} workers in a row died during its load; the "
                f"last: {message}"
            )
            self._events.append(Refused(slot.slot_id, load.model, why))

    def _replace_worker(self, slot: RaySlot, message: str, *, final: bool = False) -> None:
        """Report that a slot lost its worker, and start another unless the slot is given up."""
        slot_id = slot.slot_id
        if not final and slot.deaths >= MOST_DEATHS:
            final = True
            message = f"slot {slot_id} lost {slot.deaths} workers in a row; the last: {message}"
        if slot.up or final:
            self._events.append(SlotDown(slot_id, final, message))
        log.info("slot %s: %s", slot_id, message)
        if final:
            ray.kill(slot.worker)
            del self._slots[slot_id]
        else:
            slot.new_worker(self._micro_batch, self._store)

    # -- supervision -----------------------------------------------------------------------

    def _supervise(self) -> None:
        """Update the nodes when due, send pings, and replace workers past a time limit."""
        now = time.monotonic()
        if now >= self._next_update and self._opened:
            self._update_nodes()
        pinged = {s.ping: s for s in self._slots.values() if s.up and s.ping is not None}
        for reference in _ready_references(pinged, 0.0):
            self._handle_ping(pinged[reference])
        for slot in list(self._slots.values()):
            if slot.load is not None and now - slot.load.since > LOAD_WITHIN:
                message = f"the worker did not load its model within {LOAD_WITHIN:.0f} s"
                self._handle_death(slot, message)
                continue
            silent = now - slot.pinged
            if slot.ping is None:
                if silent > PING_EVERY:
                    slot.send_ping()
            elif silent > (PING_TIMEOUT if slot.up else START_WITHIN):
                if not slot.up:
                    # A worker without cores of its own can start even if all cores are taken.
                    slot.resources = {**slot.resources, "num_cpus": 0}
                self._handle_death(slot, f"the worker of slot {slot.slot_id} does not answer pings")

    def _update_nodes(self) -> None:
        """Remove slots of dead nodes, and add slots on nodes that joined."""
        self._next_update = time.monotonic() + NODES_EVERY
        try:
            nodes = alive_nodes()
        except Exception as error:  # The head may be restarting. Workers work without it.
            log.warning("the cluster's nodes could not be listed: %s", error)
            return
        alive = {node.node_id for node in nodes}
        for slot in list(self._slots.values()):
            if slot.node_id not in alive:
                message = f"the node of slot {slot.slot_id} died"
                self._fail_running_call(slot, message)
                self._replace_worker(slot, message, final=True)
        if self._allocator.nodes_changed(nodes):
            self._add_slots(nodes, everywhere=False)
        self._allocator.request_missing(nodes)

    # -- answers ---------------------------------------------------------------------------

    def _await_answers(self, timeout: float) -> None:
        """Wait for the answer of any slot, and handle all answers that are ready."""
        with self._lock:
            awaited = {slot.awaited(): slot for slot in self._slots.values()}
        awaited.pop(None, None)
        if not awaited:
            time.sleep(timeout)
        for reference in _ready_references(awaited, timeout):
            with self._lock:
                self._handle_answer(awaited[reference])

    def _handle_answer(self, slot: RaySlot) -> None:
        """Handle the awaited answer of a slot."""
        if slot.slot_id not in self._slots:
            return  # removed with its node while another slot's answer was handled
        if not slot.up:
            self._handle_ping(slot)
        elif slot.load is not None:
            self._handle_load(slot, slot.load)
        elif slot.calls:
            self._handle_call(slot, slot.calls[0])

    def _handle_ping(self, slot: RaySlot) -> None:
        """Handle the answer of a ping; the first answer brings the slot up."""
        reference, slot.ping = slot.ping, None
        try:
            _, code = ray.get(reference)
        except RayError as error:
            # A load or call under way fails, too, and its error names the cause.
            if not slot.up or slot.awaited() is None:
                self._handle_death(slot, in_short(error))
            return
        if slot.up:
            return
        if code != code_hash():
            message = (
                f"slot {slot.slot_id} is removed, because its node has other code of segtransfer "
                "than the driver. Install the same wheel or image on every node."
            )
            self._replace_worker(slot, message, final=True)
        else:
            slot.up = slot.was_up = True
            self._events.append(SlotUp(slot.share))

    def _handle_load(self, slot: RaySlot, load: PendingLoad) -> None:
        answer = load.result()
        if isinstance(answer, RemoteFailure) and answer.kind != "task":
            self._handle_death(slot, answer.message)
            return
        slot.load, slot.deaths = None, 0
        if isinstance(answer, RemoteFailure):
            self._events.append(Refused(slot.slot_id, load.model, answer.message))
        else:
            self._load_deaths.pop(load.model, None)
            self._events.append(Hosted(slot.slot_id, load.model, answer.seconds))

    def _handle_call(self, slot: RaySlot, call: PendingCall) -> None:
        """Handle the end of a call: a result, a failed call, or the death of the worker."""
        try:
            output = call.result()
        except WORKER_DEATHS as error:
            self._handle_death(slot, in_short(error))
            return
        slot.calls.popleft()
        if isinstance(output, Output) or output.kind == "task":
            slot.deaths = 0
        if isinstance(output, Output):
            self._events.append(Finished(call.key, replace(output, images=call.made)))
            return
        self._events.append(Failed(call.key, output.kind, output.message))
        if output.kind == "poisoned":
            self._count_death(slot, "its device was lost")
            self._replace_worker(slot, f"the worker of slot {slot.slot_id} lost its device")


def _ready_references(references: Iterable[Any], timeout: float) -> list[Any]:
    """Wait for at least one reference and return all that are ready.

    ``RayExecutor.close`` ends the wait, because it kills the workers.
    """
    listed = list(references)
    if not listed:
        return []
    ready, _ = ray.wait(listed, num_returns=1, timeout=timeout, fetch_local=False)
    if ready and len(listed) > 1:
        ready, _ = ray.wait(listed, num_returns=len(listed), timeout=0, fetch_local=False)
    return ready
