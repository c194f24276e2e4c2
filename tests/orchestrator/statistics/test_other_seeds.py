"""An attack against itself under other seeds: differences are noise and have no verdict."""

from itertools import combinations
from pathlib import Path

import numpy as np

from segtransfer.statistics import Resampled, design_of, pairs_of
from tests.orchestrator.toy_experiments import run_toy, write_images

SEEDS = 12


def test_attack_against_itself_on_other_seeds_is_noise_in_95_percent(
    tmp_path: Path,
) -> None:
    write_images(tmp_path / "data", count=24, size=(16, 16))
    attacks = [{"preset": "ds", "eps": "4/255", "steps": 3, "start": "uniform"}]
    runs = [
        run_toy(tmp_path, seed=seed, attacks=attacks, schedule_groups=6, shard_size=8)
        for seed in range(SEEDS)
    ]
    design = design_of(runs[:1], resamples=500)
    samples = [Resampled(run, design=design) for run in runs]
    pairs = pairs_of(runs[0], "cross_backbone") + pairs_of(runs[0], "same_backbone")
    found = [a.difference("ds", "ds", pairs, other=b) for a, b in combinations(samples, 2)]
    assert np.mean([not difference.beyond_noise for difference in found]) >= 0.95
    # ... and not because they are all alike: the seeds do move the means.
    assert all(difference.value != 0 for difference in found)
