"""The model actor: a process that hosts a model at a time and runs calls on it."""

import gc
import logging
import os
import time
import traceback
from dataclasses import dataclass, replace

import numpy as np
import ray
import torch

from segtransfer.errors import InputError, SegtransferError, reason_of
from segtransfer.experiment.provenance import code_hash
from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import FailureKind, Output, Served
from segtransfer.runtime.perform import TaskInputs, perform
from segtransfer.store import Store
from segtransfer.tasks.batching import is_out_of_memory
from segtransfer.tasks.device_errors import is_poisoned
from segtransfer.tasks.memory import keep_freed_memory
from segtransfer.tasks.models import adapters as models
from segtransfer.tasks.models.base import Segmenter

log = logging.getLogger(__name__)

HEALTH = "health"  # the concurrency group of pings: answered while a call is under way


@dataclass(frozen=True)
class Loaded:
    """Report of a load: the model is warm after ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class RemoteFailure:
    """The answer of a call or a load that raised.

    Plain data, because the class of an exception need not be importable or picklable in the
    driver's process, and its frames would hold tensors and references.
    """

    kind: FailureKind
    message: str


class Cancelled(SegtransferError):
    """The call was cancelled."""


class ModelActor:
    """An actor that starts without a model and runs its calls in their order, each to its end.

    Args:
        micro_batch: Images per forward.
        store: Location of the store, a bucket or a folder of this node; None if the driver writes.
    """

    def __init__(self, micro_batch: int, store: str | None) -> None:
        code_hash()  # computed now, because the files on disk may change later
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")  # the worker's .err
        log.setLevel(logging.INFO)
        self._name = "no model"
        torch.set_num_threads(1)
        keep_freed_memory()
        self._micro_batch = micro_batch
        self._store = None if store is None else Store(store)
        self._device = "cpu"
        if ray.get_gpu_ids():
            if torch.cuda.is_available():
                self._device = "cuda"
            else:
                log.warning(
                    "Ray gave this actor a GPU, but torch finds no GPU: models run on the CPU"
                )
        self._model: Segmenter | None = None

    @ray.method(concurrency_group=HEALTH, enable_task_events=False)
    def ping(self) -> tuple[int, str]:
        """Return a sign of life, also while a call is under way.

        Returns:
            The process id, and the hash of the code as imported.
        """
        return os.getpid(), code_hash()

    def host(self, served: Served) -> Loaded | RemoteFailure:
        """Load and warm a model in place of the hosted model.

        Args:
            served: The model.

        Returns:
            The seconds of the load. After a failure the actor is empty; the kind is ``task`` if the
            model is to blame, ``infrastructure`` if memory is short, ``poisoned`` if the device is
            lost.
        """
        self._model, self._name = None, served.spec.name
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()
        try:
            models.import_libraries(served.spec)  # once per process, not with every load
            begun = time.perf_counter()
            self._model = models.load_planned(
                served.spec, served.fingerprint, self._device, served.numerics
            )
        except Exception as error:
            log.warning("%s could not be loaded: %s", self._name, error)
            return RemoteFailure(_kind_of_load_failure(error), _message_of(error))
        loaded = Loaded(time.perf_counter() - begun)
        log.info("%s was loaded in %.1f s", self._name, loaded.seconds)
        return loaded

    def attack(
        self, images: np.ndarray, labels: np.ndarray, task: Task, ids: tuple[str, ...], group: int
    ) -> tuple[np.ndarray | None, Output | RemoteFailure]:
        """Make AEs, apart from the report, so that targets get them by reference.

        Args:
            images: uint8, N x 3 x H x W.
            labels: uint8, N x h x w.
            task: The attack.
            ids: An id per image.
            group: The schedule group of the images.

        Returns:
            The AEs, M x N x 3 x H x W uint8, and the report; None and the failure if the attack
            failed.
        """
        output = self._run(task, TaskInputs(ids, group, images, labels))
        if isinstance(output, RemoteFailure):
            return None, output
        return output.images, replace(output, images=None)

    def evaluate(
        self, images: np.ndarray, labels: np.ndarray, task: Task, ids: tuple[str, ...], group: int
    ) -> Output | RemoteFailure:
        """Score a shard's images on the hosted model.

        Args:
            images: uint8, N x 3 x H x W, or the attack's AEs, M x N x 3 x H x W.
            labels: uint8, N x h x w.
            task: The evaluation.
            ids: An id per image.
            group: The schedule group of the images.

        Returns:
            The scores with the report, or the failure.
        """
        return self._run(task, TaskInputs(ids, group, images, labels))

    def _run(self, task: Task, inputs: TaskInputs) -> Output | RemoteFailure:
        begun = time.perf_counter()
        output = self._perform(task, inputs)
        log.log(
            logging.WARNING if isinstance(output, RemoteFailure) else logging.INFO,
            "%s: key %s, shard %s of %d images, %.1f s%s",
            call_name(task, self._name),
            task.key[:16],
            task.shard_id[:16],
            len(inputs.image_ids),
            time.perf_counter() - begun,
            f", {output.kind}: {reason_of(output.message)}"
            if isinstance(output, RemoteFailure)
            else "",
        )
        return output

    def _perform(self, task: Task, inputs: TaskInputs) -> Output | RemoteFailure:
        try:
            output = perform(self._model, task, inputs, self._micro_batch, _stop_if_cancelled)
        except Cancelled:
            return RemoteFailure("cancelled", "the call was cancelled")
        except Exception as error:
            return RemoteFailure(
                "poisoned" if is_poisoned(error) else "task", traceback.format_exc()
            )
        try:
            return self._with_stored_arrays(output, inputs.image_ids)
        except OSError as error:
            if self._store is not None and self._store.remote:
                return RemoteFailure("infrastructure", f"the store cannot be written: {error}")
            # The driver writes to the same disk, and reports the error that ends a run.
            log.warning("the arrays are left to the driver: %s", error)
            return output

    def _with_stored_arrays(self, output: Output, ids: tuple[str, ...]) -> Output:
        """Write the output's arrays to the store, and return the output with their blob."""
        if self._store is None:
            return output
        if output.images is not None:
            return replace(output, blob=self._store.put_attack(ids, output.images))
        assert output.confusions is not None
        assert output.predictions is not None
        blob = self._store.put_evaluation(ids, output.confusions, output.predictions)
        return replace(output, confusions=None, predictions=None, blob=blob)


def call_name(task: Task, model: str) -> str:
    """Return a name of a call for Ray's summaries, equal for all shards.

    Args:
        task: The task of the call.
        model: The name of the slot's model.

    Returns:
        For example "attack pgd on fcn" or "evaluate fcn".
    """
    if task.attack is None:
        return f"evaluate {model}"
    return f"attack {task.attack.name}" + ("" if task.model is None else f" on {model}")


def _stop_if_cancelled() -> None:
    if ray.get_runtime_context().is_canceled():
        raise Cancelled


def _kind_of_load_failure(error: Exception) -> FailureKind:
    """Distinguish the model's own error from a lack of memory and a lost device."""
    if is_poisoned(error):
        return "poisoned"
    short = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and is_out_of_memory(error)
    )
    return "infrastructure" if short else "task"


def _message_of(error: Exception) -> str:
    """Return a sentence, with a traceback unless the sentence alone explains the error."""
    if isinstance(error, InputError) and error.__cause__ is None:
        return str(error)
    return f"{error}\n{''.join(traceback.format_exception(error))}"
