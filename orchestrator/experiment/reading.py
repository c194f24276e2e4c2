"""Typed specs from a YAML file, the name of a shipped spec, or a dict, with overrides."""

import copy
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from segtransfer.experiment.inheritance import NEEDS, with_base
from segtransfer.experiment.overrides import apply_override
from segtransfer.experiment.recipes import EXPERIMENT_RECIPES, find_spec
from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.spec_warnings import spec_warnings
from segtransfer.tasks.schema import Frozen
from segtransfer.tasks.spec_errors import validated
from segtransfer.tasks.yaml_files import read_mapping

log = logging.getLogger(__name__)
AnySpec = TypeVar("AnySpec", bound=Frozen)


def read_experiment(
    source: str | Path | dict[str, Any] | Experiment, overrides: Sequence[str] = ()
) -> Experiment:
    """Read and validate an experiment.

    Args:
        source: The path of a YAML file, the name of a shipped recipe, the content of such a file
            as a dict, or an experiment.
        overrides: Fields to set before validation, as ``field.path=value``.

    Returns:
        The spec. Paths are absolute. A warning is logged per field that is probably a mistake.

    Raises:
        InputError: A field is wrong. The message has a sentence per wrong field: file, field,
            value, and the allowed values.
    """
    read = read_spec(Experiment, source, overrides, [EXPERIMENT_RECIPES])
    if read is not source:
        for warning in spec_warnings(read):
            log.warning(warning)
    return read


def read_spec(
    kind: type[AnySpec],
    source: str | Path | dict[str, Any] | AnySpec,
    overrides: Sequence[str],
    recipes: Sequence[Path],
    noun: str = "",
) -> AnySpec:
    """Read and validate a spec with a ``runtime`` section, as ``read_experiment`` does.

    Args:
        kind: The model of the spec.
        source: A path, the name of a spec in ``recipes``, a dict, or a spec of this kind.
        overrides: Fields to set before validation, as ``field.path=value``.
        recipes: The folders of shipped specs. Their relative paths start at the working directory,
            those of other files at the file's folder.
        noun: The spec's name in messages; by default the lower-case name of ``kind``.

    Returns:
        ``source`` itself if it is a spec and there are no overrides, else the validated spec. A
        file's spec without a name has the name of the file.

    Raises:
        InputError: A field is wrong. The message has a sentence per wrong field.
    """
    if isinstance(source, kind):
        if not overrides:
            return source
        source = source.model_dump(mode="json")
    name = noun or kind.__name__.lower()
    if isinstance(source, dict):
        origin, base, raw = name, Path.cwd(), copy.deepcopy(source)
    else:
        path = find_spec(str(source), recipes, name)
        origin, base = str(path), path.parent
        raw = read_mapping(path, NEEDS)
        raw.setdefault("name", re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem))
        if path.parent in recipes:
            base = Path.cwd()
    raw = with_base(raw, base, recipes, origin)
    for override in overrides:
        apply_override(raw, override)
    raw.setdefault("runtime", {})  # the path of its store depends on the current working folder
    return validated(kind, raw, origin, {"base": base})


def read_runtime(overrides: Sequence[str]) -> Runtime:
    """Return the runtime of a fleet from overrides alone.

    Args:
        overrides: Fields of the runtime, as ``field.path=value``, for example ``fleet.slots=4``.

    Raises:
        InputError: A field is wrong. The message has a sentence per wrong field.
    """
    raw: dict[str, Any] = {}
    for override in overrides:
        apply_override(raw, override)
    return validated(Runtime, raw, "runtime", {"base": Path.cwd()})
