"""What the driver needs of an executor, and what an executor tells it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler import Slot
from segtransfer.store import Blob
from segtransfer.tasks.attack import attack
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.numerics import REFERENCE, Numerics
from segtransfer.tasks.models.spec import ModelSpec

FailureKind = Literal["infrastructure", "poisoned", "cancelled", "task"]


class LostError(Exception):
    """What a handle stood for is gone with the worker or node that held it."""


@dataclass(frozen=True)
class Served:
    """A model as slots host it: what to load, what it must turn out to be, how it computes."""

    spec: ModelSpec
    fingerprint: str
    numerics: Numerics = REFERENCE


@dataclass(frozen=True)
class Output:
    """What a call returned: AEs (a handle; M x N x 3 x H x W for the M that an attack makes of an
    image), or confusions and predictions; and its report. ``blob`` where the worker has already
    written the arrays to the store; then confusions and predictions stay with the worker."""

    images: Any = None
    confusions: np.ndarray | None = None
    predictions: np.ndarray | None = None
    report: Mapping[str, Any] | None = None
    blob: Blob | None = None


@dataclass(frozen=True)
class Finished:
    key: str
    output: Output


@dataclass(frozen=True)
class Failed:
    """A call came to nothing: ``infrastructure`` (its worker died, or its inputs were lost) and
    ``poisoned`` (the device is unusable: its worker is replaced) may be tried elsewhere; ``task``
    is the task's own error; ``cancelled`` was asked for."""

    key: str
    kind: FailureKind
    message: str


@dataclass(frozen=True)
class SlotUp:
    """A device share joined; it hosts nothing yet."""

    slot: Slot


@dataclass(frozen=True)
class SlotDown:
    """A slot's worker is gone, and what it hosted with it. Calls that had not begun get no
    ``Failed``. Unless ``final``, the same slot comes up again, empty."""

    slot_id: str
    final: bool
    message: str


@dataclass(frozen=True)
class Hosted:
    """A slot has loaded and warmed a model; ``seconds`` it took."""

    slot_id: str
    model: str
    seconds: float


@dataclass(frozen=True)
class Refused:
    """A slot could not load a model, for a reason that lies with the model; the slot is empty."""

    slot_id: str
    model: str
    message: str


Event = Finished | Failed | SlotUp | SlotDown | Hosted | Refused


class Executor(Protocol):
    """Hosts models in slots and runs calls on them, in the order in which a slot got them.

    Images travel as handles. ``interruptible``: a call under way can be ended from outside.
    """

    interruptible: bool

    def open(self, models: int, sources: int = 0, peaks: Sequence[int] = ()) -> None:
        """Open slots, ``SlotUp`` follows for each; a hint how many models want to be hosted, how
        many of them are attacked, and what each takes of a GPU at most, in bytes, where that was
        measured. A later call with larger numbers may open more."""

    def starting(self) -> bool:
        """Whether slots were opened that have not come up yet, for the first time."""

    def awaited(self) -> str:
        """Nodes that were asked for and are not there yet, in words; empty where none were."""

    def budget(self) -> int:
        """Bytes that adversarial images in flight may take."""

    def host(self, slot_id: str, model: str, served: Served) -> None:
        """Load a model, under the name ``model``, in place of what the slot hosts; ``Hosted`` or
        ``Refused`` follows. Never called while calls are under way there."""

    def put(self, array: np.ndarray) -> Any:
        """A handle that can be given to any number of calls."""

    def fetch(self, handle: Any) -> np.ndarray:
        """What a handle stands for; raises LostError where it is gone."""

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        """Begin a call; ``images`` and ``labels`` are handles."""

    def cancel(self, key: str) -> None:
        """Ask a call to stop at its next step; it ends as ``Failed`` cancelled, or finishes."""

    def recreate(self, slot_id: str) -> None:
        """Give a slot a new worker, whatever the old one is doing: ``SlotDown`` follows."""

    def wait(self, timeout: float) -> list[Event]:
        """Events since the last call; returns early once there is one."""

    def close(self) -> None:
        """Release every model and worker."""


def perform(
    model: Segmenter | None,
    task: Task,
    image_ids: tuple[str, ...],
    group: int,
    images: np.ndarray,
    labels: np.ndarray,
    micro_batch: int,
    poll: Callable[[], None] = lambda: None,
) -> Output:
    """One task on one model, in the process that holds it: what every executor runs.

    ``poll`` is called before every step and forward, and may raise to stop the call.
    """
    if task.attack is not None:
        # Without a source the CPU makes the images, whatever slot it is that has room.
        made = attack(
            model if task.model is not None else None,
            task.attack,
            images,
            labels,
            image_ids,
            seed=task.seed,
            group=group,
            micro_batch=micro_batch,
            poll=poll,
        )
        return Output(images=made.images, report=made.report)
    if model is None:
        raise ValueError(f"task {task.key} needs model {task.model}, and its slot hosts none")
    if task.depends_on is not None:
        images = images[task.variant]
    scored = evaluate(
        model, images, labels, num_classes=task.num_classes, micro_batch=micro_batch, poll=poll
    )
    return Output(None, scored.confusions, scored.predictions, scored.report)
