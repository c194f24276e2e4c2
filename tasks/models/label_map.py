"""Label maps: from the class list of a model to the classes of the data."""

import hashlib
import json
from dataclasses import replace

from segtransfer.errors import InputError
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.schema import suggest

Groups = tuple[tuple[int, ...], ...]


def join(spec: ModelSpec, classes: tuple[str, ...]) -> ModelSpec:
    """Return the spec with its label map, and its members', in the order of the data's classes.

    Args:
        spec: A model or an ensemble.
        classes: The class names of the data, by index.

    Returns:
        The spec; unchanged without a label map.

    Raises:
        InputError: If a map leads to a class missing from the data, or to some classes of the data
            from no class of the model.
    """
    if spec.ensemble is not None:
        members = tuple(join(member, classes) for member in spec.ensemble.members)
        ensemble = spec.ensemble.model_copy(update={"members": members})
        return spec.model_copy(update={"ensemble": ensemble})
    if spec.label_map is None:
        return spec
    place = {name: index for index, name in enumerate(classes)}
    for name, mapped in spec.label_map.items():
        if mapped is not None and mapped not in place:
            raise InputError(
                f"model '{spec.name}': label_map maps '{name}' to '{mapped}', no class of the "
                f"data; {suggest(mapped, classes)}"
            )
    missing = [name for name in classes if name not in spec.label_map.values()]
    if missing:
        raise InputError(
            f"model '{spec.name}': label_map maps no class of the model to {_listed(missing)} of "
            "the data; map a class to each, or merge classes of the data with data.label_map"
        )
    # The sort is stable; dropped classes come last.
    ordered = sorted(spec.label_map.items(), key=lambda item: place.get(item[1] or "", len(place)))
    return spec.model_copy(update={"label_map": dict(ordered)})


def describe(info: ModelInfo, spec: ModelSpec) -> ModelInfo:
    """Return the description of a model with its label map.

    Args:
        info: The description without the map.
        spec: The spec with ``label_map``, in the order of the data's classes.

    Returns:
        A description with another fingerprint, and the mapped classes.

    Raises:
        InputError: If the map does not fit the model's classes.
    """
    assert spec.label_map is not None
    groups = groups_of(spec, info.classes, info.num_classes)
    text = json.dumps([info.fingerprint, "label_map", groups])
    return replace(
        info,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        num_classes=len(groups),
        classes=_mapped(spec.label_map),
    )


def _mapped(label_map: dict[str, str | None]) -> tuple[str, ...]:
    """Return the classes on the right of a map, in order of first appearance."""
    return tuple(dict.fromkeys(name for name in label_map.values() if name is not None))


def groups_of(spec: ModelSpec, classes: tuple[str, ...] | None, count: int | None) -> Groups:
    """Return, per mapped class, the indices of its classes of the model.

    Args:
        spec: The spec with ``label_map``, in the order of the data's classes.
        classes: The model's own class names by index, None if unknown.
        count: The number of classes predicted by the model, None if unknown.

    Raises:
        InputError: If the model's classes are unknown or not ``count``, or the map's keys differ
            from them.
    """
    assert spec.label_map is not None
    if classes is None:
        raise InputError(
            f"model '{spec.name}' has a label_map, and its own class list is unknown; give the "
            "list as classes"
        )
    if count is not None and len(classes) != count:
        raise InputError(
            f"model '{spec.name}' predicts {count} classes, and its class list has {len(classes)}; "
            f"give {count} names as classes"
        )
    for name in spec.label_map:
        if name not in classes:
            raise InputError(
                f"model '{spec.name}': label_map names '{name}', no class of the model; "
                f"{suggest(name, classes)}"
            )
    missing = [name for name in classes if name not in spec.label_map]
    if missing:
        raise InputError(
            f"model '{spec.name}': label_map leaves out {_listed(missing)} of the model; map each "
            "to a class of the data, or to null to drop it"
        )
    return tuple(
        tuple(i for i, name in enumerate(classes) if spec.label_map[name] == mapped)
        for mapped in _mapped(spec.label_map)
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(f"'{name}'" for name in names[:8]) + more
