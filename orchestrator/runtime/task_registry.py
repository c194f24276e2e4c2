"""The tasks of all clients: how each ends, and the notices about it."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from segtransfer.experiment.task import Task
from segtransfer.runtime.committer import Committer
from segtransfer.runtime.event_log import DRIVER_LOG, log_event
from segtransfer.runtime.executors.base import Served
from segtransfer.runtime.in_flight import InFlightCall
from segtransfer.runtime.input_cache import InputCache
from segtransfer.runtime.scheduler import FINAL, Scheduler, State
from segtransfer.runtime.sessions import Notice, Sessions, Submission
from segtransfer.runtime.telemetry import Telemetry


class TaskRegistry:
    """Tasks and models of the present clients; a task is kept while a client asks for it.

    All methods need the driver's lock.

    Attributes:
        tasks: Tasks by key.
        models: Models by model key. Models are kept when their clients leave.
        retries: Number of calls that failed and were queued again.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        sessions: Sessions,
        cache: InputCache,
        committer: Committer,
        telemetry: Telemetry,
    ) -> None:
        self.tasks: dict[str, Task] = {}
        self.models: dict[str, Served] = {}
        self.retries = 0
        self._scheduler = scheduler
        self._sessions = sessions
        self._cache = cache
        self._committer = committer
        self._telemetry = telemetry

    def add(self, submission: Submission) -> None:
        """Register the tasks and models of a client.

        Args:
            submission: The tasks and models, stored tasks included.
        """
        self.tasks.update(submission.tasks)
        self.models.update(submission.models)

    def model_name(self, model: str | None) -> str:
        """Return the name of a model in its spec.

        Args:
            model: The model's key.

        Returns:
            An empty string for None and for an unknown model.
        """
        return self.models[model].spec.name if model in self.models else ""

    # -- the end of a task ---------------------------------------------------------------------

    def complete(self, call: InFlightCall, images: Any, report: Mapping[str, Any]) -> None:
        """Mark the task of a call as done, after its result is committed.

        Args:
            call: The call that ended.
            images: The handle of an attack's AEs, which are kept for their evaluations; else None.
            report: The cost and health of the call.
        """
        task, seconds = call.task, report.get("cost", {}).get("seconds", 0.0)
        if task.attack is not None:
            self._cache.put_images(task.key, images)
        self._scheduler.done(task.key)
        self.forget([task])
        self._telemetry.finished(task.kind, self.model_name(task.model), seconds)
        duration = round(call.seconds, 3)
        log_event(DRIVER_LOG, "done", key=task.key, slot=call.slot_id, seconds=duration)
        self._conclude(Notice("done", time.time(), task.key, cost=task.cost, model_seconds=seconds))

    def fail(self, task: Task, message: str, *, retry: bool) -> None:
        """Queue a failed task again if `retry` and attempts are left; otherwise end the task.

        Args:
            task: The task.
            message: The reason, for clients and the store.
            retry: Whether another attempt may succeed.

        Raises:
            OSError: If the failed row cannot be written to a local store.
        """
        wanted = self._scheduler.state(task.key) is State.RUNNING
        ended = self._scheduler.failed(task.key, retry=retry, now=time.monotonic())
        if ended:
            self.end(ended, message)
        elif wanted and self._scheduler.state(task.key) is not None:
            self.retries += 1
            self._telemetry.failed(task.kind, "retried")
            notice = Notice("retried", time.time(), task.key, message=message)
            self._sessions.notify_waiting(notice)
        else:
            self._telemetry.failed(task.kind, "cancelled")
            self.forget([task])

    def end(self, keys: Sequence[str], message: str) -> None:
        """Record tasks that the scheduler ended without a result, and notify their clients.

        Args:
            keys: Tasks that failed, and their dependants, which are skipped.
            message: The reason of the failure.

        Raises:
            OSError: If a failed row cannot be written to a local store.
        """
        for key in keys:
            task, failed = self.tasks[key], self._scheduler.state(key) is State.FAILED
            if failed:
                self._committer.record_failure(task, message)
            kind: Literal["failed", "skipped"] = "failed" if failed else "skipped"
            reason = message if failed else "the attack that makes its images failed"
            self._telemetry.failed(task.kind, kind)
            log_event(DRIVER_LOG, kind, key=key, message=reason)
            self._release_images(task)
            self._conclude(Notice(kind, time.time(), key, message=reason))

    def recompute(self, attack: str) -> None:
        """Queue a done attack again.

        Clients of its open evaluations wait for the attack, too, even if they did not ask for it.

        Args:
            attack: Key of the attack.
        """
        scores = {task.key for task in self._scheduler.dependants(attack)}
        self._sessions.also_expect(attack, scores)
        self._scheduler.invalidated(attack)

    # -- the end of a client -------------------------------------------------------------------

    def cancel(self, client: str) -> list[str]:
        """Drop a client.

        Returns:
            Keys of running tasks without another client.
        """
        tasks = self._tasks_of(client)
        self._scheduler.cancel(client)
        unwanted = self._scheduler.unwanted()
        self._sessions.remove(client)
        self.forget(tasks)
        log_event(DRIVER_LOG, "client left", client=client)
        return unwanted

    def finish(self, client: str) -> None:
        """Notify a client of the end of all its tasks, and forget the tasks."""
        tasks = self._tasks_of(client)
        self._sessions.notify(client, Notice("finished", time.time()))
        self._scheduler.forget(client)
        self.forget(tasks)

    def forget(self, tasks: Iterable[Task]) -> None:
        """Release the inputs of ended tasks, and forget tasks without a client.

        Args:
            tasks: Tasks, of which any may still run or wait for another client.
        """
        before = len(self.tasks)
        for task in tasks:
            self._release_images(task)
            if self._scheduler.state(task.key) is None:
                self.tasks.pop(task.key, None)
        if len(self.tasks) < before:
            self._cache.retain_shards(task.shard_id for task in self.tasks.values())

    def _tasks_of(self, client: str) -> list[Task]:
        return [self.tasks[key] for key in self._scheduler.tasks_of(client)]

    def _conclude(self, notice: Notice) -> None:
        for client in self._sessions.conclude(notice):
            self.finish(client)

    def _release_images(self, task: Task) -> None:
        """Release the AEs of an attack, unless an evaluation still waits to score them."""
        attack = task.depends_on or task.key
        if all(self._scheduler.state(t.key) in FINAL for t in self._scheduler.dependants(attack)):
            self._cache.forget_images(attack)
