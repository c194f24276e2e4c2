"""The interface of executors: calls by the driver, and events for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from segtransfer.errors import SegtransferError
from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler import Slot
from segtransfer.store import Blob
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.models.numerics import REFERENCE, Numerics
from segtransfer.tasks.models.spec import ModelSpec

FailureKind = Literal["infrastructure", "poisoned", "cancelled", "task"]


class LostError(SegtransferError):
    """An array is lost with the worker or node that held it."""


@dataclass(frozen=True)
class Served:
    """A model as slots host it.

    Attributes:
        spec: The model.
        fingerprint: The expected fingerprint; a model with another fingerprint is refused.
        numerics: The options to compute with.
    """

    spec: ModelSpec
    fingerprint: str
    numerics: Numerics = REFERENCE


@dataclass(frozen=True)
class Output:
    """The result of a call.

    Attributes:
        images: A handle of the AEs of an attack, M x N x 3 x H x W uint8, with M AEs per image.
        confusions: Confusion matrices of an evaluation, N x K x K; rows are labels.
        predictions: Predicted classes of an evaluation, N x h x w uint8.
        report: Cost and health of the call.
        blob: The arrays in the store, if the worker wrote them. Confusions and predictions are None
            then.
    """

    images: Any = None
    confusions: np.ndarray | None = None
    predictions: np.ndarray | None = None
    report: Mapping[str, Any] | None = None
    blob: Blob | None = None


@dataclass(frozen=True)
class Finished:
    """A call ended with a result."""

    key: str
    output: Output


@dataclass(frozen=True)
class Failed:
    """A call ended without a result.

    Kinds ``infrastructure`` (the worker died, or its inputs were lost) and ``poisoned`` (the device
    is unusable, and its worker is replaced) may be retried on another slot. Kind ``task`` is the
    task's own error, and ``cancelled`` follows from ``Executor.cancel``.
    """

    key: str
    kind: FailureKind
    message: str


@dataclass(frozen=True)
class SlotUp:
    """A slot is up, and empty."""

    slot: Slot


@dataclass(frozen=True)
class SlotDown:
    """A slot lost its worker with the model.

    Calls that had not begun get no ``Failed``. Unless ``final``, the slot comes up again, empty.
    """

    slot_id: str
    final: bool
    message: str


@dataclass(frozen=True)
class Hosted:
    """A slot has loaded and warmed a model within ``seconds``."""

    slot_id: str
    model: str
    seconds: float


@dataclass(frozen=True)
class Refused:
    """A slot could not load a model because of the model, and is empty."""

    slot_id: str
    model: str
    message: str


Event = Finished | Failed | SlotUp | SlotDown | Hosted | Refused


class Executor(Protocol):
    """Hosts models in slots, and runs the calls of each slot in their order.

    Arrays travel as handles, for example Ray object references. Models run in workers or within
    ``wait``, never within another method.

    Attributes:
        interruptible: Whether a call under way can be ended from outside, by ``cancel`` or
            ``recreate``.
    """

    interruptible: bool

    def open(self, models: int, sources: int = 0, peaks: Sequence[int] = ()) -> None:
        """Open slots, each of which reports ``SlotUp``; further calls may open more.

        Args:
            models: Number of models to host.
            sources: Number of these models under attack.
            peaks: Peak GPU memory of each model in bytes; empty unless all were measured.
        """

    def starting(self) -> bool:
        """Return whether any open slot has never been up."""

    def awaited(self) -> str:
        """Describe the nodes requested from the cluster.

        Returns:
            A phrase such as "GPUs: 8 in all"; empty if no nodes are requested.
        """

    def budget(self) -> int:
        """Return the budget of AEs in flight, which are under attack or have open evaluations.

        Returns:
            Bytes over all slots. The number may change when slots join.
        """

    def host(self, slot_id: str, model: str, served: Served) -> None:
        """Load a model in place of the slot's model; ``Hosted`` or ``Refused`` follows.

        The driver never calls this while calls are under way on the slot.

        Args:
            slot_id: The slot.
            model: The model's key, as in tasks.
            served: The model to load.
        """

    def put(self, array: np.ndarray) -> Any:
        """Store an array with the executor, for any number of calls.

        Returns:
            A handle of the array.
        """

    def fetch(self, handle: Any) -> np.ndarray:
        """Return the array of a handle, after the transfer to this process.

        Args:
            handle: A handle from ``put``, or from the output of an attack.

        Raises:
            LostError: The array is lost with its worker or node.
        """

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        """Queue a call on a slot; ``Finished`` or ``Failed`` follows, unless the slot goes down.

        Args:
            task: The task of the call.
            slot_id: The slot, which hosts the task's model.
            shard: The shard of the task.
            images: Handle of uint8 images: N x 3 x H x W, or the attack's AEs for an evaluation.
            labels: Handle of the labels, N x h x w uint8.
        """

    def cancel(self, key: str) -> None:
        """Ask the call of a task to stop at its next step.

        The call reports ``Failed`` of kind ``cancelled``, or its result if it ends first. A task
        without a call is ignored.

        Args:
            key: The task's key.
        """

    def recreate(self, slot_id: str) -> None:
        """Replace a slot's worker, with its model and calls; ``SlotDown`` follows.

        Args:
            slot_id: The slot, idle or busy.
        """

    def wait(self, timeout: float) -> list[Event]:
        """Wait for events; the inline executor runs a call meanwhile.

        Args:
            timeout: Longest wait in seconds; zero asks for present events.

        Returns:
            The events since the last call, in their order; empty after ``timeout`` without an
            event.
        """

    def close(self) -> None:
        """Release every model and worker; calls under way are lost."""
