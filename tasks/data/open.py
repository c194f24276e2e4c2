"""Opening of a data set of any kind, with its choice of sequences, classes and images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.data import folder, foreign, mmseg
from segtransfer.tasks.data.base import Dataset, sequence_of
from segtransfer.tasks.data.crops import cut_crops
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.schema import suggest


def open_dataset(spec: DataSpec, faults: list[str] | None = None) -> Dataset:
    """Open the data set of a spec, select its sequences and images, and merge its classes.

    Args:
        spec: The data set; ``spec.images`` items are taken at even distances, before crops are cut.
        faults: A list to extend with a sentence per image without a label. Without a list such an
            image is an error.

    Raises:
        InputError: If the data set is empty, an image has no label, a sequence is unknown,
            ``spec.images`` exceeds the number of images, two classes have the same name, or
            ``spec.label_map`` does not fit the class list, or no crop can be cut.
    """
    if spec.reader is not None:
        dataset = foreign.open_reader(spec)
    else:
        dataset = folder.open_folder(spec) if spec.mmseg is None else mmseg.open_mmseg(spec)
    repeated = sorted({name for name in dataset.classes if dataset.classes.count(name) > 1})
    if repeated:
        raise InputError(
            f"data set {dataset.name} has several classes named {repeated[0]!r}; give each class "
            "its own name"
        )
    if dataset.faults and (faults is None or not dataset.items):
        more = len(dataset.faults) - 1
        rest = f"; {more} more images have none: run 'segtransfer data check'" if more else ""
        raise InputError(dataset.faults[0] + (rest if dataset.items else ", nor has any image"))
    if faults is not None:
        faults += dataset.faults
    if not dataset.items:
        raise InputError(
            f"data set {dataset.name} has no labelled image; check the path, split and suffixes"
        )
    if spec.sequence is not None:
        named = [replace(i, sequence=sequence_of(i.image_id, spec.sequence)) for i in dataset.items]
        dataset = replace(dataset, items=tuple(named))
    if spec.sequences is not None:
        dataset = _select_sequences(dataset, spec.sequences)
    count = len(dataset.items)
    if spec.label_map is not None:
        dataset = _merge_classes(dataset, spec.label_map)
    if spec.images is not None and spec.images > count:
        raise InputError(
            f"data.images is {spec.images}, and {dataset.name} has {count} labelled images; give "
            f"{count} or fewer, or leave data.images out"
        )
    if spec.images is not None:
        chosen = [dataset.items[i * count // spec.images] for i in range(spec.images)]
        dataset = replace(dataset, items=tuple(chosen))
    return dataset if spec.crops is None else cut_crops(dataset, spec.crops)


def _select_sequences(dataset: Dataset, sequences: Sequence[str]) -> Dataset:
    """Return the data set without the images of other sequences."""
    known = {item.sequence for item in dataset.items}
    for name in sequences:
        if name not in known:
            raise InputError(
                f"data.sequences names '{name}', no sequence of {dataset.name}; "
                f"{suggest(name, sorted(known)[:20])}"
            )
    items = tuple(item for item in dataset.items if item.sequence in sequences)
    return replace(dataset, items=items)


def _merge_classes(dataset: Dataset, label_map: dict[str, str | None]) -> Dataset:
    """Return the data set with merged classes, each in the colour of its first class."""
    for name in label_map:
        if name not in dataset.classes:
            raise InputError(
                f"data.label_map names '{name}', no class of {dataset.name}; "
                f"{suggest(name, dataset.classes)}"
            )
    missing = [name for name in dataset.classes if name not in label_map]
    if missing:
        raise InputError(
            f"data.label_map leaves out {', '.join(map(repr, missing))} of {dataset.name}; map "
            "each to a class, or to null to ignore it"
        )
    merged = [label_map[name] for name in dataset.classes]
    classes = tuple(dict.fromkeys(name for name in merged if name is not None))
    if len(classes) < 2:
        raise InputError(
            f"data.label_map merges the {len(merged)} classes of {dataset.name} into "
            f"{len(classes)}; map to 2 or more"
        )
    table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
    table[: len(merged)] = [IGNORE_INDEX if n is None else classes.index(n) for n in merged]
    return replace(
        dataset,
        classes=classes,
        palette=tuple(dataset.palette[merged.index(name)] for name in classes),
        read_label=lambda item: table[dataset.indices(item)],
    )
