"""Commit results and failures to the store."""

from collections.abc import Iterable
from typing import Any

from segtransfer.experiment.task import Task
from segtransfer.runtime.event_log import DRIVER_LOG
from segtransfer.runtime.executors.base import Executor, Output
from segtransfer.runtime.in_flight import InFlightCall
from segtransfer.store import Store


class Committer:
    """Writes results and failures to the store, and knows the keys committed so far.

    Args:
        store: The store of the driver.
        executor: The executor whose handles stand for AEs.
        committed: Keys stored before the restart of a driver.
    """

    def __init__(self, store: Store, executor: Executor, committed: Iterable[str]) -> None:
        self._store = store
        self._executor = executor
        self._committed = {bytes.fromhex(key) for key in committed}

    @property
    def remote(self) -> bool:
        """Whether the store is an object store rather than a local folder."""
        return self._store.remote

    def has(self, key: str) -> bool:
        """Return whether a task's result is known as committed, without reading the store.

        Known are the results of this driver, and after a restart all results stored before. The
        results of other drivers on the same store are not.

        Args:
            key: The task's key, in hexadecimal digits.
        """
        return bytes.fromhex(key) in self._committed

    def discard(self, key: str) -> None:
        """Forget the commit of a task whose stored result is damaged. No file is deleted."""
        self._committed.discard(bytes.fromhex(key))

    def commit(self, call: InFlightCall, output: Output) -> dict[str, Any]:
        """Write a call's arrays and commit row, or only the row if the worker wrote the arrays.

        AEs are fetched from the executor first, which blocks.

        Args:
            call: The call, with its shard.
            output: The output of the call.

        Returns:
            The report of the call: its cost and health.

        Raises:
            LostError: If the AEs are lost with the worker or node of the attack.
            OSError: If the store cannot be written.
        """
        task, report = call.task, dict(output.report or {})
        if output.blob is not None:
            self._store.commit(task, output.blob, report)
        elif task.attack is not None:
            images = self._executor.fetch(output.images)
            self._store.commit_attack(task, call.shard, images, report)
        else:
            assert output.confusions is not None
            assert output.predictions is not None
            confusions, predictions = output.confusions, output.predictions
            self._store.commit_evaluation(task, call.shard, confusions, predictions, report)
        self._committed.add(bytes.fromhex(task.key))
        return report

    def record_failure(self, task: Task, message: str) -> None:
        """Write the failed row of a task.

        A remote store that cannot be written loses the row with a logged warning, because clients
        are notified of the failure in any case.

        Args:
            task: The task.
            message: The reason, for example a traceback.

        Raises:
            OSError: If a local store cannot be written.
        """
        try:
            self._store.record_failure(task.key, task.kind, message)
        except OSError as error:
            if not self._store.remote:
                raise
            DRIVER_LOG.warning("the failed row of %s was not written: %s", task.key, error)
