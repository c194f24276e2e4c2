"""The spec of a run's execution, and the registry of the executors that can carry a run out."""

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
        workers: Trait: whether models live in workers of a Ray cluster, which start up, and which a
            search and a named fleet share.
    """

    workers: ClassVar[bool] = False

    @abstractmethod
    def connect(self, runtime: "Runtime", name: str) -> Any:
        """Open a driver over this executor, and return the run's access to the driver.

        Args:
            runtime: The execution of the run.
            name: A name for the driver, unique to the experiment or search.

        Returns:
            The ``segtransfer.runtime.client.DriverClient``, which the run closes.
        """

    def store_of(self, runtime: "Runtime") -> str:
        """Return the location of a run's store; an override may know it from a named fleet.

        Raises:
            InputError: If the fleet is not up.
        """
        return runtime.store


EXECUTORS: Registry[ExecutorKind] = Registry(
    "executors",
    ("segtransfer.runtime.executors",),
    lambda entry: isinstance(entry, ExecutorKind),
    "ExecutorKind",
)


def _shipped(name: str) -> str:
    """Refuse a name that is none of an executor."""
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
                "'auto' or a whole number from 1 to {most} is needed",
                {"most": most},
            )
        return value

    return BeforeValidator(read)


AutoOrCount = int | Literal["auto"]


def _at_working_folder(value: Any) -> Any:
    """Make the path of a store absolute, not relative to the spec's folder as paths of data are."""
    return absolute(value, Path.cwd())


WorkingPath = Annotated[str, BeforeValidator(_at_working_folder)]


class Fleet(Frozen):
    """The device shares that host models; each slot hosts one model at a time.

    Attributes:
        name: The fleet to attach to (``segtransfer fleet up``). Without a name, the run opens a
            fleet of its own.
        slots: The number of slots, or ``auto`` for the whole cluster. On CPUs, ``auto`` opens a
            slot per core. It opens more if memory allows and more slots keep every model loaded,
            or let replicas of a few sources use every core. On GPUs, ``auto`` opens a slot per GPU.
            If the models outnumber the GPUs when the first slots are opened, it opens up to eight
            per GPU, or as many as fit if ``plan --calibrate`` has measured every model on such a
            GPU with the experiment's micro-batch and image size.
        slots_per_gpu: The number of small models side by side on a GPU.
        gpus: Use slots on GPUs only. A cluster without GPU nodes starts the nodes at once, and the
            run waits for them.
    """

    name: Annotated[Name, Field(max_length=80)] | None = None
    slots: Annotated[AutoOrCount, _auto_or_count(65536)] = "auto"
    slots_per_gpu: Annotated[AutoOrCount, _auto_or_count(64)] = "auto"
    gpus: Flag = False


class Runtime(Frozen):
    """The execution of an experiment. No field changes a result or its key.

    Attributes:
        store: The folder or URL of the store.
        executor: The executor; for example ``ray``, or ``inline`` for this process.
        fleet: The slots that host models.
        window: The number of calls in flight per slot.
        micro_batch: The number of images per forward.
        attempts: The number of attempts per task before an infrastructure failure is final.
        in_flight_mib: The most MiB of adversarial images that wait for evaluation. ``auto`` takes
            a third of the cluster's object store.
        least_deadline: The least seconds until a call's deadline. A call is past its deadline if
            it takes twenty times longer than similar calls, or than ``plan --calibrate`` measured.
        max_hours: The hours after which a run or a whole search stops with partial results.
        journal: A file of JSON lines with every decision of the scheduler and its cause.
        log: A file of JSON lines with every event and its task's key.
        tracking: Log the run to MLflow.
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
