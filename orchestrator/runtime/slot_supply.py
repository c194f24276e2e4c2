"""The supply of slots: joining and lost slots, and the driver's wait for slots."""

import time

from segtransfer.runtime.event_log import DRIVER_LOG, log_event
from segtransfer.runtime.executors.base import Executor
from segtransfer.runtime.in_flight import InFlightCalls
from segtransfer.runtime.scheduler import Scheduler, Slot
from segtransfer.runtime.sessions import Notice, Sessions
from segtransfer.runtime.task_registry import TaskRegistry

# Work begins when every slot is warm, because a computing slot would take the cores of its machine
# from a loading slot. If slots come up one after another, work begins without the last slots.
WARM_UP_LIMIT = 60.0  # seconds
# A cluster may lose all its slots and get new ones from a cloud, which starts machines first.
SLOT_WAIT = 600.0  # seconds without any slot after which tasks fail
# The same if nodes were requested. A cloud may be short of GPUs, or slow to boot nodes and to fetch
# an image of many GB.
NODE_WAIT = 3600.0  # seconds


class SlotSupply:
    """Follows the slots of an executor, and decides when to begin work and when to give up.

    All methods need the driver's lock. Times are seconds of the monotonic clock.

    Args:
        executor: Opens slots and requests nodes.
        scheduler: Gets the slots.
        calls: Calls under way, which a lost slot drops.
        registry: Tasks of the calls.
        sessions: Clients, which are notified of slots.
        auto_budget: Set the scheduler's byte budget from the executor with every new slot.
    """

    def __init__(
        self,
        executor: Executor,
        scheduler: Scheduler,
        calls: InFlightCalls,
        registry: TaskRegistry,
        sessions: Sessions,
        *,
        auto_budget: bool,
    ) -> None:
        self._executor = executor
        self._scheduler = scheduler
        self._calls = calls
        self._registry = registry
        self._sessions = sessions
        self._auto_budget = auto_budget
        self._returning: set[str] = set()  # slots that are down and come up again
        self._work_begun = False
        self._warm_up_end: float | None = None
        self._slotless_since: float | None = None
        self._announced_nodes = ""

    def add(self, slot: Slot) -> None:
        """Add a slot at its start, and notify all clients."""
        self._returning.discard(slot.slot_id)
        self._scheduler.add_slot(slot)
        if self._auto_budget:
            self._scheduler.in_flight_bytes = self._executor.budget()
        self._sessions.notify_all(Notice("slot", time.time(), message=f"{slot.slot_id} is up"))
        log_event(DRIVER_LOG, "slot up", slot=slot.slot_id)

    def remove(self, slot_id: str, *, final: bool, message: str) -> None:
        """Remove a slot that lost its worker, with its calls, and notify all clients.

        Args:
            slot_id: The slot.
            final: Whether the slot is lost for good. Otherwise the slot comes up again, empty.
            message: The reason.
        """
        (self._returning.discard if final else self._returning.add)(slot_id)
        dropped = self._calls.drop_slot(slot_id)
        self._scheduler.remove_slot(slot_id)
        self._registry.forget(dropped)
        text = message if slot_id in message else f"slot {slot_id}: {message}"
        self._sessions.notify_all(Notice("slot", time.time(), message=text))
        log_event(DRIVER_LOG, "slot down", slot=slot_id, final=final, message=message)

    def recreate(self, slot_id: str, message: str) -> None:
        """Remove a slot, and have the executor give it a new worker.

        Args:
            slot_id: The slot.
            message: The reason.
        """
        self.remove(slot_id, final=False, message=message)
        self._executor.recreate(slot_id)

    def begin_work(self) -> None:
        """Record the start of the first call, after which no warm-up delays work."""
        self._work_begun = True

    def warming_up(self, now: float) -> bool:
        """Return whether work waits for all workers to start and all their models to load.

        The wait ends ``WARM_UP_LIMIT`` seconds after the first slot is up.

        Args:
            now: Time in seconds.
        """
        if self._work_begun:
            return False
        if self._warm_up_end is None and len(self._scheduler.slots):
            self._warm_up_end = now + WARM_UP_LIMIT
        waiting = self._executor.starting() or self._scheduler.slots.loading
        return bool(waiting) and (self._warm_up_end is None or now < self._warm_up_end)

    def restart_wait(self) -> None:
        """Start a new wait for slots, with new announcements of requested nodes."""
        self._slotless_since, self._announced_nodes = None, ""

    def shortage(self, now: float) -> str:
        """Return whether no slot came up in time; requested nodes are announced once per wait.

        Args:
            now: Time in seconds.

        Returns:
            The reason to fail all tasks, or an empty string while a slot is up or may come up.
        """
        hopeful = len(self._scheduler.slots) or self._returning or self._executor.starting()
        if hopeful or not self._sessions.waiting():
            self.restart_wait()
            return ""
        self._slotless_since = self._slotless_since or now
        nodes = self._executor.awaited()
        limit = NODE_WAIT if nodes else SLOT_WAIT
        if nodes != self._announced_nodes:
            self._announce(nodes, limit)
        if now - self._slotless_since <= limit:
            return ""
        requested = f", although nodes were requested ({nodes})" if nodes else ""
        return f"no slot was up for {limit:.0f} s{requested}"

    def _announce(self, nodes: str, limit: float) -> None:
        self._announced_nodes = nodes
        if nodes:
            message = (
                f"no slot is up; nodes were requested from the cluster ({nodes}), waiting up to "
                f"{limit / 60:.0f} minutes for them"
            )
            self._sessions.notify_all(Notice("slot", time.time(), message=message))
            log_event(DRIVER_LOG, "nodes awaited", nodes=nodes)
