"""The spec of a run's execution, and the registry of executors."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from segtransfer.tasks.registry import Registry
from segtransfer.tasks.schema import AnyPath, Flag, Frozen, Name, Number, Whole, absolute, suggest


class ExecutorKind(ABC):
    """An executor as specs name it, ``runtime.executor: NAME``.

    Attributes:
        workers: Whether models are hosted by workers of a Ray cluster. Workers take time to start,
            and a search or a named fleet shares them.
    """

    workers: ClassVar[bool] = False

    @abstractmethod
    def connect(self, runtime: "Runtime", name: str) -> Any:
        """Open a driver over this executor, and return a client of the driver.

        Args:
            runtime: The execution of the run.
            name: A name for the driver, unique to the experiment or search.

        Returns:
            The ``segtransfer.runtime.client.DriverClient``. The caller closes the client.

        Raises:
            InputError: The fleet that ``runtime`` names is not up, or cannot serve the run.
        """

    def store_of(self, runtime: "Runtime") -> str:
        """Return the location of a run's store.

        An executor with named fleets may return the store of the fleet instead of the spec's.

        Args:
            runtime: The execution of the run.

        Returns:
            A folder or URL.

        Raises:
            InputError: The fleet that ``runtime`` names is not up.
        """
        return runtime.store


EXECUTORS: Registry[ExecutorKind] = Registry(
    "executors",
    ("segtransfer.runtime.executors",),
    lambda entry: isinstance(entry, ExecutorKind),
    "ExecutorKind",
)


def _shipped(name: str) -> str:
    """Return the name of an executor; refuse any other name."""
    if name not in EXECUTORS:
        raise PydanticCustomError(
            "executor",
            "unknown executor '{name}': {hint}",
            {"name": name, "hint": suggest(name, EXECUTORS)},
        )
    return name


def _auto_or_count(most: int) -> BeforeValidator:
    """Return a validator of ``auto`` or a whole number from 1 to ``most``."""

    def read(value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value != "auto" and not (whole and 1 <= value <= most):
            raise PydanticCustomError(
                "auto_or_count",
                "give 'auto' or a whole number from 1 to {most}",
                {"most": most},
            )
        return value

    return BeforeValidator(read)


AutoOrCount = int | Literal["auto"]


def _at_working_folder(value: Any) -> Any:
    """Make the path of a store absolute, starting at the working folder.

    Paths of data and models start at the folder of the spec's file instead.
    """
    return absolute(value, Path.cwd())


WorkingPath = Annotated[str, BeforeValidator(_at_working_folder)]


class Fleet(Frozen):
    """The device shares that host models; each slot hosts one model at a time.

    Attributes:
        name: The named fleet to attach to, as started by ``segtransfer fleet up``, for example
            ``lab``. Letters, digits, ``_``, ``-`` and ``.``, at most 80. Default: a fleet of the
            run's own.
        slots: The number of slots, 1 to 65536, or ``auto`` for the whole cluster. On CPUs ``auto``
            opens a slot per core, and more slots if memory allows and they keep every model loaded
            or let replicas of a few sources use every core. On GPUs ``auto`` opens
            ``slots_per_gpu`` slots per GPU.
        slots_per_gpu: The number of models per GPU, 1 to 64, or ``auto``. ``auto`` is 1,
            and more if the models outnumber the GPUs when the first slots open. The limit is then
            8 per GPU, or the number that fits into memory if ``segtransfer plan --calibrate``
            measured every model on such a GPU with the experiment's micro-batch and image size.
        gpus: Use slots on GPUs only, ``true`` or ``false``. An autoscaling cluster is asked for GPU
            nodes at once, and the run waits for them.
    """

    name: Annotated[Name, Field(max_length=80)] | None = None
    slots: Annotated[AutoOrCount, _auto_or_count(65536)] = "auto"
    slots_per_gpu: Annotated[AutoOrCount, _auto_or_count(64)] = "auto"
    gpus: Flag = False


class Runtime(Frozen):
    """The execution of an experiment. No field changes a result or its key.

    Attributes:
        store: The folder or URL of the store, for example ``s3://bucket/folder``. A relative path
            starts at the working folder. A run on a named fleet uses the fleet's store if the spec
            names none.
        executor: ``ray`` runs tasks on the slots of ``fleet``, ``inline`` one after another in
            this process without Ray.
        fleet: The slots that host models. For the executor ``ray``.
        window: The number of calls in flight per slot, 1 to 64. With 2, a slot starts the next
            call without waiting for the driver.
        micro_batch: The largest number of images per forward, 1 to 1024. A call that runs out of
            memory is retried with half of it.
        attempts: The number of attempts per task, 1 to 100, before a failure of a worker or node
            is final. An error of the task itself is final at once.
        in_flight_mib: The limit in MiB on adversarial images in memory that wait for evaluation, 1
            to 2^30. ``auto`` is a third of the cluster's object store.
        least_deadline: The shortest deadline of a call, in seconds, above 0. The deadline is 20
            times the time of similar calls, or an hour if no similar call was measured. A worker
            past the deadline is restarted, and its calls are retried.
        max_hours: The time limit in hours, above 0, after which a run or a whole search stops and
            reports partial results. Default: no limit.
        journal: A file to which every event and decision of the scheduler is appended, as JSON
            lines, for debugging. Default: no journal.
        log: A file to which every event of tasks and slots is appended, as JSON lines with the
            task's key. Default: no log.
        tracking: Log the results of the command to MLflow, ``true`` or ``false``.
    """

    store: WorkingPath = Field(default="segtransfer-store", validate_default=True)
    executor: Annotated[str, AfterValidator(_shipped)] = "ray"
    fleet: Fleet = Fleet()
    window: Annotated[Whole, Field(ge=1, le=64)] = 2
    micro_batch: Annotated[Whole, Field(ge=1, le=1024)] = 4
    attempts: Annotated[Whole, Field(ge=1, le=100)] = 4
    in_flight_mib: Annotated[AutoOrCount, _auto_or_count(2**30)] = "auto"
    least_deadline: Annotated[Number, Field(gt=0)] = 120.0
    max_hours: Annotated[Number, Field(gt=0)] | None = None
    journal: AnyPath | None = None
    log: AnyPath | None = None
    tracking: Flag = True
