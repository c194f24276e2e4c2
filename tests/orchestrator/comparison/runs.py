"""Runs whose scores are known by hand: 100 pixels an image, half of each class, of which so many
are wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from segtransfer.experiment.keys import key_of
from segtransfer.experiment.manifest import FORMAT
from segtransfer.results import Results
from segtransfer.store import Store
from segtransfer.tasks import metrics
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.orchestrator.manifests import digest, made_up_manifest

Wrong = Sequence[int]  # pixels of class 0 taken for class 1, an image each; at most 50
BACKBONES = {"a": "r18", "b": "r18", "c": "mit"}


def content_of(
    attacks: Sequence[Any] = ("pgd",),
    *,
    name: str = "toys",
    models: Sequence[str] = ("a", "b", "c"),
    images: int = 4,
    **spec: Any,
) -> dict[str, Any]:
    """What a store keeps of an experiment with these attacks."""
    read = [AttackSpec.model_validate(attack) for attack in attacks]
    return {
        "format": FORMAT,
        "spec": {
            "name": name,
            "seed": 0,
            "schedule_groups": 64,
            "numerics": {"fold": False, "channels_last": False, "bf16": False},
            "data": {"label_map": None},
            "attacks": [attack.model_dump(mode="json") for attack in read],
            **spec,
        },
        "dataset": "plain",
        "classes": ["road", "sky"],
        "palette": [[0, 0, 0], [255, 255, 255]],
        "models": {
            model: {
                "fingerprint": f"weights of {model}",
                "backbone": BACKBONES[model],
                "networks": [[f"weights of {model}", BACKBONES[model]]],
            }
            for model in models
        },
        "sources": [*models],
        "targets": [*models],
        "attacks": [
            {"attack": attack.name, "made": number, **asdict(made)}
            for attack in read
            for number, made in enumerate(attack.variants)
        ],
        "shards": [digest(f"shard of {images}")],
        "cells": [],
    }


def run_of(
    folder: Path, wrong: Mapping[str, Mapping[tuple[str, str], Wrong] | Wrong], **content: Any
) -> Results:
    """A run by attack: the wrong pixels of every pair of source and target, or of all pairs.

    An attack is a preset, by its name. A pair that is not given has no result.
    """
    described = content_of(tuple(wrong), **content)
    models, matrices = described["sources"], {}
    for attack, given in wrong.items():
        sourced = AttackSpec.model_validate(attack).steps > 0
        pairs = (
            given
            if isinstance(given, Mapping)
            else {(source, target): given for source in models for target in models}
        )
        for (source, target), counts in pairs.items():
            matrices[attack, source if sourced else None, target] = counts_of(counts)
    count = len(next(iter(matrices.values())))
    described["shards"] = [digest(f"shard of {count}")]
    return Results(
        identity=key_of({"wrong": repr(wrong), "content": repr(described)}),
        store=Store(str(folder)),
        manifest=made_up_manifest(described),
        image_ids=tuple(f"image-{i}" for i in range(count)),
        sequences=tuple(f"sequence-{i}" for i in range(count)),
        counts=matrices,
        fooled={},
        missing=frozenset(),
    )


def counts_of(wrong: Wrong) -> np.ndarray:
    """N x 3 x 2: aAcc is 100 less the mean of ``wrong``."""
    return metrics.class_counts(np.array([[[50 - k, k], [0, 50]] for k in wrong], np.int64))
