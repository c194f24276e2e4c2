"""Manifests of experiments that were never planned."""

import hashlib
from typing import Any

from segtransfer.experiment.manifest import Manifest
from segtransfer.experiment.task import CLEAN


def digest(text: str) -> str:
    """A sha256 in place of a key, a fingerprint or a shard's id."""
    return hashlib.sha256(text.encode()).hexdigest()


def made_up_manifest(content: dict[str, Any]) -> Manifest:
    """The manifest with a cell at every place of the matrices."""
    steps = {attack["name"]: attack["steps"] for attack in content["spec"]["attacks"]}
    taken = {made["name"]: steps[made["attack"]] for made in content["attacks"]}
    places = [
        (attack, source, target, shard)
        for attack, count in {CLEAN: 0, **taken}.items()
        for source in (content["sources"] if count else [None])
        for target in content["targets"]
        for shard in content["shards"]
    ]
    cells = [
        [*place, digest(f"scores {place}"), None if place[0] == CLEAN else digest(f"AEs {place}")]
        for place in places
    ]
    return Manifest.model_validate({**content, "cells": cells})
