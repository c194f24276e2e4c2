"""CPU seconds that intervals for all of a transfer matrix take, on one core.

    OMP_NUM_THREADS=1 PYTHONPATH=. python infra/benchmarks/intervals.py

10,000 resamples of 6 x 6 cells over 233 made-up images of 11 classes: every cell, row, column and
mean, once where images lie within 10 schedule groups, and once where those cross 40 sequences.
"""

import argparse
import statistics
import time

import numpy as np

from segtransfer.results import Results
from segtransfer.statistics import Resampled
from segtransfer.store import Store

IMAGES, CLASSES, SIDE = 233, 11, 6


def made_up(sequences: int) -> Results:
    names = [f"model-{n}" for n in range(SIDE)]
    networks = {name: [[name, f"backbone-{n // 2}"]] for n, name in enumerate(names)}
    attack = {"name": "pgd", "steps": 10, "norm": "linf", "eps": 4 / 255}
    content = {
        "spec": {"name": "made-up", "attacks": [attack], "seed": 0, "schedule_groups": 10},
        "attacks": [{"name": "pgd", "attack": "pgd", "made": 0, "step": 10, "score": "raw"}],
        "models": {name: {"networks": pairs} for name, pairs in networks.items()},
        "sources": names,
        "targets": names,
        "classes": [f"class-{n}" for n in range(CLASSES)],
    }
    generator = np.random.default_rng(0)

    def confusions() -> np.ndarray:
        return generator.integers(0, 700, (IMAGES, CLASSES, CLASSES))

    cells = {("pgd", s, t): confusions() for s in names for t in names}
    return Results(
        identity="made-up",
        store=Store("made-up"),
        content=content,
        image_ids=tuple(f"image-{n}" for n in range(IMAGES)),
        sequences=tuple(f"sequence-{n % sequences}" for n in range(IMAGES)),
        confusions=cells | {("clean", None, t): confusions() for t in names},
        fooled={},
        missing=frozenset(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for what, sequences in (("nested", 1), ("crossed", 40)):
        results, seconds = made_up(sequences), []
        for _ in range(options.rounds):
            begun = time.process_time()
            frame = Resampled(results, resamples=10_000).frame("pgd")
            seconds.append(time.process_time() - begun)
        print(f"{what}: {len(frame)} intervals in {statistics.median(seconds):.2f} CPU seconds")


if __name__ == "__main__":
    main()
