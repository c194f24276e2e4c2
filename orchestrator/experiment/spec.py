"""The typed spec of an experiment: models, data, attacks, and the runtime."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models.numerics import REFERENCE, Numerics
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.schema import AnyPath, Frozen, suggest


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

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=80)] | None = None
    slots: Annotated[AutoOrCount, _auto_or_count(65536)] = "auto"
    slots_per_gpu: Annotated[AutoOrCount, _auto_or_count(64)] = "auto"
    gpus: bool = False


class Runtime(Frozen):
    """The execution of an experiment. No field changes a result or its key.

    Attributes:
        store: The folder or URL of the store.
        executor: ``ray``, or ``inline`` for this process.
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

    store: AnyPath = Field(default="segtransfer-store", validate_default=True)
    executor: Literal["ray", "inline"] = "ray"
    fleet: Fleet = Fleet()
    window: Annotated[int, Field(ge=1, le=64)] = 2
    micro_batch: Annotated[int, Field(ge=1, le=1024)] = 4
    attempts: Annotated[int, Field(ge=1, le=100)] = 4
    in_flight_mib: Annotated[AutoOrCount, _auto_or_count(2**30)] = "auto"
    least_deadline: Annotated[float, Field(gt=0)] = 120.0
    max_hours: Annotated[float, Field(gt=0)] | None = None
    journal: AnyPath | None = None
    log: AnyPath | None = None
    tracking: bool = True


class Experiment(Frozen):
    """Attacks made on source models and scored on target models, over the images of a data set.

    Attributes:
        name: The name in reports and MLflow.
        data: The images and labels.
        models: All models.
        attacks: The attacks.
        sources: The names of the source models. Default: all models.
        targets: The names of the target models. Default: all models.
        seed: The seed of all random draws.
        schedule_groups: The number of groups of images that share their schedules of scales.
        shard_size: The most images per call.
        numerics: The numerical options of all models.
        runtime: The execution, which changes no result.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=80)] = "experiment"
    data: DataSpec
    models: tuple[ModelSpec, ...]
    attacks: tuple[AttackSpec, ...]
    sources: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    schedule_groups: Annotated[int, Field(ge=1, le=4096)] = 8
    shard_size: Annotated[int, Field(ge=1, le=4096)] = 8
    numerics: Numerics = REFERENCE
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _names_fit(self) -> "Experiment":
        models = [model.name for model in self.models]
        attacks = [attack.name for attack in self.attacks]
        _check_unique("models", models)
        _check_unique("attacks", attacks)
        if "clean" in attacks:
            raise PydanticCustomError("clean", "an attack cannot be named 'clean'", {})
        _check_role("sources", self.sources, models)
        _check_role("targets", self.targets, models)
        return self

    @property
    def source_models(self) -> tuple[ModelSpec, ...]:
        """The source models, in the order of ``models``."""
        return tuple(m for m in self.models if self.sources is None or m.name in self.sources)

    @property
    def target_models(self) -> tuple[ModelSpec, ...]:
        """The target models, in the order of ``models``."""
        return tuple(m for m in self.models if self.targets is None or m.name in self.targets)


def _check_unique(field: str, names: list[str]) -> None:
    """Refuse an empty list and equal names."""
    if not names:
        raise PydanticCustomError("none", "{what} is empty; give one or more", {"what": field})
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PydanticCustomError(
            "twice",
            "two {what} are named '{name}'; give one of them another name",
            {"what": field, "name": twice[0]},
        )


def _check_role(role: str, names: tuple[str, ...] | None, models: list[str]) -> None:
    """Refuse an empty ``sources`` or ``targets`` and names of no model."""
    if names == ():
        raise PydanticCustomError(
            "none", "{role} is empty; name one or more models, or leave it out", {"role": role}
        )
    for name in names or ():
        if name not in models:
            raise PydanticCustomError(
                "unknown_model",
                "{role} names '{name}', which is no model: {hint}",
                {"role": role, "name": name, "hint": suggest(name, models)},
            )
