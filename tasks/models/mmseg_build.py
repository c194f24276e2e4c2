"""Building of mmseg's networks, and the packages that are missing if it fails."""

import ast
import inspect
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from segtransfer.errors import InputError

NO_OPS = "; the mmcv that is installed has no compiled ops: install a build of mmcv that has them"


def build(name: str, model: dict[str, Any]) -> Any:
    """Build a network, with weights as its constructors leave them.

    Raises:
        InputError: If mmseg cannot build the config, or its head has neither a channel per class
            nor a single channel for two classes.
    """
    import_libraries()
    from mmengine.config import ConfigDict
    from mmengine.model import revert_sync_batchnorm
    from mmseg.registry import MODELS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about losses, which are not used
            network = revert_sync_batchnorm(MODELS.build(ConfigDict(_constructible(model))))
    except Exception as error:
        raise InputError(
            f"model '{name}': mmseg could not build its config ({type(error).__name__}: {error})"
            f"{missing_clause(error, model)}"
        ) from error
    if network.out_channels != network.num_classes and network.num_classes != 2:
        raise InputError(
            f"model '{name}' has {network.out_channels} output channels for {network.num_classes} "
            "classes; give a head with one channel a class, or one channel for two classes"
        )
    return network


def has_usual_windows(network: Any) -> bool:
    """Tell whether a network's sliding inference is mmseg's own, whatever its parts are."""
    from mmseg.models.segmentors import EncoderDecoder

    methods = ("inference", "slide_inference")
    return all(getattr(type(network), m, None) is getattr(EncoderDecoder, m) for m in methods)


def _constructible(model: dict[str, Any]) -> dict[str, Any]:
    """Return a config without the ``init_cfg`` that constructors of backbone and neck do not take.

    ``_read_config`` writes ``init_cfg`` into every backbone and neck, and fingerprints cover it.
    """
    from mmseg.registry import MODELS

    parts = {}
    for name in ("backbone", "neck"):
        part = model.get(name)
        if not isinstance(part, dict):
            continue
        kind = MODELS.get(part.get("type"))
        if kind is not None and "init_cfg" not in inspect.signature(kind).parameters:
            parts[name] = {k: v for k, v in part.items() if k != "init_cfg"}
    return {**model, **parts}


def root_of(error: BaseException) -> BaseException:
    """Return the failed import that an error comes from, else the error itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


def missing_clause(error: BaseException, model: Any = None) -> str:
    """Return a clause about what is not installed, as far as the error shows it, else nothing.

    mmseg's modules replace classes of packages that are missing, and constructors then fail. So the
    imports of the modules of the config's types are looked at too.

    Args:
        error: The error of reading or building.
        model: The config of the model.
    """
    root = root_of(error)
    name = root.name if isinstance(root, ModuleNotFoundError) else None
    if name == "mmcv._ext" or ("mmcv" in str(root) and find_spec("mmcv._ext") is None):
        return NO_OPS
    if name:
        package = name.partition(".")[0]
        return f"; install the package {package}, or start in the folder that it is imported from"
    for kind in _types(model):
        for package in sorted(_imports(kind)):
            if find_spec(package) is None:
                return f"; {kind} needs the package {package}, which is not installed"
    return ""


def _types(part: Any) -> Iterator[str]:
    """Yield every ``type`` of a config."""
    if isinstance(part, dict):
        yield from [part["type"]] if isinstance(part.get("type"), str) else []
        part = list(part.values())
    for inner in part if isinstance(part, list | tuple) else ():
        yield from _types(inner)


def _imports(kind: str) -> set[str]:
    """Return the top-level packages that the module of one of mmseg's classes imports."""
    from mmseg.registry import MODELS

    module = inspect.getmodule(MODELS.get(kind)) if kind in MODELS else None
    if module is None or not module.__name__.startswith("mmseg."):
        return set()
    nodes = list(ast.walk(ast.parse(inspect.getsource(module))))
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    return {name.partition(".")[0] for name in names}


def import_libraries() -> None:
    """Import mmseg's registries without its notices about optional packages."""
    logging.getLogger("mmengine").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmseg.models  # noqa: F401
        from mmengine.registry import init_default_scope
    init_default_scope("mmseg")
