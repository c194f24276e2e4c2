"""Recovery from failures, as the failure table says."""

import time

from segtransfer.experiment.task import Task
from segtransfer.runtime.committer import Committer
from segtransfer.runtime.event_log import DRIVER_LOG, log_event
from segtransfer.runtime.executors.base import Failed, LostError, Refused
from segtransfer.runtime.failures import FAILURES, FailureCause, cause_of
from segtransfer.runtime.in_flight import InFlightCall, InFlightCalls
from segtransfer.runtime.input_cache import InputCache
from segtransfer.runtime.scheduler import Scheduler
from segtransfer.runtime.slot_supply import SlotSupply
from segtransfer.runtime.task_registry import TaskRegistry


class Recovery:
    """Carries out the actions of the failure table; all methods need the driver's lock."""

    def __init__(
        self,
        scheduler: Scheduler,
        calls: InFlightCalls,
        registry: TaskRegistry,
        supply: SlotSupply,
        committer: Committer,
        cache: InputCache,
    ) -> None:
        self._scheduler = scheduler
        self._calls = calls
        self._registry = registry
        self._supply = supply
        self._committer = committer
        self._cache = cache
        self._unloadable: dict[str, str] = {}  # model -> reason why no slot hosts it

    def apply(self, cause: FailureCause, task: Task, message: str, slot_id: str = "") -> None:
        """Carry out the action for a failed task.

        Args:
            cause: The row of the failure table.
            task: The task that failed.
            message: The reason, for clients and the store.
            slot_id: The slot of the task's call, if its worker may have to be recreated.

        Raises:
            OSError: If the failed row cannot be written to a local store.
        """
        action = FAILURES[cause]
        if action.recompute_dependency:
            self._recompute_dependency(task)
            return
        if action.reload_inputs and task.depends_on:
            self._cache.forget_images(task.depends_on)
        self._registry.fail(task, message, retry=action.retry)
        if action.recreate_worker:
            self._supply.recreate(slot_id, message)

    def call_failed(self, event: Failed, call: InFlightCall) -> None:
        """Recover from a failed call that an executor reports.

        Args:
            event: The report.
            call: The call, which has ended.
        """
        message, slot = event.message, call.slot_id
        log_event(DRIVER_LOG, event.kind, key=call.task.key, slot=slot, message=message)
        self.apply(event.kind, call.task, message)

    def store_failed(self, error: LostError | OSError, task: Task) -> None:
        """Recover from an error raised while a task's inputs are read or its result committed.

        Args:
            error: The error.
            task: The task.

        Raises:
            OSError: If the table says that the error ends the driver.
        """
        cause = cause_of(error, remote=self._committer.remote)
        if FAILURES[cause].stop_driver:
            raise error
        self.apply(cause, task, str(error))

    def end_late_calls(self) -> None:
        """End calls past their deadline: replace the worker, and retry the task on another slot.

        Raises:
            OSError: If the failed row of a last attempt cannot be written to a local store.
        """
        for call in self._calls.late(time.monotonic(), self._scheduler.slots):
            message = (
                f"a call on slot {call.slot_id} took {call.seconds:.0f} s, past its deadline of "
                f"{call.deadline:.0f} s; the slot gets a new worker"
            )
            self._calls.end(call.task.key, time.monotonic(), failed=True)
            self.apply("deadline", call.task, message, call.slot_id)

    def model_refused(self, event: Refused) -> None:
        """Fail the tasks of a model that a slot could not load, unless another slot hosts it.

        Args:
            event: The report of the slot.
        """
        self._scheduler.refused(event.slot_id, event.model)
        name = self._registry.model_name(event.model)
        log_event(DRIVER_LOG, "refused", slot=event.slot_id, model=name, message=event.message)
        if not self._scheduler.slots.hosts(event.model):
            message = f"model '{name}' could not be loaded: {event.message}"
            self._unloadable[event.model] = message
            self._fail_model(event.model)

    def allow(self, model: str) -> None:
        """Let slots load a model again that failed for another client.

        Args:
            model: The model's key.
        """
        self._unloadable.pop(model, None)

    def _recompute_dependency(self, score: Task) -> None:
        """Compute the stored AEs of an evaluation again, even if no client asked for them."""
        attack = str(score.depends_on)
        if attack not in self._registry.tasks:
            message = f"the stored AEs of {attack} are damaged, and no client submitted the attack"
            self._registry.fail(score, message, retry=False)
            return
        DRIVER_LOG.warning("the stored AEs of %s are damaged and are computed again", attack)
        self._committer.discard(attack)
        self._registry.recompute(attack)
        model = self._registry.tasks[attack].model
        if model in self._unloadable:
            self._fail_model(model)

    def _fail_model(self, model: str) -> None:
        self._registry.end(self._scheduler.model_lost(model), self._unloadable[model])
