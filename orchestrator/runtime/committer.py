"""The commit of results and failures to the store."""

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
        committed: Keys that are committed already.
    """

    def __init__(self, store: Store, executor: Executor, committed: Iterable[str]) -> None:
        self._store = store
        self._executor = executor
        self._committed = {bytes.fromhex(key) for key in committed}

    @property
    def remote(self) -> bool:
        """Whether the store is remote."""
        return self._store.remote

    def has(self, key: str) -> bool:
        """Return whether the result of a task is committed."""
        return bytes.fromhex(key) in self._committed

    def discard(self, key: str) -> None:
        """Forget that a task is committed, because its stored result is damaged."""
        self._committed.discard(bytes.fromhex(key))

    def commit(self, call: InFlightCall, output: Output) -> dict[str, Any]:
        """Write the output of a call, or only its row if the worker has written the arrays.

        Returns:
            The report of the call.

        Raises:
            LostError: If the AEs are gone with the worker or node that held them.
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

        Raises:
            OSError: If a local store cannot be written. A remote store only loses the row, as
                clients are notified of the failure all the same.
        """
        try:
            self._store.record_failure(task.key, task.kind, message)
        except OSError as error:
            if not self._store.remote:
                raise
            DRIVER_LOG.warning("the failure of %s could not be kept: %s", task.key, error)
