"""Descriptions of models for the plan: identity, classes and a check, before a model is loaded.

Torch is imported only for models whose description needs it; shipped models need no torch.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

from segtransfer.errors import InputError
from segtransfer.tasks.models import ensemble_description, label_map, mmseg_description
from segtransfer.tasks.models.defences.base import DefenceSpec
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.inference import Inference
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.models.spec import MmsegSource, ModelSpec
from segtransfer.tasks.models.zoo import ZOO


def describe(spec: ModelSpec) -> ModelInfo:
    """Return fingerprint, backbone and classes of a model.

    Files are hashed, and URLs downloaded. A torch callable without weights and an adapter are
    built; other models are not loaded.

    Args:
        spec: The model.

    Returns:
        The description; with a label map, of the mapped classes.

    Raises:
        InputError: If files are missing, or contradict each other or the spec.
        ServerError: If the server of the weights fails or cannot be reached.
    """
    if spec.ensemble is not None:
        return ensemble_description.describe(
            spec, [describe(member) for member in spec.ensemble.members]
        )
    of_mmseg = spec.zoo is not None or (spec.mmseg is not None and not spec.mmseg.classifier)
    describer = mmseg_description if of_mmseg else adapter_of(spec)
    info: ModelInfo = describer.describe(resolve(spec))
    if info.classifier and spec.inference is not None and spec.inference.window is not None:
        raise InputError(
            f"model '{spec.name}' is a classifier, and inference.mode is slide, which gives a "
            "class per pixel; leave inference.mode, crop and stride out"
        )
    info = with_scale(info, spec.inference)
    info = info if spec.label_map is None else label_map.describe(info, spec)
    return with_defences(info, spec.defences)


def check(spec: ModelSpec) -> None:
    """Check a model before any task: build the network, and fit its weights.

    Shipped weights with the shipped sha256 are known to fit.

    Args:
        spec: The model; members of an ensemble are checked in turn.

    Raises:
        InputError: If the model cannot be built, or its weights do not fit.
    """
    if spec.ensemble is not None:
        for member in spec.ensemble.members:
            check(member)
    elif spec.zoo is None:
        adapter_of(spec).check(spec)
    elif sha256_of(ZOO[spec.zoo].weights) != ZOO[spec.zoo].sha256:
        raise InputError(
            f"the weights of zoo model '{spec.zoo}' differ from the shipped weights "
            f"({ZOO[spec.zoo].weights}); install segtransfer again"
        )


def with_scale(info: ModelInfo, inference: Inference | None) -> ModelInfo:
    """Return the description of a model with the scale of ``inference``.

    Args:
        info: The description at scale 1.
        inference: The spec of the inference; None for scale 1.

    Returns:
        The same description, with another fingerprint for a scale other than 1.
    """
    if inference is None or inference.scale == 1:
        return info
    text = json.dumps([info.fingerprint, "scale", inference.scale])
    return replace(info, fingerprint=hashlib.sha256(text.encode()).hexdigest())


def with_defences(info: ModelInfo, defences: Sequence[DefenceSpec]) -> ModelInfo:
    """Return the description of a model with defences.

    Args:
        info: The description without defences.
        defences: The defences, in the order of the spec.

    Returns:
        The same description without defences; else with a fingerprint that covers the fields and
        the version of each defence, and with the network's own fingerprint in ``undefended``.
    """
    if not defences:
        return info
    parts = [[defence.version, defence.identity_fields()] for defence in defences]
    text = json.dumps([info.fingerprint, "defences", parts], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return replace(info, fingerprint=fingerprint, undefended=(info.fingerprint,))


def adapter_of(spec: ModelSpec) -> ModuleType:
    """Import the module for loading and checks of models of the spec's library."""
    from segtransfer.tasks.models import foreign, huggingface, mmseg, mmseg_classifier, torch

    if spec.adapter is not None:
        return foreign
    if spec.torch is not None:
        return torch
    if spec.mmseg is not None and spec.mmseg.classifier:
        return mmseg_classifier
    return mmseg if spec.huggingface is None else huggingface


def resolve(spec: ModelSpec) -> ModelSpec:
    """Return a zoo model as an ordinary mmseg model with files in this package."""
    if spec.zoo is None:
        return spec
    zoo = ZOO[spec.zoo]
    return spec.model_copy(
        update={
            "zoo": None,
            "mmseg": MmsegSource(config=str(zoo.config), checkpoint=str(zoo.weights)),
            "backbone": spec.backbone or zoo.backbone,
            "classes": spec.classes or zoo.classes,
        }
    )
