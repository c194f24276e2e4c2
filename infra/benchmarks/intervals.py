"""CPU seconds that intervals for all of a transfer matrix take, on one core.

    OMP_NUM_THREADS=1 PYTHONPATH=. python infra/benchmarks/intervals.py

10,000 resamples of 6 x 6 cells over 233 made-up images of 11 classes: every cell, row, column and
mean, once where images lie within 10 schedule groups, and once where those cross 40 sequences.
"""

import argparse
import hashlib
import statistics
import time
from dataclasses import asdict
from itertools import product

import numpy as np

from segtransfer.experiment.manifest import FORMAT, Manifest
from segtransfer.results import Results
from segtransfer.statistics import Resampled
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.metrics import class_counts

IMAGES, CLASSES, SIDE = 233, 11, 6
NAMES = [f"model-{n}" for n in range(SIDE)]
CELLS = [("clean", None, target) for target in NAMES] + list(product(["pgd"], NAMES, NAMES))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def manifest() -> Manifest:
    attack = AttackSpec.model_validate({"preset": "pgd", "eps": 4 / 255, "steps": 10})
    shard = digest("shard")
    backbones = {name: f"backbone-{n // 2}" for n, name in enumerate(NAMES)}
    return Manifest.model_validate(
        {
            "format": FORMAT,
            "spec": {
                "name": "made-up",
                "data": {"label_map": None},
                "attacks": [attack.model_dump(mode="json")],
                "schedule_groups": 10,
            },
            "dataset": "made-up",
            "classes": [f"class-{n}" for n in range(CLASSES)],
            "palette": [[n, n, n] for n in range(CLASSES)],
            "models": {
                name: {"fingerprint": name, "backbone": kind, "networks": [[name, kind]]}
                for name, kind in backbones.items()
            },
            "sources": NAMES,
            "targets": NAMES,
            "attacks": [{"attack": "pgd", "made": 0, **asdict(v)} for v in attack.variants],
            "shards": [shard],
            "cells": [
                [*cell, shard, digest(f"{cell}"), digest(f"AEs {cell}") if cell[1] else None]
                for cell in CELLS
            ],
        }
    )


def made_up(sequences: int) -> Results:
    generator = np.random.default_rng(0)
    confusions = (IMAGES, CLASSES, CLASSES)
    return Results(
        identity=digest("made-up"),
        store=Store("made-up"),
        manifest=manifest(),
        image_ids=tuple(f"image-{n}" for n in range(IMAGES)),
        sequences=tuple(f"sequence-{n % sequences}" for n in range(IMAGES)),
        counts={cell: class_counts(generator.integers(0, 700, confusions)) for cell in CELLS},
        fooled={},
        missing=frozenset(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for layout, sequences in (("nested", 1), ("crossed", 40)):
        results, seconds = made_up(sequences), []
        for _ in range(options.rounds):
            begun = time.process_time()
            frame = Resampled(results, resamples=10_000).frame("pgd")
            seconds.append(time.process_time() - begun)
        print(f"{layout}: {len(frame)} intervals in {statistics.median(seconds):.2f} CPU seconds")


if __name__ == "__main__":
    main()
