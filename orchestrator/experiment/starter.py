"""A first spec, from the images, labels and models in a folder."""

import json
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.data.dataset_file import read_dataset_file
from segtransfer.tasks.data.spec import IGNORE_INDEX, SPLITS
from segtransfer.tasks.labels import read_pixels
from segtransfer.tasks.yaml_files import dump

DEEPEST = 4  # folders below the given one
MOST_FOLDERS = 5_000
LABELS_READ = 50
DATA_FOLDERS = {"images", "labels"}
LONGEST_NAME = 60
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
ATTACKS = """\
attacks:                        # segtransfer attacks lists all presets
  - {preset: noise, eps: 8/255}
  - {preset: pgd, eps: 8/255, steps: 10}
  - {preset: ds-mi, eps: 8/255, steps: 10}
"""
MODELS = """\
models: []                      # no model was found; add models, each with a name:
  # - {name: a, mmseg: {config: config.py, checkpoint: weights.pth}}
  # - {name: b, mmseg: {config: pspnet_r50-d8_4xb2-40k_cityscapes-512x1024, weights: mmseg}}
  # - {name: c, huggingface: {model: folder-of-save_pretrained}}
  # - {name: d, torch: {callable: "my_module:my_network", weights: weights.pth}}
"""
SAMPLE = """\
data: {sample: camvid, images: 12}   # no data was found: the shipped street images
models: [fcn-r18, pspnet-r18, fcn-mnv2]
"""


@dataclass(frozen=True)
class FolderContent:
    """The content of a folder that an experiment can use.

    Attributes:
        data: The fields of ``data``, or None.
        classes_named: Whether the data name their classes.
        models: The fields of each model.
    """

    data: dict[str, Any] | None
    classes_named: bool
    models: tuple[dict[str, Any], ...]


def look_into(folder: Path, place: Path) -> FolderContent:
    """Find images with labels, and models, in a folder and the folders below.

    Hidden folders, and folders more than 4 levels below, are left out.

    Args:
        folder: The folder.
        place: The folder of the spec, at which its relative paths start.

    Returns:
        The first folder with ``images/`` and ``labels/``, and all models, with different names.

    Raises:
        InputError: The folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"folder {folder} does not exist")
    data, named, models = None, False, []
    for path in _folders(folder):
        if data is None and all((path / name).is_dir() for name in DATA_FOLDERS):
            data, named = _data_of(path, place)
        models += _models_of(path, place)
    names: list[str] = []
    for model in models:
        names.append(_name(model["name"], names))
        model["name"] = names[-1]
    return FolderContent(data, named, tuple(models))


def starter_spec(found: FolderContent) -> str:
    """Return a commented experiment as YAML.

    Args:
        found: The data and models. Missing data or models are placeholders with a comment; without
            both, the spec uses the shipped sample and models.

    Returns:
        The text of the file.
    """
    lines = ["# Fields: segtransfer schema. Check the data: segtransfer data check THIS-FILE.\n"]
    if found.data is None and not found.models:
        return lines[0] + SAMPLE + ATTACKS
    if found.data is None:
        lines.append(
            "data: {folder: FOLDER}          # no data was found; needs images/ and labels/\n"
        )
    else:
        comment = "" if found.classes_named else "  # name the classes, by label value"
        lines.append(f"data:{comment}\n")
        for name, value in found.data.items():
            text = dump({name: value}, flow_lists=isinstance(value, list))
            lines += [f"  {line}\n" for line in text.splitlines()]
    if found.models:
        lines.append("models:\n")
        for model in found.models:
            first, *rest = dump(model).splitlines()
            lines += [f"  - {first}\n", *(f"    {line}\n" for line in rest)]
    else:
        lines.append(MODELS)
    return "".join(lines) + ATTACKS


def _folders(folder: Path) -> Iterator[Path]:
    """Yield a folder and the visible folders below, sorted, within the limits."""
    left = MOST_FOLDERS
    for place, below, _ in os.walk(folder):
        path = Path(place)
        depth = len(path.relative_to(folder).parts)
        data = DATA_FOLDERS if set(below) >= DATA_FOLDERS else set()
        kept = sorted(name for name in set(below) - data if not name.startswith("."))
        below[:] = kept if depth < DEEPEST else []
        left -= 1
        if left < 0:
            return
        yield path


def _data_of(path: Path, place: Path) -> tuple[dict[str, Any], bool]:
    """Return the fields of ``data`` for a folder data set, and whether it names its classes."""
    fields: dict[str, Any] = {"folder": _relative(path, place)}
    splits = [name for name in SPLITS if (path / "images" / name).is_dir()]
    if splits:
        fields["split"] = "val" if "val" in splits else splits[-1]
    if read_dataset_file(path / "dataset.json").classes:
        return fields, True
    highest, known = 1, True
    files = sorted(p for p in (path / "labels").rglob("*.png") if not p.name.startswith("."))
    for file in files[:LABELS_READ]:
        try:
            pixels = read_pixels(file, "label")
        except InputError:
            continue
        highest = max([highest, *(int(v) for v in np.unique(pixels) if v != IGNORE_INDEX)])
        known = known and pixels.ndim == 2 and highest < IGNORE_INDEX
    if known:
        fields["classes"] = [f"class{number}" for number in range(highest + 1)]
    return fields, False


def _models_of(path: Path, place: Path) -> list[dict[str, Any]]:
    """Return the models whose files are in a folder, folders below aside."""
    if _is_saved_model(path):
        return [{"name": path.resolve().name, "huggingface": {"model": _relative(path, place)}}]
    models = []
    checkpoints = sorted(path.glob("*.pth"))
    for config in sorted(path.glob("*.py")):
        weights = [file for file in checkpoints if file.stem.startswith(config.stem)]
        if weights:
            files = {"config": config, "checkpoint": weights[-1]}
            source = {name: _relative(file, place) for name, file in files.items()}
            models.append({"name": config.stem, "mmseg": source})
    return models


def _is_saved_model(path: Path) -> bool:
    """Return whether a folder holds a segmentation model that transformers saved."""
    try:
        content = json.loads((path / "config.json").read_text())
        kinds = content.get("architectures") or []
    except (OSError, ValueError, AttributeError):
        return False
    told = any("Segmentation" in str(kind) for kind in kinds)
    return told and any(next(path.glob(pattern), None) for pattern in WEIGHTS)


def _name(text: str, taken: list[str]) -> str:
    """Return a text as the name of a model, which differs from the taken names."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("-.")[:LONGEST_NAME] or "model"
    if name not in taken:
        return name
    numbered = (f"{name[: LONGEST_NAME - 6]}-{number}" for number in count(2))
    return next(other for other in numbered if other not in taken)


def _relative(path: Path, place: Path) -> str:
    return os.path.relpath(path.resolve(), place.resolve())
