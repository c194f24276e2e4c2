"""The experiment, typed; reading it from YAML, a recipe's name or a dict, with overrides."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from segtransfer import tasks
from segtransfer.errors import InputError
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models.numerics import REFERENCE, Numerics
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.schema import AnyPath, Frozen, suggest
from segtransfer.tasks.yaml_files import parse, read_mapping

RECIPES = Path(tasks.__file__).parent / "recipes"
Read = TypeVar("Read", bound=Frozen)
SHORTHAND = {"attacks": "preset", "models": "zoo", "data": "sample"}


def _auto_or_count(most: int) -> BeforeValidator:
    """``auto``, or a whole number from 1 to ``most``: one sentence for both."""

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
    """Where models are hosted: ``slots`` are device shares, and each hosts one model at a time.

    ``name``: attach to the fleet of that name (``segtransfer fleet up``) instead of one of this
    run's own. ``slots`` in all, and ``slots_per_gpu`` small models side by side on a GPU; ``auto``
    takes the whole cluster: a slot a core, or more where that lets every model stay loaded, and
    replicas of a few sources use every core, and memory allows; on GPUs one a GPU, or more where
    the models outnumber the GPUs when the first slots are opened: at most eight, or as many as fit
    where ``plan --calibrate`` has measured on such a GPU, with the experiment's micro-batch and
    image size, what every model takes. ``gpus``: slots on GPUs alone, so that a cluster which has
    none yet starts the nodes that are wanted at once, and waits for them.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=80)] | None = None
    slots: Annotated[AutoOrCount, _auto_or_count(65536)] = "auto"
    slots_per_gpu: Annotated[AutoOrCount, _auto_or_count(64)] = "auto"
    gpus: bool = False


class Runtime(Frozen):
    """How an experiment is carried out; nothing here changes a result or its key.

    ``window`` calls in flight a slot, ``micro_batch`` images a forward, ``attempts`` a task before
    infrastructure failures count as final, ``in_flight_mib`` of adversarial images waiting to be
    scored (``auto``: a third of the cluster's object store), ``least_deadline`` seconds before a
    call that takes twenty times longer than its like, or than ``plan --calibrate`` has measured, is
    given up, ``max_hours`` until a run or a whole search stops with what it has, ``journal`` a file
    that gets every decision of the scheduler and what led to it, ``log`` one that gets every event
    with its task's key, both in lines of JSON.
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
    """Which attacks, made on which sources, are scored on which targets, over which images.

    ``sources`` and ``targets`` name models (all, where left out). ``schedule_groups`` share their
    scale schedules; ``shard_size`` images at most go through one call.
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
        for what, names in (("models", models), ("attacks", [a.name for a in self.attacks])):
            if not names:
                raise PydanticCustomError(
                    "none", "{what} is empty; give one or more", {"what": what}
                )
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise PydanticCustomError(
                    "twice",
                    "two {what} are named '{name}'; give one of them another name",
                    {"what": what, "name": twice[0]},
                )
        if "clean" in [attack.name for attack in self.attacks]:
            raise PydanticCustomError("clean", "an attack cannot be named 'clean'", {})
        for role in ("sources", "targets"):
            if getattr(self, role) == ():
                raise PydanticCustomError(
                    "none",
                    "{role} is empty; name one or more models, or leave it out",
                    {"role": role},
                )
            for name in getattr(self, role) or ():
                if name not in models:
                    raise PydanticCustomError(
                        "unknown_model",
                        "{role} names '{name}', which is no model: {hint}",
                        {"role": role, "name": name, "hint": suggest(name, models)},
                    )
        return self

    @property
    def source_models(self) -> tuple[ModelSpec, ...]:
        return tuple(m for m in self.models if self.sources is None or m.name in self.sources)

    @property
    def target_models(self) -> tuple[ModelSpec, ...]:
        return tuple(m for m in self.models if self.targets is None or m.name in self.targets)


def read_experiment(
    source: str | Path | dict[str, Any] | Experiment, overrides: Sequence[str] = ()
) -> Experiment:
    """An experiment from a YAML file, a recipe's name or a dict; ``a.b=value`` overrides fields.

    Raises InputError with one sentence for every wrong field: file, field, value, what is allowed.
    """
    return read_spec(Experiment, source, overrides, RECIPES)


def read_spec(
    kind: type[Read],
    source: str | Path | dict[str, Any] | Read,
    overrides: Sequence[str],
    recipes: Path,
    noun: str = "",
) -> Read:
    """A spec that has a ``runtime``, read as ``read_experiment`` says; ``recipes`` ship.

    Messages call the spec ``noun``, by default the name of its class.
    """
    if isinstance(source, kind):
        if not overrides:
            return source
        source = source.model_dump(mode="json")
    what = noun or kind.__name__.lower()
    if isinstance(source, dict):
        origin, base, raw = what, Path.cwd(), copy.deepcopy(source)
    else:
        path = _find(str(source), recipes, what)
        origin, base = str(path), path.parent
        raw = read_mapping(path, needs="data, models and attacks")
        raw.setdefault("name", re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem))
        if path.parent == recipes:
            base = Path.cwd()
    for override in overrides:
        _apply(raw, override)
    # The store belongs to the folder people work in, not to where the spec lies.
    runtime = raw.setdefault("runtime", {})
    if isinstance(runtime, dict) and runtime.get("store", "") is not None:
        store = str(runtime.get("store", "segtransfer-store"))
        if "://" not in store:
            store = str((Path.cwd() / Path(store).expanduser()).resolve())
        raw["runtime"] = {**runtime, "store": store}
    try:
        return kind.model_validate(raw, context={"base": base})
    except ValidationError as error:
        raise InputError(_sentences(error, origin)) from None


def read_runtime(overrides: Sequence[str]) -> Runtime:
    """The runtime of a fleet, from ``field.path=value`` overrides alone.

    Raises InputError with one sentence for every wrong field.
    """
    raw: dict[str, Any] = {}
    for override in overrides:
        _apply(raw, override)
    store = str(raw.get("store", "segtransfer-store"))
    if "://" not in store:
        raw["store"] = str((Path.cwd() / Path(store).expanduser()).resolve())
    try:
        return Runtime.model_validate(raw, context={"base": Path.cwd()})
    except ValidationError as error:
        raise InputError(_sentences(error, "runtime")) from None


def recipe_names(recipes: Path = RECIPES) -> list[str]:
    """The specs that ship, by name."""
    return sorted(path.stem for path in recipes.glob("*.yaml"))


def _find(source: str, recipes: Path, what: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path.resolve()
    names = recipe_names(recipes)
    if source in names:
        return recipes / f"{source}.yaml"
    hint = suggest(source, names)
    raise InputError(f"{what} '{source}' is neither a file nor a recipe: {hint}")


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set one field by its dotted path; ``attacks.0.eps`` reaches into a bare preset name too, and
    ``attacks.*.eps`` into every item of the list."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise InputError(f"override '{override}' is not of the form field.path=value")
    _set(raw, path.split("."), parse(text, f"override '{override}': '{text}'"), override)


def _set(raw: dict[str, Any], parts: list[str], value: Any, override: str) -> None:
    node: Any = raw
    for depth, part in enumerate(parts):
        where = ".".join(parts[:depth]) or "the experiment"
        if isinstance(node, list):
            if part == "*":
                for number in range(len(node)):
                    _set(raw, [*parts[:depth], str(number), *parts[depth + 1 :]], value, override)
                return
            if not part.isdigit() or int(part) >= len(node):
                raise InputError(
                    f"override '{override}': {where} has no item '{part}'; "
                    f"allowed are 0 to {len(node) - 1}, and * for all of them"
                )
            key: Any = int(part)
        elif isinstance(node, dict):
            key = part
        else:
            raise InputError(f"override '{override}': {where} is '{node}' and has no fields")
        if depth == len(parts) - 1:
            node[key] = value
            return
        child = node[key] if isinstance(node, list) else node.get(key)
        child = {} if child is None else child
        if isinstance(child, str) and parts[0] in SHORTHAND and depth < 2:
            child = {SHORTHAND[parts[0]]: child}
        node[key] = child
        node = child


def _sentences(error: ValidationError, origin: str) -> str:
    lines = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"])
        message = _IN_WORDS.get(item["type"], item["msg"])
        if item["type"] == "missing":
            lines.append(f"{origin}: field '{field}' is missing")
            continue
        shown = ""
        if not isinstance(item["input"], dict | Frozen):
            shown = f" (value: {_shorten(item['input'])})"
        lines.append(f"{origin}: {f'field {field!r}: ' if field else ''}{message}{shown}")
    return "\n".join(lines)


_IN_WORDS = {
    "model_type": "a mapping of fields to values is needed",
    "dict_type": "a mapping of names to values is needed",
    "tuple_type": "a list is needed",
}


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
