"""The manifest of an experiment: its stored description, which results are assembled from."""

from dataclasses import asdict
from typing import Any

from segtransfer.experiment.plan import Plan

FORMAT = 2  # of the manifest; raise when a field changes its meaning


def describe(plan: Plan) -> dict[str, Any]:
    """Return the manifest of a plan, enough to draw its results without data or models.

    Returns:
        JSON content: spec, data set, models, attacks, shards and cells. A cell holds attack,
        source, target, shard id, key of the evaluation, and key of the attack.
    """
    spec = plan.experiment.model_dump(mode="json", exclude={"runtime"})
    names = [model.name for model in plan.experiment.models]
    return {
        "format": FORMAT,
        "spec": spec,
        "dataset": plan.dataset.name,
        "classes": plan.dataset.classes,
        "palette": plan.dataset.palette,
        "models": {
            name: {
                "fingerprint": plan.infos[name].fingerprint,
                "backbone": plan.infos[name].backbone,
                "networks": plan.infos[name].networks,
            }
            for name in names
        },
        "sources": [model.name for model in plan.experiment.source_models],
        "targets": [model.name for model in plan.experiment.target_models],
        "attacks": [
            {"attack": attack.name, "made": number, **asdict(made)}
            for attack in plan.experiment.attacks
            for number, made in enumerate(attack.made)
        ],
        "shards": list(plan.shards),
        "cells": [
            [c.attack, c.source, c.target, c.shard_id, c.key, c.attack_key] for c in plan.cells
        ],
    }
