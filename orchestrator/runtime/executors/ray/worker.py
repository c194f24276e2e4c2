"""The model actor: a process that hosts one model at a time and carries out calls on it."""

import gc
import logging
import os
import time
import traceback
from dataclasses import dataclass, replace

import numpy as np
import ray
import torch

from segtransfer.errors import InputError
from segtransfer.experiment.provenance import code_hash
from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import FailureKind, Output, Served, perform
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
    """A model is loaded and warm; ``seconds`` it took."""

    seconds: float


@dataclass(frozen=True)
class Broken:
    """What stands in for a result where a call or a load raised.

    Plain data: the class of an exception need not be importable, or picklable, where it is read,
    and its frames would hold tensors and references.
    """

    kind: FailureKind
    message: str


class Cancelled(Exception):
    """Raised by the poll of a call that was cancelled."""


class ModelActor:
    """Starts empty; ``host`` gives it a model, and its calls run one by one in their order."""

    def __init__(self, micro_batch: int, store: str | None) -> None:
        code_hash()  # now: what is on disk later need not be what runs here
        torch.set_num_threads(1)
        keep_freed_memory()
        self._micro_batch = micro_batch
        self._store = None if store is None else Store(store)
        self._device = "cpu"
        if ray.get_gpu_ids():
            if torch.cuda.is_available():
                self._device = "cuda"
            else:
                log.warning("Ray gave this actor a GPU, and torch finds none: it uses the CPU")
        self._model: Segmenter | None = None

    @ray.method(concurrency_group=HEALTH)
    def ping(self) -> tuple[int, str]:
        """The process's id, and the hash of the code that it runs; that it answers is the news."""
        return os.getpid(), code_hash()

    def host(self, served: Served) -> Loaded | Broken:
        """Load and warm a model in place of the one that is here."""
        self._model = None
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()
        try:
            models.import_libraries(served.spec)  # once a process, not with every load
            begun = time.perf_counter()
            self._model = self._load(served)
        except Exception as error:
            return Broken(_kind_of_load(error), _why(error))
        return Loaded(time.perf_counter() - begun)

    def attack(
        self, images: np.ndarray, labels: np.ndarray, task: Task, ids: tuple[str, ...], group: int
    ) -> tuple[np.ndarray | None, Output | Broken]:
        """AEs apart from the report, so that they can go on to targets as a reference."""
        made = self._carry_out(images, labels, task, ids, group)
        if isinstance(made, Broken):
            return None, made
        return made.images, replace(made, images=None)

    def evaluate(
        self, images: np.ndarray, labels: np.ndarray, task: Task, ids: tuple[str, ...], group: int
    ) -> Output | Broken:
        return self._carry_out(images, labels, task, ids, group)

    def _load(self, served: Served) -> Segmenter:
        if models.describe(served.spec).fingerprint != served.fingerprint:
            raise InputError(
                "this node holds other weights than planned; give every node the same files"
            )
        model = models.load(served.spec, self._device, served.numerics)
        images = torch.zeros(1, 3, 64, 64, device=self._device, requires_grad=True)
        model.gradient(model(images).sum(), images)
        return model

    def _carry_out(
        self, images: np.ndarray, labels: np.ndarray, task: Task, ids: tuple[str, ...], group: int
    ) -> Output | Broken:
        try:
            output = perform(
                self._model, task, ids, group, images, labels, self._micro_batch, _stop_if_cancelled
            )
        except Cancelled:
            return Broken("cancelled", "the call was cancelled")
        except Exception as error:
            return Broken("poisoned" if is_poisoned(error) else "task", traceback.format_exc())
        try:
            return self._written(output, ids)
        except OSError as error:
            return Broken("infrastructure", f"the store cannot be written: {error}")

    def _written(self, output: Output, ids: tuple[str, ...]) -> Output:
        """The output with its arrays in the store, where that is not the driver's to write."""
        if self._store is None:
            return output
        if output.images is not None:
            return replace(output, blob=self._store.put_attack(ids, output.images))
        assert output.confusions is not None
        assert output.predictions is not None
        blob = self._store.put_evaluation(ids, output.confusions, output.predictions)
        return replace(output, confusions=None, predictions=None, blob=blob)


def _stop_if_cancelled() -> None:
    if ray.get_runtime_context().is_canceled():
        raise Cancelled


def _kind_of_load(error: Exception) -> FailureKind:
    """Too little memory, or a lost device, says nothing against the model."""
    if is_poisoned(error):
        return "poisoned"
    short = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and is_out_of_memory(error)
    )
    return "infrastructure" if short else "task"


def _why(error: Exception) -> str:
    """One sentence; a traceback follows where it is not the user's input that is wrong."""
    if isinstance(error, InputError):
        return str(error)
    return f"{error}\n{''.join(traceback.format_exception(error))}"
