"""Commit results and failures to the store."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from segtransfer.experiment.task import Task
from segtransfer.runtime.event_log import DRIVER_LOG
from segtransfer.runtime.executors.base import Executor, LostError, Output
from segtransfer.runtime.in_flight import InFlightCall
from segtransfer.store import Store

Report = dict[str, Any]
# Results that are written at a time. A write waits for the disk, or for a bucket's answer, so that
# a single writer commits 30 to 150 results a second.
WRITERS = 16


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
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="commit")

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

    def commit(
        self, results: Sequence[tuple[InFlightCall, Output]]
    ) -> list[tuple[InFlightCall, Output, Report | LostError | OSError]]:
        """Write the arrays and commit rows of calls, or only the rows if workers wrote the arrays.

        Up to ``WRITERS`` results are written at a time. AEs are fetched from the executor first,
        which blocks.

        Args:
            results: The calls with their shards, and their outputs.

        Returns:
            Each call and output with the report of the call (its cost and health), or with the
            error by which the call has no result: LostError if the AEs are lost with the worker or
            node of the attack, OSError if the store cannot be written. Errors come last, because an
            error may end the driver.
        """
        # A single result is written in this thread, which spares a laptop a hand-over per call.
        each = map if len(results) == 1 else self._writers.map
        reports = each(lambda result: self._commit(*result), results)
        committed = [(*result, report) for result, report in zip(results, reports, strict=True)]
        return sorted(committed, key=lambda result: isinstance(result[2], Exception))

    def close(self) -> None:
        """End the threads of the writers, without waiting for a store that does not answer."""
        self._writers.shutdown(wait=False, cancel_futures=True)

    def _commit(self, call: InFlightCall, output: Output) -> Report | LostError | OSError:
        task, report = call.task, dict(output.report or {})
        try:
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
        except (LostError, OSError) as error:
            return error
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
