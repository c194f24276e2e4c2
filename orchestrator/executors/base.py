"""What the driver needs of an executor, and what an executor tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from orchestrator.plan import Task
from orchestrator.scheduler import Slot
from tasks.attack import attack
from tasks.data.shards import Shard
from tasks.evaluate import evaluate
from tasks.models.base import Segmenter
from tasks.models.spec import ModelSpec

FailureKind = Literal["infrastructure", "task"]


@dataclass(frozen=True)
class Output:
    """What a call returned: AEs (a handle; M x N x 3 x H x W for the M that an attack makes of an
    image), or confusions and predictions; and its report."""

    images: Any = None
    confusions: np.ndarray | None = None
    predictions: np.ndarray | None = None
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Finished:
    key: str
    output: Output


@dataclass(frozen=True)
class Failed:
    """``infrastructure`` may be tried elsewhere; ``task`` is the task's own error."""

    key: str
    kind: FailureKind
    message: str


@dataclass(frozen=True)
class SlotUp:
    slot: Slot


@dataclass(frozen=True)
class SlotDown:
    """A slot stopped answering; ``final`` if it will not come back."""

    slot: Slot
    final: bool
    message: str


Event = Finished | Failed | SlotUp | SlotDown


class Executor(Protocol):
    """Hosts models in slots and runs calls on them. Images travel as handles."""

    def ensure(self, models: Mapping[str, ModelSpec]) -> None:
        """Start slots for models (by fingerprint) that none hosts yet; ``SlotUp`` follows."""

    def starting(self) -> bool:
        """Whether slots are still warming up."""

    def put(self, array: np.ndarray) -> Any:
        """A handle that can be given to any number of calls."""

    def fetch(self, handle: Any) -> np.ndarray: ...

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        """Begin a call; ``images`` and ``labels`` are handles."""

    def wait(self, timeout: float) -> list[Event]:
        """Events since the last call; returns early once there is one."""

    def close(self) -> None:
        """Release every model and worker."""


def perform(
    model: Segmenter,
    task: Task,
    shard_ids: tuple[str, ...],
    group: int,
    images: np.ndarray,
    labels: np.ndarray,
    micro_batch: int,
) -> Output:
    """One task on one model, in the process that holds it: what every executor runs."""
    if task.attack is not None:
        made = attack(
            model,
            task.attack,
            images,
            labels,
            shard_ids,
            seed=task.seed,
            group=group,
            micro_batch=micro_batch,
        )
        return Output(images=made.images, report=made.report)
    if task.depends_on is not None:
        images = images[task.made]
    scored = evaluate(model, images, labels, num_classes=task.num_classes, micro_batch=micro_batch)
    return Output(None, scored.confusions, scored.predictions, scored.report)
