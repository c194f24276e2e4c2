"""mmseg's own configs, with the weights and scores published in its metafiles."""

import difflib
import math
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator, model_validator

from segtransfer.errors import InputError
from segtransfer.tasks.schema import suggest
from segtransfer.tasks.spec_errors import validated
from segtransfer.tasks.yaml_files import read_mapping

NAMES_SHOWN = 3


class _WithoutNulls(BaseModel):
    """A mapping of a metafile; a key with null is ignored."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return {key: value for key, value in content.items() if value is not None}


class PublishedScore(_WithoutNulls):
    """A published score of a model.

    Attributes:
        task: For example ``Semantic Segmentation``.
        dataset: The data set's name in the metafile.
        metrics: Values by metric, in percent.
    """

    task: str = Field("", alias="Task")
    dataset: str = Field("", alias="Dataset")
    metrics: dict[str, Any] = Field({}, alias="Metrics")

    @property
    def miou(self) -> float | None:
        """Return the mIoU at a single scale, in percent; None if not published."""
        return self._percent("mIoU")

    @property
    def miou_ms_flip(self) -> float | None:
        """Return the mIoU with several scales and flips, in percent; None if not published."""
        return self._percent("mIoU(ms+flip)")

    def _percent(self, metric: str) -> float | None:
        value = self.metrics.get(metric)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) else None


class Published(_WithoutNulls):
    """An entry of a metafile: the weights of a config.

    Attributes:
        config: The path of the config in the metafile.
        weights: The URL of the weights; empty if none are published.
        scores: The scores of these weights.
    """

    config: str = Field(alias="Config")
    weights: str = Field("", alias="Weights")
    scores: tuple[PublishedScore, ...] = Field((), alias="Results")

    @property
    def name(self) -> str:
        """Return the name of the config, without folder and suffix."""
        return Path(self.config).stem

    @field_validator("scores", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


class _Metafile(_WithoutNulls):
    entries: tuple[Published, ...] = Field((), alias="Models")

    @field_validator("entries", mode="before")
    @classmethod
    def _with_configs(cls, entries: Any) -> Any:
        if not isinstance(entries, list):
            return entries
        return [e for e in entries if not isinstance(e, dict) or e.get("Config") is not None]


def published(config: str) -> Published:
    """Return the weights and scores of a config, published in the metafile beside it.

    Args:
        config: A config file, or the name of a config of mmseg.

    Returns:
        The entry of the metafile.

    Raises:
        InputError: If there is no such config, or no entry or several with weights.
    """
    path = find_config(config)
    found = [e for e in _entries(path.parent) if e.name == path.stem]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"config {config} has several published weights: "
            f"{' and '.join(e.weights for e in found)}; download the file you want, and give its "
            "path as checkpoint"
        )
    names = [e.name for e in (*_entries(path.parent), *all_published())]
    near = difflib.get_close_matches(path.stem, dict.fromkeys(names), NAMES_SHOWN)
    told = f", or use a config with weights: {', '.join(near)}" if near else ""
    raise InputError(
        f"config {config} has no published weights in a metafile beside {path}; give "
        f"checkpoint{told}"
    )


def all_published() -> tuple[Published, ...]:
    """Return all entries with weights of mmseg's own configs.

    Returns:
        Entries sorted by name, without names of several entries.

    Raises:
        InputError: If a metafile cannot be read.
    """
    folders = {path.parent for paths in _shipped_configs().values() for path in paths}
    found = [entry for folder in folders for entry in _entries(folder)]
    count = Counter(entry.name for entry in found)
    return tuple(sorted((e for e in found if count[e.name] == 1), key=lambda e: e.name))


def _entries(folder: Path) -> Iterator[Published]:
    """Yield the entries with weights of the configs of a folder, from its metafiles."""
    for metafile in sorted(folder.glob("metafile.y*ml")):
        content = read_mapping(metafile, "Models, a list of entries with Config and Weights")
        for entry in validated(_Metafile, content, str(metafile)).entries:
            if entry.weights and (folder / f"{entry.name}.py").is_file():
                yield entry


def find_config(config: str) -> Path:
    """Return the file of a config.

    Args:
        config: A path, or the name of a config of mmseg, with or without ``.py``. Among several
            configs of the same name, the last choice are those below ``dsdl/``.

    Returns:
        An absolute path.

    Raises:
        InputError: If there is no such file or name, or several shipped configs have the name.
    """
    path = Path(config).expanduser()
    if path.is_file():
        return path.resolve()
    shipped = _shipped_configs()
    stem = path.name.removesuffix(".py")
    if stem in shipped:
        alike = shipped[stem]
        fitting = [p for p in alike if p.as_posix().endswith(f"/{path.parent.name}/{stem}.py")]
        found = fitting or [p for p in alike if "dsdl" not in p.parts] or alike
        if len(found) > 1:
            listed = " and ".join(map(str, found))
            raise InputError(f"config {config} is the name of {listed}; give the path of one")
        return found[0]
    hint = suggest(stem, shipped).split("Allowed:")[0]
    raise InputError(
        f"config {config} is neither a file nor the name of any of mmseg's {len(shipped)} configs; "
        + (hint or "give the path of a file")
    )


@cache
def _shipped_configs() -> dict[str, list[Path]]:
    """Return the files of mmseg's own configs by stem."""
    package = find_spec("mmseg")
    if package is None or package.origin is None:
        return {}
    shipped: dict[str, list[Path]] = {}
    for path in sorted((Path(package.origin).parent / ".mim/configs").rglob("*.py")):
        shipped.setdefault(path.stem, []).append(path)
    return shipped
