"""Results that were never computed: a study's own experiment, with mIoU as a test says.

Two classes of equal size whose pixels are right by the same share p have an IoU of p / (2 - p)
each, so any mIoU can be made. For classifiers the share is the accuracy. A value may differ image
by image.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from segtransfer.experiment.manifest import FORMAT, Manifest
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.task import CLEAN
from segtransfer.results import Results
from segtransfer.statistics import Resampled
from segtransfer.store import Store
from segtransfer.studies import BaseExperiment, Study, read_base
from segtransfer.tasks import metrics
from segtransfer.tasks.image_metrics import OF_IMAGES, OF_PIXELS

IMAGES = 40
PIXELS = 10**9  # of each class and image: mIoU is then exact to eight digits
RIGHT = 80.0  # clean mIoU or accuracy of every target
Scores = Callable[[str, str, str], float | Sequence[float]]  # attack, source, target -> metric


def base_of(**changes: Any) -> BaseExperiment:
    """Two backbones x two heads, and a twin; no model is loaded."""
    return read_base(
        {
            "data": {"sample": "camvid"},
            "models": ["fcn-r18", "pspnet-r18", "pspnet-r18-noscale", "fcn-mnv2", "pspnet-mnv2"],
            "sources": ["fcn-r18", "pspnet-r18", "fcn-mnv2", "pspnet-mnv2"],
            "attacks": [{"preset": "pgd", "eps": "8/255", "steps": 100}],
            "seed": 0,
            "schedule_groups": 10,
            "study": {
                "twins": [["pspnet-r18", "pspnet-r18-noscale"]],
                "heads": {
                    "fcn-r18": "FCNHead",
                    "fcn-mnv2": "FCNHead",
                    "pspnet-r18": "PSPHead",
                    "pspnet-r18-noscale": "PSPHead",
                    "pspnet-mnv2": "PSPHead",
                },
            },
            **changes,
        }
    )


def pooled(name: str, **fields: Any) -> dict[str, Any]:
    """Return the spec of a toy classifier of the mean colour."""
    arguments = {"weights": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]}
    source = {"callable": "tests.toys:pooled", "arguments": arguments, "classifier": True}
    return {"name": name, "torch": source, **fields}


def classifiers_base(**changes: Any) -> BaseExperiment:
    """Two backbones, the first with two classifiers."""
    names = ("one-r18", "two-r18", "three-mnv2")
    fields: dict[str, Any] = {
        "data": {"sample": "camvid", "crops": {"size": [64, 64]}},
        "models": [pooled(name, backbone=name.split("-")[1]) for name in names],
        "sources": list(names),
        "study": {},
    }
    return base_of(**{**fields, **changes})


def counts_of(metric: float | Sequence[float], headline: str = OF_PIXELS) -> np.ndarray:
    """Return int64 N x 3 x 2 with the wanted mIoU or accuracy, equal or per image."""
    share = np.broadcast_to(np.asarray(metric, float), IMAGES) / 100
    share = share if headline == OF_IMAGES else 2 * share / (1 + share)
    right = np.round(PIXELS * share).astype(np.int64)
    wrong = PIXELS - right
    matrices = np.stack([np.stack([right, wrong], -1), np.stack([wrong, right], -1)], 1)
    return metrics.class_counts(matrices)


def results_of(experiment: Experiment, scores: Scores) -> Results:
    """What the experiment would leave in a store, had its cells these mIoUs or accuracies."""
    whole = any(model.torch is not None and model.torch.classifier for model in experiment.models)
    headline = OF_IMAGES if whole else OF_PIXELS
    names = {model.name: model.name.split("-at-")[0] for model in experiment.models}
    sources = [model.name for model in experiment.source_models]
    targets = [model.name for model in experiment.target_models]
    made = [
        {"attack": attack.name, "made": number, **asdict(one)}
        for attack in experiment.attacks
        for number, one in enumerate(attack.variants)
    ]
    content = {
        "format": FORMAT,
        "spec": experiment.model_dump(mode="json", exclude={"runtime"}),
        "dataset": "nothing",
        "classes": ["one", "other"],
        "palette": [[0, 0, 0], [255, 255, 255]],
        "sources": sources,
        "targets": targets,
        "attacks": made,
        "models": {
            name: {
                "fingerprint": name,
                "backbone": network.split("-")[1],
                "networks": [[name, network.split("-")[1]]],
            }
            for name, network in names.items()
        },
        "shards": [],
        "cells": [],
        "headline": headline,
    }
    steps = {attack.name: attack.steps for attack in experiment.attacks}
    cells = {(CLEAN, None, target): counts_of(RIGHT, headline) for target in targets}
    for one in made:
        for source in sources if steps[one["attack"]] else sources[:1]:
            for target in targets:
                place = source if steps[one["attack"]] else None
                value = scores(one["name"], source, target)
                cells[one["name"], place, target] = counts_of(value, headline)
    return Results(
        identity="made-up",
        store=Store("/nowhere"),
        manifest=Manifest.model_validate(content),
        image_ids=tuple(f"image-{i}" for i in range(IMAGES)),
        sequences=("one",) * IMAGES,
        counts=cells,
        fooled={},
        missing=frozenset(),
    )


def numbers_of(study: Study[Any], scores: Scores, base: BaseExperiment | None = None) -> Any:
    """Return the findings of a study whose cells have these mIoUs."""
    base = base or base_of()
    results = results_of(study.experiment(base), scores)
    return study.findings(Resampled(results, resamples=200), base)


def standings(
    study: Study[Any], scores: Scores, base: BaseExperiment | None = None
) -> dict[str, str]:
    """Where each claim stands then."""
    found = study.verdicts(numbers_of(study, scores, base))
    return {verdict.claim: verdict.standing for verdict in found}


def noisy(value: float, noise: float, seed: int = 0) -> list[float]:
    """A value an image, scattered by ``noise`` around ``value``."""
    drawn = np.random.default_rng(seed).normal(0, noise, IMAGES)
    return list(value + drawn - drawn.mean())


def gains_over_pgd(**gains: float) -> Scores:
    """PGD takes 20 points, and an attack as many more as given here by name, else 2."""

    def scores(attack: str, source: str, target: str) -> float:
        name = attack.split(":")[0].replace("-", "_")
        more = {"pgd": 0.0, **gains}.get(name, 2.0)
        return RIGHT - 20 - more - 30 * (source == target)

    return scores
