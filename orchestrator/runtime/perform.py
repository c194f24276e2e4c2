"""The work of a task: an attack or an evaluation on a model, in the process with the model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import Output
from segtransfer.tasks.attack import attack
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.probe import check_size, examine
from segtransfer.tasks.randomness import seeded


@dataclass(frozen=True)
class TaskInputs:
    """Ids, schedule group, images and labels of a task's shard.

    Images are uint8: N x 3 x H x W of the data, or M x N x 3 x H x W AEs for an evaluation of an
    attack. Labels are uint8, N x h x w.
    """

    image_ids: tuple[str, ...]
    group: int
    images: np.ndarray
    labels: np.ndarray


def perform(
    model: Segmenter | None,
    task: Task,
    inputs: TaskInputs,
    micro_batch: int,
    poll: Callable[[], None] = lambda: None,
) -> Output:
    """Run a task on a model, in the process that holds the model.

    Global random generators are seeded with the task's key during the call, and restored.

    Args:
        model: The slot's model, or None if the slot is empty.
        task: The attack or evaluation.
        inputs: The images and labels.
        micro_batch: Images per forward, halved during the call if memory runs out.
        poll: Called before every step and forward; it may raise to stop the call.

    Returns:
        The arrays themselves, not handles, with the report.

    Raises:
        ValueError: The task needs a model, and the slot is empty.
        InputError: The model does not take images of this size.
    """
    if task.model is not None:
        if model is None:
            raise ValueError(
                f"task {task.key} needs model {task.model}, but its slot hosts no model"
            )
        size = inputs.images.shape[-2], inputs.images.shape[-1]
        if not model.examined:
            # The model took no probe's size, but it must take the size of these images.
            examine(model, [size])
        check_size(model, size)
    # Users' models and losses may draw from global generators; a repeated task repeats its draws.
    with seeded(task.key):
        return _performed(model, task, inputs, micro_batch, poll)


def _performed(
    model: Segmenter | None,
    task: Task,
    inputs: TaskInputs,
    micro_batch: int,
    poll: Callable[[], None],
) -> Output:
    if task.attack is not None:
        # AEs without a source are made on the CPU, whichever slot runs the task.
        made = attack(
            model if task.model is not None else None,
            task.attack,
            inputs.images,
            inputs.labels,
            inputs.image_ids,
            seed=task.seed,
            group=inputs.group,
            micro_batch=micro_batch,
            poll=poll,
        )
        return Output(images=made.images, report=made.report)
    assert model is not None
    scored = evaluate(
        model,
        inputs.images if task.depends_on is None else inputs.images[task.variant],
        inputs.labels,
        num_classes=task.num_classes,
        micro_batch=micro_batch,
        image_ids=inputs.image_ids,
        poll=poll,
    )
    return Output(None, scored.confusions, scored.predictions, scored.report)
