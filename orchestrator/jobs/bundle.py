"""The bundle of a job: its command, its working folder, and the package if the nodes lack it."""

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError
from segtransfer.experiment.inheritance import with_bases
from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.recipes import EXPERIMENT_RECIPES, SEARCH_RECIPES
from segtransfer.experiment.spec import Experiment
from segtransfer.jobs import variables
from segtransfer.jobs.package import unpack_package
from segtransfer.searches.spec import Search, read_search
from segtransfer.store import Store
from segtransfer.tasks.yaml_files import parse

VARIABLES = "segtransfer_variables"
FUNCTION = re.compile(r"(\w+)[\w.]*:\w+")  # package.module:function
# By default Ray kills a job 3 seconds after SIGTERM; the report and MLflow take longer.
STOP_WITHIN = {"RAY_JOB_STOP_WAIT_TIME_S": "120"}


@dataclass(frozen=True)
class JobRequest:
    """A spec to run as a job.

    Attributes:
        spec: The path of a YAML file, or the name of a recipe.
        overrides: Fields to set, as ``field.path=value``.
        store: The folder or URL of the store; None for the spec's own.
        search: Whether the spec is a search.
        resume: Whether the search continues trials in the store.
    """

    spec: str
    overrides: tuple[str, ...] = ()
    store: str | None = None
    search: bool = False
    resume: bool = False


@dataclass(frozen=True)
class JobBundle:
    """The content of a job.

    Attributes:
        entrypoint: The command line, quoted for a shell.
        folder: The folder for upload as the job's working folder.
        modules: Folders of packages for upload to the Python path of the job.
    """

    entrypoint: str
    folder: Path
    modules: tuple[Path, ...]

    def runtime_env(self) -> dict[str, Any]:
        """Return the bundle as Ray's ``runtime_env``.

        Returns:
            The working folder, the packages, the seconds between SIGTERM and SIGKILL, and the hook
            that sets variables in workers if there are variables.
        """
        content: dict[str, Any] = {"working_dir": str(self.folder), "env_vars": STOP_WITHIN}
        if self.modules:  # Ray refuses an empty list
            content["py_modules"] = [str(module) for module in self.modules]
        if any(module.name == VARIABLES for module in self.modules):
            content["worker_process_setup_hook"] = f"{VARIABLES}.hand_over"
        return content


@contextmanager
def pack(
    request: JobRequest,
    working_dir: str | None = None,
    package: str | None = None,
    env: Sequence[str] = (),
) -> Iterator[JobBundle]:
    """Check a request and write its bundle to a temporary folder, deleted with the context.

    Args:
        request: The spec and its overrides.
        working_dir: The folder to upload whole; None to upload the spec only.
        package: The wheel or source tree of segtransfer to upload, for nodes without segtransfer.
        env: The names of environment variables to set in the job.

    Yields:
        The bundle, whose folders exist within the context.

    Raises:
        InputError: The spec is wrong, needs files that would not be uploaded, or writes into the
            job's working folder; ``working_dir`` or ``package`` cannot be used; a variable is
            not set.
    """
    folder = None if working_dir is None else _folder(working_dir)
    _check(request, folder)
    values = _values(env)
    with tempfile.TemporaryDirectory(prefix="segtransfer-job-") as name:
        scratch = Path(name)
        modules = () if package is None else unpack_package(package, scratch / "package")
        if values:
            modules += (_lay_out_variables(values, scratch),)
        if folder is None:
            spec = _lay_out(request, scratch / "folder")
            folder = scratch / "folder"
        else:
            spec = _within(request, folder)
        entrypoint = _command(request, spec, package is not None, bool(values))
        yield JobBundle(entrypoint, folder, modules)


def _values(names: Iterable[str]) -> dict[str, str]:
    """Return environment variables of this process by name; raise InputError for unset names."""
    found = {}
    for name in names:
        if "=" in name:
            raise InputError(
                f"--env {name.partition('=')[0]}: give the name alone; the value is read from the "
                "environment, because command lines are logged"
            )
        if name not in os.environ:
            raise InputError(f"--env {name}: the variable is not set; export {name} first")
        found[name] = os.environ[name]
    return found


def _command(request: JobRequest, spec: str, carried: bool, with_variables: bool) -> str:
    """Return the entry point, quoted for a shell.

    An uploaded package has no script, so it runs as a module. ``-P`` keeps the working folder off
    the Python path.
    """
    python = ["python", "-P", "-m"]
    program = [*python, "segtransfer"] if carried else ["segtransfer"]
    if with_variables:
        program = [*python, VARIABLES, *program]
    options = [] if request.store is None else ["--store", request.store]
    options += ["--resume"] if request.resume else []
    verb = "search" if request.search else "run"
    return shlex.join([*program, verb, spec, *request.overrides, *options])


def _lay_out_variables(values: Mapping[str, str], scratch: Path) -> Path:
    """Write a package that sets the variables; only its owner can read the values."""
    folder = scratch / VARIABLES
    folder.mkdir(mode=0o700)
    for path in Path(variables.__file__).parent.glob("*.py"):
        shutil.copy(path, folder)
    file = folder / variables.FILE
    file.touch(mode=0o600)
    file.write_text(json.dumps(values))
    return folder


def _lay_out(request: JobRequest, folder: Path) -> str:
    """Make a working folder with the spec only, or empty for a recipe; return the spec's name."""
    folder.mkdir()
    path = Path(request.spec).expanduser()
    if not path.is_file():
        return request.spec
    shutil.copy(path, folder)
    return path.name


def _within(request: JobRequest, folder: Path) -> str:
    """Return the spec's path relative to the working folder, or the name of a recipe."""
    path = Path(request.spec).expanduser().resolve()
    if not path.is_file():
        return request.spec
    if not path.is_relative_to(folder):
        raise InputError(f"{request.spec} is not in the working folder {folder}; move the file")
    return str(path.relative_to(folder))


def _folder(working_dir: str) -> Path:
    """Return a working folder; refuse a folder that hides segtransfer from Python on the nodes."""
    folder = Path(working_dir).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(f"--working-dir {working_dir} is no folder")
    for name in ("segtransfer.py", "segtransfer/__init__.py"):
        if (folder / name).is_file():
            raise InputError(
                f"{folder} holds '{name}', which would be imported on the nodes in place of "
                "segtransfer; rename the file or folder"
            )
    return folder


def _check(request: JobRequest, folder: Path | None) -> None:
    """Raise InputError if the spec is wrong, or needs files or modules that the job would lack."""
    options = [] if request.store is None else [f"runtime.store={json.dumps(request.store)}"]
    read = read_search if request.search else read_experiment
    spec: Experiment | Search = read(request.spec, [*request.overrides, *options])
    written = _written(request, options)
    absolute = [path for text in written if (path := Path(text).expanduser()).is_absolute()]
    given = {str(path.resolve()) for path in absolute}
    content = spec.model_dump(mode="json")
    _check_outputs(content, given, stored="store" in spec.runtime.model_fields_set)
    content.pop("runtime")
    texts = set(_texts(content))
    needed = [Path(text) for text in texts if Path(text).is_absolute()] + [*_files(request)][1:]
    paths = [path for path in needed if str(path) not in given]
    # The written spec has the name of a user's preset, and the read spec its fields.
    matches = [FUNCTION.fullmatch(text) for text in texts.union(written)]
    modules = {match[1] for match in matches if match}
    own = [name for name in modules - {"segtransfer"} if _module(Path.cwd(), name)]
    if folder is not None:
        _check_within(request, folder, paths, own)
    elif paths or own:
        named = ", ".join([*map(str, sorted(paths)), *sorted(own)])
        raise InputError(
            f"{request.spec} needs {named}, and only the spec is uploaded: add --working-dir . to "
            "upload this folder, or use absolute paths that exist on the cluster"
        )


def _check_within(
    request: JobRequest, folder: Path, paths: Sequence[Path], modules: list[str]
) -> None:
    """Raise InputError if a working folder lacks files or modules that the spec needs."""
    for path in paths:
        if not path.exists():
            raise InputError(f"{request.spec} needs {path}, which does not exist")
        if not path.is_relative_to(folder):
            raise InputError(
                f"{request.spec} needs {path}, which is outside {folder}; move the file into the "
                "working folder"
            )
    for name in modules:
        if not _module(folder, name):
            raise InputError(
                f"{request.spec} needs the module {name}, which is not in {folder}; move the "
                "module into the working folder"
            )


def _check_outputs(content: Mapping[str, Any], given: set[str], *, stored: bool) -> None:
    """Raise InputError if an output is in the working folder, which Ray deletes after the job.

    Args:
        content: The spec.
        given: Absolute paths of the request.
        stored: Whether the request names a store.
    """
    runtime, search = content["runtime"], content.get("search", {})
    if "://" in runtime["store"]:
        Store(runtime["store"])
    outputs = {f"runtime.{field}": runtime[field] for field in ("store", "journal", "log")}
    if runtime["fleet"]["name"] is not None and not stored:
        outputs.pop("runtime.store")  # the run uses the store of the fleet
    for field, value in {**outputs, "search.storage": search.get("storage")}.items():
        if value is not None and "://" not in value and value not in given:
            raise InputError(
                f"{field} would be in the job's working folder, which Ray deletes; give a bucket "
                "(--store s3://bucket/folder) or an absolute path that all nodes share"
            )


def _written(request: JobRequest, options: Sequence[str]) -> list[str]:
    """Return all texts of the request as written; in a read spec all paths are absolute."""
    texts = [
        text
        for override in [*request.overrides, *options]
        for text in _texts(parse(override.partition("=")[2], f"override '{override}'"))
    ]
    return [*texts, *_texts(list(_files(request).values()))]


def _files(request: JobRequest) -> dict[Path, dict[str, Any]]:
    """Return the content of the spec's file and of the files of its bases, recipes left out."""
    path = Path(request.spec).expanduser()
    recipes = SEARCH_RECIPES if request.search else EXPERIMENT_RECIPES
    read = with_bases(path, [recipes]) if path.is_file() else {}
    return {file: content for file, content in read.items() if file.parent != recipes}


def _module(folder: Path, name: str) -> bool:
    """Return whether a folder holds a module of that name."""
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def _texts(value: Any) -> Iterator[str]:
    """Yield all strings in a plain value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
