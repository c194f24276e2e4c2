"""Descriptions of ensembles, from those of their members."""

import hashlib
import json
from collections.abc import Sequence

from segtransfer.errors import InputError
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.models.spec import EnsembleSpec, ModelSpec

ADAPTER_VERSION = 1


def describe(spec: ModelSpec, infos: Sequence[ModelInfo]) -> ModelInfo:
    """Describe an ensemble from the descriptions of its members.

    Args:
        spec: The ensemble.
        infos: A description per member, in the order of the spec.

    Returns:
        The description; the fingerprint covers the members' fingerprints and weights, ``average``
        and ``own_scales``.

    Raises:
        InputError: If the members' known class lists differ, or only some are classifiers.
    """
    ensemble = ensemble_of(spec)
    kinds = {info.classifier: info.name for info in infos}
    if len(kinds) > 1:
        raise InputError(
            f"ensemble '{spec.name}': member '{kinds[True]}' is a classifier and '{kinds[False]}' "
            "predicts a class per pixel, and their logits have no mean; give members of one kind"
        )
    check_agree(spec, "classes", [info.classes for info in infos])
    check_agree(spec, "num_classes", [info.num_classes for info in infos])
    identity = [
        ADAPTER_VERSION,
        "ensemble",
        [info.fingerprint for info in infos],
        ensemble.normalised_weights,
        ensemble.average,
        ensemble.own_scales,
    ]
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
        backbone=spec.backbone or "+".join(sorted({info.backbone for info in infos})),
        num_classes=next((i.num_classes for i in infos if i.num_classes is not None), None),
        classes=next((info.classes for info in infos if info.classes is not None), None),
        members=tuple((info.fingerprint, info.backbone) for info in infos),
        undefended=tuple((info.undefended or (info.fingerprint,))[0] for info in infos)
        if any(info.undefended for info in infos)
        else (),
        classifier=infos[0].classifier,
    )


def ensemble_of(spec: ModelSpec) -> EnsembleSpec:
    """Return the field ``ensemble`` of a model that has it."""
    assert spec.ensemble is not None
    return spec.ensemble


def check_agree(spec: ModelSpec, quantity: str, values: Sequence[object]) -> None:
    """Check that the known values of members are equal.

    Args:
        spec: The ensemble.
        quantity: The name of the values, for messages.
        values: A value per member, in the order of the spec; None if unknown.

    Raises:
        InputError: If two known values differ.
    """
    known = [
        (member.name, value)
        for member, value in zip(ensemble_of(spec).members, values, strict=True)
        if value is not None
    ]
    for name, value in known[1:]:
        if value != known[0][1]:
            raise InputError(
                f"ensemble '{spec.name}': {quantity} of '{known[0][0]}' is {_shown(known[0][1])}, "
                f"of '{name}' {_shown(value)}; give members of the same class list, or map a "
                "member's classes with its label_map"
            )


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
