"""Data sets in folders: images/ and labels/ with equal file stems; the shipped sample is one."""

import json
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset, palette_for, read_index_map, sequence_of
from segtransfer.tasks.data.spec import DataSpec

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
SAMPLES = Path(__file__).resolve().parent


def open_folder(spec: DataSpec) -> Dataset:
    """Open the folder data set of a spec.

    An optional ``dataset.json`` beside images/ gives classes, palette, and a regular expression
    whose first group is the sequence name in an image's stem.

    Raises:
        InputError: If a folder is missing, an image has no label, or the class list is unknown.
    """
    root = SAMPLES / spec.sample if spec.sample else Path(spec.folder or ".")
    if not root.is_dir():
        raise InputError(f"data.folder {root} does not exist")
    notes = _notes(root)
    classes = spec.classes or tuple(notes.get("classes", ()))
    if not classes:
        raise InputError(
            f"data.folder {root} has no dataset.json with a class list; give data.classes"
        )
    split = [spec.split] if spec.split else []
    images, labels = root.joinpath("images", *split), root.joinpath("labels", *split)
    for folder in (images, labels):
        if not folder.is_dir():
            raise InputError(f"data.folder {root} has no {folder.relative_to(root)}/")
    return Dataset(
        name=spec.sample or root.name,
        classes=classes,
        palette=palette_for(len(classes), notes.get("palette", ())),
        items=_items(images, labels, notes.get("sequence")),
        read_label=lambda item: read_index_map(item.label),
    )


def _notes(root: Path) -> dict[str, Any]:
    """Return the content of ``dataset.json``, empty if there is none."""
    path = root / "dataset.json"
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is no valid JSON: {error}") from error


def _items(images: Path, labels: Path, sequence: str | None) -> tuple[DataItem, ...]:
    label_files = {path.stem: path for path in sorted(labels.iterdir())}
    items = []
    for path in sorted(images.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.stem not in label_files:
            raise InputError(f"image {path} has no label of the same name in {labels}")
        name = sequence_of(path.stem, sequence) if sequence else path.stem
        items.append(DataItem(path.stem, name, path, label_files[path.stem]))
    return tuple(items)
