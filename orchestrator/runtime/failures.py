"""The failure table: the driver's action for every kind of failure.

Memory that runs out inside a call has no row of its own, because `tasks.batching` halves the
micro-batch first. A call that fails with a single image is the task's own error. A worker that the
machine killed for its memory is an infrastructure failure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from segtransfer.runtime.executors.base import FailureKind, LostError

FailureCause = (
    FailureKind
    | Literal[
        "deadline",
        "lost output",
        "remote store",
        "local store",
        "missing shard",
        "damaged dependency",
    ]
)


@dataclass(frozen=True)
class FailureAction:
    """The driver's reaction to one cause of failure.

    Attributes:
        retry: Queue the task again on another slot, after a back-off, while attempts are left.
            Otherwise the task gets a failed row and its dependants are skipped.
        reload_inputs: Read the AEs of an evaluation from the store for the next attempt, because
            the AEs may be lost with their worker.
        recreate_worker: Give the slot of the call a new worker.
        recompute_dependency: Compute the attack again whose stored AEs the task scores. The task
            waits for the attack and keeps its attempts.
        stop_driver: Raise the error, which ends the driver.
    """

    retry: bool = False
    reload_inputs: bool = False
    recreate_worker: bool = False
    recompute_dependency: bool = False
    stop_driver: bool = False


FAILURES: Mapping[FailureCause, FailureAction] = MappingProxyType(
    {
        # Reported by the executor, which replaces the worker of a poisoned device itself.
        "infrastructure": FailureAction(retry=True, reload_inputs=True),
        "poisoned": FailureAction(retry=True, reload_inputs=True),
        # A client may have asked for the task again since the cancellation.
        "cancelled": FailureAction(retry=True, reload_inputs=True),
        "task": FailureAction(),
        # Found by the driver.
        "deadline": FailureAction(retry=True, recreate_worker=True),
        "lost output": FailureAction(retry=True),
        # A bucket may answer later. A full or read-only disk stays full or read-only.
        "remote store": FailureAction(retry=True),
        "local store": FailureAction(stop_driver=True),
        "missing shard": FailureAction(),
        "damaged dependency": FailureAction(recompute_dependency=True),
    }
)


def cause_of(error: LostError | OSError, *, remote: bool) -> FailureCause:
    """Return the row of the failure table for an error while inputs are read or results committed.

    Args:
        error: The error.
        remote: Whether the store is an object store rather than a local folder.

    Returns:
        "lost output" for AEs lost with a worker, else "remote store" or "local store".
    """
    if isinstance(error, LostError):
        return "lost output"
    return "remote store" if remote else "local store"
