"""Missing packages of mmseg's configs, each with a sentence on its installation."""

import ast
import inspect
import re
import traceback
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from packaging.requirements import Requirement

# The distributions of packages built for the mmseg and mmcv of this project.
BUILDS = {"mmdet": "onedl-mmdetection", "mmpretrain": "onedl-mmpretrain"}
# The requirement of onedl-mmpretrain 1.3.6; of an installed version, its metadata are read.
MMPRETRAIN_ASKS = "transformers<5,>=4.53.0"
# The build named in the error of onedl-mmcv.
WITH_OPS = "an onedl-mmcv with compiled ops (mim install onedl-mmcv --only-binary=onedl-mmcv)"
OPS = re.compile(r"for (\w+) ops")


def missing(error: BaseException, model: Any = None) -> str | None:
    """Return the end of a sentence about a missing package.

    mmseg's modules replace classes of missing packages by stubs, whose constructors fail. So the
    imports in the modules of the config's types are examined, too.

    Args:
        error: The error of reading or building.
        model: The config of the model, or None if it is not read yet.

    Returns:
        ": " with the package and its installation; None if the error has another cause.
    """
    root = root_of(error)
    name = (root.name or "") if isinstance(root, ModuleNotFoundError) else ""
    ops = OPS.search(str(root))
    if name == "mmcv._ext" or (ops and not _has_ops()):
        needs = ops[1] if ops else "it"
        return f": {needs} needs compiled ops of mmcv; install {WITH_OPS}"
    if told := _unfit_transformers(error) or _unfit_build(error):
        return f": {told}"
    if name:
        return f": it needs the package {_absent(name.partition('.')[0])}"
    for kind in _types(model):
        for package in sorted(_imports(kind)):
            if find_spec(package) is None:
                return f": {kind} needs the package {_absent(package)}"
    return None


def _absent(package: str) -> str:
    """Return a missing package with its installation."""
    known = BUILDS.get(package)
    if known is None:
        return (
            f"{package}, which is not installed; install the package {package}, or start in the "
            "folder of the package"
        )
    more = ""
    if package == "mmdet" and not _has_ops():
        more = f", and for it {WITH_OPS}"
    version = _version("transformers")
    if package == "mmpretrain" and version and not _takes(MMPRETRAIN_ASKS, version):
        more = f", and with it {MMPRETRAIN_ASKS} in the place of {version}"
    return f"{package}, which is not installed; install {known}{more}"


def _has_ops() -> bool:
    return find_spec("mmcv._ext") is not None


def _unfit_transformers(error: BaseException) -> str | None:
    """Return a sentence if mmpretrain failed and requires another version of transformers."""
    version = _version("transformers")
    if version is None or not _passed("mmpretrain", error):
        return None
    for name in ("onedl-mmpretrain", "mmpretrain"):
        if _version(name) is None:
            continue
        for asked in metadata.requires(name) or ():
            if Requirement(asked).name == "transformers" and not _takes(asked, version):
                wanted = f"transformers{Requirement(asked).specifier}"
                return (
                    f"it needs {name} {_version(name)}, which requires {wanted}, and transformers "
                    f"{version} is installed; install {wanted}"
                )
    return None


def _unfit_build(error: BaseException) -> str | None:
    """Return a sentence if a package refused the installed mmcv, because it is another build."""
    for package, known in BUILDS.items():
        refused = isinstance(error, AssertionError) and _passed(package, error)
        if refused and _version(known) is None:
            return (
                f"it needs the {package} of {known}, and the installed {package} refuses the "
                f"installed mmcv; install {known} in its place"
            )
    return None


def _takes(asked: str, version: str) -> bool:
    return Requirement(asked).specifier.contains(version, prereleases=True)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _passed(package: str, error: BaseException) -> bool:
    """Tell whether the traceback of an error or its causes passes the code of a package."""
    frames = (frame for link in _chain(error) for frame, _ in traceback.walk_tb(link.__traceback__))
    return any(f.f_globals.get("__name__", "").partition(".")[0] == package for f in frames)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def root_of(error: BaseException) -> BaseException:
    """Return the failed import behind an error.

    Args:
        error: Any exception; its causes are searched.

    Returns:
        The first ModuleNotFoundError with a name, or ``error`` itself.
    """
    failed = (e for e in _chain(error) if isinstance(e, ModuleNotFoundError) and e.name)
    return next(failed, error)


def _types(part: Any) -> Iterator[str]:
    """Yield every ``type`` of a config."""
    if isinstance(part, dict):
        yield from [part["type"]] if isinstance(part.get("type"), str) else []
        part = list(part.values())
    for inner in part if isinstance(part, list | tuple) else ():
        yield from _types(inner)


def _imports(kind: str) -> set[str]:
    """Return the top-level packages imported in the module of a class of mmseg."""
    from mmseg.registry import MODELS

    try:
        module = inspect.getmodule(MODELS.get(kind)) if kind in MODELS else None
    except Exception:  # mmseg itself cannot be imported
        return set()
    if module is None or not module.__name__.startswith("mmseg."):
        return set()
    nodes = list(ast.walk(ast.parse(inspect.getsource(module))))
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    return {name.partition(".")[0] for name in names}
