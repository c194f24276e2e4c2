"""What a job is: its command, the folder that it runs in, and the package where nodes lack it."""

import json
import os
import re
import shlex
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.spec import Experiment
from segtransfer.jobs import variables
from segtransfer.searches.spec import Search, read_search
from segtransfer.store import Store
from segtransfer.tasks.yaml_files import parse, read_mapping

PACKAGES = ("orchestrator", "search_spaces", "tasks")
COMMAND = Path("orchestrator", "cli.py")
VARIABLES = "segtransfer_variables"
FUNCTION = re.compile(r"(\w+)[\w.]*:\w+")  # package.module:function
# Ray kills a job three seconds after it asked it to stop; ours draws and logs what it has.
STOP_WITHIN = {"RAY_JOB_STOP_WAIT_TIME_S": "120"}


@dataclass(frozen=True)
class JobRequest:
    """What to carry out: a spec's file or a recipe, with its overrides; ``store`` goes over the
    spec's own, ``resume`` belongs to a ``search``."""

    spec: str
    overrides: tuple[str, ...] = ()
    store: str | None = None
    search: bool = False
    resume: bool = False


@dataclass(frozen=True)
class JobBundle:
    """What goes to a cluster: ``folder`` becomes the job's working folder, ``modules`` are folders
    that Python shall find by their names."""

    entrypoint: str
    folder: Path
    modules: tuple[Path, ...]

    def runtime_env(self) -> dict[str, Any]:
        """The parcel as Ray takes it."""
        content: dict[str, Any] = {"working_dir": str(self.folder), "env_vars": STOP_WITHIN}
        if self.modules:  # Ray chokes on an empty list
            content["py_modules"] = [str(module) for module in self.modules]
        if any(module.name == VARIABLES for module in self.modules):
            content["worker_process_setup_hook"] = f"{VARIABLES}.hand_over"
        return content


@contextmanager
def pack(
    order: JobRequest,
    working_dir: str | None = None,
    package: str | None = None,
    env: Sequence[str] = (),
) -> Iterator[JobBundle]:
    """Check an order and lay out what it takes, for as long as the context lasts.

    ``working_dir`` is sent whole, without it the spec alone; ``package`` is a wheel or a source
    tree of segtransfer for nodes that have none; ``env`` names variables of the environment to hand
    on. Raises InputError for a wrong spec, and for one that needs what would not be sent.
    """
    folder = None if working_dir is None else _folder(working_dir)
    _check(order, folder)
    values = _values(env)
    with tempfile.TemporaryDirectory(prefix="segtransfer-job-") as name:
        scratch = Path(name)
        modules = () if package is None else _unpack(package, scratch / "package")
        carried = bool(modules)
        if values:
            modules += (_lay_out_variables(values, scratch),)
        if folder is None:
            spec = _lay_out(order, scratch / "folder")
            folder = scratch / "folder"
        else:
            spec = _within(order, folder)
            carried |= (folder / COMMAND).is_file()
        yield JobBundle(_command(order, spec, carried, bool(values)), folder, modules)


def _values(names: Iterable[str]) -> dict[str, str]:
    """Environment variables of this process by name; raises InputError where one is not set."""
    found = {}
    for name in names:
        if "=" in name:
            raise InputError(
                f"--env {name.partition('=')[0]}: give the name alone; the value is taken from the "
                "environment, so that it stands in no command line"
            )
        if name not in os.environ:
            raise InputError(f"--env {name}: no such variable is set here; export it first")
        found[name] = os.environ[name]
    return found


def _command(order: JobRequest, spec: str, carried: bool, with_variables: bool) -> str:
    """The entrypoint, for a shell. A package that is carried along brings no script; ``-P`` keeps
    folders of the working folder from standing in for its own."""
    python = ["python", "-P", "-m"]
    program = [*python, "segtransfer"] if carried else ["segtransfer"]
    if with_variables:
        program = [*python, VARIABLES, *program]
    options = [] if order.store is None else ["--store", order.store]
    options += ["--resume"] if order.resume else []
    verb = "search" if order.search else "run"
    return shlex.join([*program, verb, spec, *order.overrides, *options])


def _lay_out_variables(values: Mapping[str, str], scratch: Path) -> Path:
    """A module that sets the variables, readable for its owner alone, here and on the nodes."""
    folder = scratch / VARIABLES
    folder.mkdir(mode=0o700)
    for path in Path(variables.__file__).parent.glob("*.py"):
        shutil.copy(path, folder)
    file = folder / variables.FILE
    file.touch(mode=0o600)
    file.write_text(json.dumps(values))
    return folder


def _lay_out(order: JobRequest, folder: Path) -> str:
    """A working folder that holds the spec alone, or nothing for a recipe; returns its name."""
    folder.mkdir()
    path = Path(order.spec).expanduser()
    if not path.is_file():
        return order.spec
    shutil.copy(path, folder)
    return path.name


def _within(order: JobRequest, folder: Path) -> str:
    """The spec's path as seen from the working folder; a recipe stays as it is."""
    path = Path(order.spec).expanduser().resolve()
    if not path.is_file():
        return order.spec
    if not path.is_relative_to(folder):
        raise InputError(f"{order.spec} does not lie in the working folder {folder}; move it there")
    return str(path.relative_to(folder))


def _folder(working_dir: str) -> Path:
    """A working folder in which nothing stands in for segtransfer's own packages."""
    folder = Path(working_dir).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(f"--working-dir {working_dir} is no folder")
    if not (folder / COMMAND).is_file():
        for package in PACKAGES:
            if (folder / package).is_dir() or (folder / f"{package}.py").is_file():
                raise InputError(
                    f"{folder} holds '{package}', which on the nodes would stand in for "
                    "segtransfer's own package of that name; rename it"
                )
    return folder


def _unpack(package: str, into: Path) -> tuple[Path, ...]:
    """The folders of a wheel, or of a source tree.

    As folders they need no installer and no network on the nodes; Ray would install a wheel
    together with all that it depends on.
    """
    path = Path(package).expanduser()
    try:
        if path.is_dir():
            for name in PACKAGES:
                shutil.copytree(
                    path / name, into / name, ignore=shutil.ignore_patterns("__pycache__")
                )
        else:
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(into)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"--package {package} cannot be read: {error}") from None
    if not (into / COMMAND).is_file():
        raise InputError(
            f"--package {package} is neither a wheel nor a source tree of segtransfer; "
            "'pip wheel --no-deps .' in the source tree makes a wheel"
        )
    return tuple(sorted(into.iterdir()))


def _check(order: JobRequest, folder: Path | None) -> None:
    """Raise InputError where the spec is wrong, or needs what its job would not have."""
    options = [] if order.store is None else [f"runtime.store={json.dumps(order.store)}"]
    read = read_search if order.search else read_experiment
    spec: Experiment | Search = read(order.spec, [*order.overrides, *options])
    given = _absolute_paths(order, options)
    content = spec.model_dump(mode="json")
    _check_outputs(content, given)
    content.pop("runtime")
    texts = set(_texts(content))
    paths = [Path(text) for text in texts if Path(text).is_absolute() and text not in given]
    modules = {match[1] for text in texts if (match := FUNCTION.fullmatch(text))}
    own = [name for name in modules - set(PACKAGES) if _module(Path.cwd(), name)]
    if folder is not None:
        _check_within(order, folder, paths, own)
    elif paths or own:
        named = ", ".join([*map(str, sorted(paths)), *sorted(own)])
        raise InputError(
            f"{order.spec} needs {named}, and its job gets the spec alone: --working-dir . sends "
            "this folder along; what lies on the nodes is named by absolute paths"
        )


def _check_within(
    order: JobRequest, folder: Path, paths: Sequence[Path], modules: list[str]
) -> None:
    """Refuse a working folder that lacks what the spec needs of this machine."""
    for path in paths:
        if not path.exists():
            raise InputError(f"{order.spec} needs {path}, which does not exist")
        if not path.is_relative_to(folder):
            raise InputError(f"{order.spec} needs {path}, which is outside {folder}")
    for name in modules:
        if not _module(folder, name):
            raise InputError(f"{order.spec} needs the module {name}, which is not in {folder}")


def _check_outputs(content: Mapping[str, Any], given: set[str]) -> None:
    """Refuse a store, or another output, in a working folder that goes with the job."""
    runtime, search = content["runtime"], content.get("search", {})
    if "://" in runtime["store"]:
        Store(runtime["store"])
    outputs = {f"runtime.{field}": runtime[field] for field in ("store", "journal", "log")}
    for field, value in {**outputs, "search.storage": search.get("storage")}.items():
        if value is not None and "://" not in value and value not in given:
            raise InputError(
                f"{field} would lie in the job's working folder, which goes with the job; give "
                "a bucket (--store s3://bucket/folder) or an absolute path that all nodes share"
            )


def _absolute_paths(order: JobRequest, options: Sequence[str]) -> set[str]:
    """The paths that were written as absolute ones; reading a spec makes all others so."""
    texts = [
        text
        for override in [*order.overrides, *options]
        for text in _texts(parse(override.partition("=")[2], f"override '{override}'"))
    ]
    path = Path(order.spec).expanduser()
    if path.is_file():
        texts += _texts(read_mapping(path, needs="data, models and attacks"))
    paths = [Path(text).expanduser() for text in texts]
    return {str(path.resolve()) for path in paths if path.is_absolute()}


def _module(folder: Path, name: str) -> bool:
    """Whether a folder holds a module of that name."""
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def _texts(value: Any) -> Iterator[str]:
    """All strings in a plain value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
