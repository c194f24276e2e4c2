"""Measure how often 95 % intervals contain the truth, at few images and uneven schedule groups.

    python infra/studies/coverage.py         # minutes: the table of intervals.md

Two attacks of equal strength are scored on the same made-up images; the true difference of their
mIoU is 0. Images differ by themselves and by their schedule group. A rare class, one of eleven, is
labelled in 10 % of the images.
"""

import argparse

import numpy as np

from segtransfer.statistics import Design, Interval
from segtransfer.statistics.design import factor_of
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.tallies import score

CLASSES = 11
GROUPS = {  # the images of each schedule group
    "12, even": [2] * 6,
    "12, uneven": [1, 3, 2, 1, 1, 4],
    "16, even": [2] * 8,
    "16, uneven": [1, 4, 4, 2, 1, 1, 1, 2],
    "48, even": [6] * 8,
    "48, uneven": [1, 8, 3, 6, 5, 7, 2, 8, 4, 4],
    "100, even": [10] * 10,
    "100, uneven": [4, 17, 8, 13, 9, 5, 14, 11, 7, 12],
}
SPREADS = {  # standard deviations of the share of right pixels, by group and by image and class
    "images vary": (0.0, 0.1),
    "both vary": (0.05, 0.1),
    "groups vary": (0.1, 0.03),
}
AT_ONCE = 50  # simulated experiments in memory


def tallies(
    generator: np.random.Generator, groups: np.ndarray, spread: tuple[float, float], rare: bool
) -> list[np.ndarray]:
    """Return the counts of two equal attacks, each N x AT_ONCE x (3K + 2), as ``tallies`` does."""
    shape = (len(groups), AT_ONCE, CLASSES)
    labelled = np.maximum(1, 1000 * generator.gamma(4, 1, shape)).astype(int)
    if rare:
        labelled[..., 0] = np.where(generator.random(shape[:2]) < 0.1, labelled[..., 0] // 4, 0)
    common = 0.6 + generator.normal(0, 0.05, (*shape[:2], 1))
    made = []
    for _ in range(2):
        shares = common + generator.normal(0, spread[0], (groups.max() + 1, AT_ONCE, 1))[groups]
        shares = np.clip(shares + generator.normal(0, spread[1], shape), 0, 1)
        right = generator.binomial(labelled, shares)
        wrong = labelled - right
        predicted = right.copy()  # wrong pixels are taken for another frequent class
        predicted[..., 1:] += np.roll(wrong[..., 1:], 1, axis=-1)
        predicted[..., 1] += wrong[..., 0]
        parts = [right, labelled, predicted, 0 * right[..., :2]]
        made.append(np.concatenate(parts, axis=-1).astype(float))
    return made


def intervals(
    sizes: list[int], spread: tuple[float, float], rare: bool, *, trials: int, resamples: int
) -> list[Interval]:
    """Return the interval of the difference in mIoU in each simulated experiment."""
    generator, groups = np.random.default_rng(7), np.repeat(np.arange(len(sizes)), sizes)
    factor = factor_of(groups.tolist(), resamples)
    design, found = Design((factor,)), []
    for _ in range(trials // AT_ONCE):
        one, other = (
            score(factor.sums(c.reshape(len(c), -1)).reshape(-1, *c.shape[1:]), "miou")
            for c in tallies(generator, groups, spread, rare)
        )
        found += [interval_of(design, [values]) for values in (one - other).T]
    return found


def coverage(
    sizes: list[int], spread: tuple[float, float], rare: bool, *, trials: int, resamples: int = 300
) -> float:
    """Return the share of intervals with the truth."""
    found = intervals(sizes, spread, rare, trials=trials, resamples=resamples)
    return float(np.mean([interval.low <= 0 <= interval.high for interval in found]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000, help="experiments per cell")
    options = parser.parse_args()
    columns = [(name, rare) for rare in (False, True) for name in SPREADS]
    heads = [f"{name}{', a rare class' if rare else ''}" for name, rare in columns]
    print(f"| images, groups | freedom | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 2) + "|")
    for layout, sizes in GROUPS.items():
        freedom = factor_of(np.repeat(np.arange(len(sizes)), sizes).tolist(), 1).freedom
        shares = [
            coverage(sizes, SPREADS[name], rare, trials=options.trials) for name, rare in columns
        ]
        cells = " | ".join(f"{100 * share:.1f}" for share in shares)
        print(f"| {layout} | {freedom:.1f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
