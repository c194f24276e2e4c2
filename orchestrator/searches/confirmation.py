"""Confirmation of a search: its best attacks against baselines, on images and models new to it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from segtransfer.errors import InputError
from segtransfer.results import Results
from segtransfer.results.text import HEADLINES, signed_interval
from segtransfer.searches.context import PairDrops
from segtransfer.searches.spec import Search, trials_experiment
from segtransfer.statistics import (
    NO_VERDICT,
    Interval,
    Pair,
    Resampled,
    holm,
    pairs_of,
    schedules_of,
)
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec

SEARCHED, HELD_OUT = "searched", "held-out"
SAME, OTHER = "same_backbone", "cross_backbone"
LEAST_SCHEDULES = 10  # for a claim about attacks that draw scales


class PairGroup(NamedTuple):
    """The pairs of source and target of a mean.

    Attributes:
        role: ``searched`` if the search used the targets, else ``held-out``.
        group: ``same_backbone`` or ``cross_backbone``.
    """

    role: str
    group: str

    def __str__(self) -> str:
        return f"{self.role}, {HEADLINES[self.group]}"


# In words of a verdict, the strictest group first.
GROUP_NAMES = {
    PairGroup(HELD_OUT, OTHER): "new models of another backbone than the source's",
    PairGroup(HELD_OUT, SAME): "new models of the source's backbone",
    PairGroup(SEARCHED, OTHER): "searched models of another backbone than the source's",
    PairGroup(SEARCHED, SAME): "searched models of the source's backbone",
}


@dataclass(frozen=True)
class ConfirmedDifference:
    """The mean headline metric over pairs under a best attack, minus the mean under a baseline.

    Attributes:
        attack: The best attack, ``best-1``, ``best-2``, ...
        baseline: The baseline's name.
        score: ``raw``, ``eps*sign`` or ``equal-rms``.
        targets: The pairs of the mean.
        difference: The difference in percentage points; below 0 the attack fools more. Its interval
            has level 1 - 0.05 / number of best attacks.
        beyond_noise: Whether the difference is significant at 5 %, with Holm's correction for all
            differences of the search.
    """

    attack: str
    baseline: str
    score: str
    targets: PairGroup
    difference: Interval
    beyond_noise: bool

    @property
    def wins(self) -> bool:
        """Return whether the attack fools more than the baseline, beyond noise."""
        return self.beyond_noise and self.difference.value < 0

    @property
    def loses(self) -> bool:
        """Return whether the attack fools less than the baseline, beyond noise."""
        return self.beyond_noise and self.difference.value > 0


@dataclass(frozen=True)
class CarryOver:
    """The drop on left-out targets under the trial that is best on all other targets.

    Attributes:
        left_out: The left-out target or backbone.
        chosen: The number of the trial that is best on the other targets.
        drop: The trial's mean drop on the left-out targets, in percentage points.
        rank: The trial's rank by this drop among all trials; 1 is the best.
        trials: The number of complete trials.
        best: The best drop of all trials on the left-out targets, in percentage points.
        median: The median drop of all trials, in percentage points.
    """

    left_out: str
    chosen: int
    drop: float
    rank: int
    trials: int
    best: float
    median: float


def check_apart(search: Search) -> None:
    """Refuse a search whose confirmation has images or videos of its trials.

    Images are compared by their pixels, videos by their names.

    Args:
        search: The search; both data sets are read.

    Raises:
        InputError: If the data overlap; the message names shared images or videos.
    """
    trials = trials_experiment(search).data
    ours, theirs = (_identities(data, search) for data in (trials, search.confirm.data))
    for noun, mine, others in zip(("images", "videos"), ours, theirs, strict=True):
        both = sorted(mine[key] for key in mine.keys() & others.keys())
        if both:
            shared = f"{len(both)} {noun if len(both) > 1 else noun[:-1]}"
            raise InputError(
                f"data and confirm.data share {shared} ({', '.join(both[:3])}), but a "
                "confirmation needs images and videos that the search does not use. Give "
                "confirm.data another split."
            )


def _identities(data: DataSpec, search: Search) -> tuple[dict[str, str], dict[str, str]]:
    """Return the name of each image by the hash of its pixels, and the videos of the images."""
    pixels, sequences = dict[str, str](), dict[str, str]()
    for shard in make_shards(open_dataset(data), data, groups=1, shard_size=search.shard_size):
        for name, sequence, image in zip(
            shard.image_ids, shard.sequences, shard.images, strict=True
        ):
            pixels[hashlib.sha256(image.tobytes()).hexdigest()] = name
            if sequence != name:
                sequences[sequence] = sequence
    return pixels, sequences


def compare(search: Search, results: Results) -> list[ConfirmedDifference]:
    """Compare each best attack with each baseline, per group of pairs and per score.

    Intervals have level 1 - 0.05 / number of best attacks. Holm's correction covers all
    comparisons.

    Args:
        search: The search.
        results: The complete results of the confirming experiment.

    Returns:
        A difference per group of pairs, score, best attack and baseline, in this order.
    """
    best = [a for a in dict.fromkeys(_attacks(results)) if a.startswith("best-")]
    others = [a for a in dict.fromkeys(_attacks(results)) if a not in best]
    level = 1 - 0.05 / len(best)
    sample = Resampled(results)
    comparisons = []
    for where, pairs in pairs_by_target(search, results).items():
        for score in dict.fromkeys(made.score for made in results.variants.values()):
            names = {m.attack: name for name, m in results.variants.items() if m.score == score}
            for attack in best:
                for baseline in others:
                    difference = sample.difference(
                        names[attack], names[baseline], pairs, level=level
                    )
                    comparisons.append(
                        ConfirmedDifference(attack, baseline, score, where, difference, False)
                    )
    beyond = holm([comparison.difference.p for comparison in comparisons])
    return [replace(c, beyond_noise=real) for c, real in zip(comparisons, beyond, strict=True)]


def pairs_by_target(search: Search, results: Results) -> dict[PairGroup, list[Pair]]:
    """Return the pairs of source and target per group, without white-box pairs and empty groups.

    Args:
        search: The search, which names the held-out models.
        results: The results of the confirming experiment.
    """
    groups: dict[PairGroup, list[Pair]] = {}
    for role in (SEARCHED, HELD_OUT):
        for group in (SAME, OTHER):
            groups[PairGroup(role, group)] = [
                pair
                for pair in pairs_of(results, group)
                if (pair[1] in search.confirm.held_out) == (role == HELD_OUT)
            ]
    return {where: pairs for where, pairs in groups.items() if pairs}


def verdict(comparisons: Sequence[ConfirmedDifference], quality: str) -> str:
    """Return a sentence: whether best-1 beats every baseline beyond noise.

    The strictest group of pairs decides: held-out models of another backbone if there are any.
    best-1 beats the baselines if every difference in every score is below 0 beyond noise, and loses
    if any is above 0 beyond noise. Wins in a single score are called inconclusive.

    Args:
        comparisons: All differences of the search, at least one with best-1.
        quality: The headline metric in text.

    Returns:
        The verdict, and per score the difference to the closest baseline with its interval, in
        percentage points. No verdict if all images share a schedule.
    """
    where = next(w for w in GROUP_NAMES if any(c.targets == w for c in comparisons))
    mine = [c for c in comparisons if c.attack == "best-1" and c.targets == where]
    scores = list(dict.fromkeys(c.score for c in mine))
    closest = {s: max((c for c in mine if c.score == s), key=_value) for s in scores}
    parts = [
        f"{score} {_signed(c.difference)} points against {c.baseline}"
        for score, c in closest.items()
    ]
    wins = [all(c.wins for c in mine if c.score == s) for s in scores]
    if all(np.isnan(c.difference.p) for c in mine):
        claim = f"is not judged ({NO_VERDICT})"
    elif all(wins):
        claim = "beats every baseline"
    elif any(c.loses for c in mine):
        claim = "loses to a baseline"
    elif any(wins):
        claim = f"beats every baseline only as {scores[wins.index(True)]}, which is inconclusive"
    else:
        claim = "does not beat every baseline beyond noise"
    return (
        f"On new images and {GROUP_NAMES[where]}, best-1 {claim} ({quality}: {'; '.join(parts)})."
    )


def schedules(results: Results) -> int:
    """Return the number of distinct schedules of the images: pairs of seed and schedule group."""
    return len(set(schedules_of(results)))


def too_few_schedules(results: Results) -> str:
    """Return a warning if the images have too few schedules for claims on attacks that draw scales.

    Returns:
        Two sentences, or an empty string with at least ``LEAST_SCHEDULES`` schedules.
    """
    count = schedules(results)
    if count >= LEAST_SCHEDULES:
        return ""
    return (
        f"The images have {count} schedules, but a claim needs at least {LEAST_SCHEDULES}. Add "
        "images to confirm.data, or raise confirm.schedule_groups."
    )


def carry_over(
    trials: Mapping[int, PairDrops], groups: Mapping[str, Sequence[str]]
) -> list[CarryOver]:
    """Find, per group of targets, the trial that is best on all other targets.

    A group of a single target gives leave-one-target-out; a group of all targets of a backbone
    gives leave-one-backbone-out.

    Args:
        trials: The drop per source and target in percentage points, by number of the trial.
        groups: Names of targets, by name of the group.

    Returns:
        An entry per group. Groups are skipped if they are empty or hold all targets.
    """
    carried = []
    for name, left_out in groups.items():
        mine = {n: _mean(drops, left_out, inside=True) for n, drops in trials.items()}
        others = {n: _mean(drops, left_out, inside=False) for n, drops in trials.items()}
        if not trials or any(np.isnan(v) for v in (*mine.values(), *others.values())):
            continue
        chosen = max(others, key=lambda number: others[number])
        carried.append(
            CarryOver(
                left_out=name,
                chosen=chosen,
                drop=mine[chosen],
                rank=1 + sum(value > mine[chosen] for value in mine.values()),
                trials=len(mine),
                best=max(mine.values()),
                median=float(np.median(list(mine.values()))),
            )
        )
    return carried


def _mean(drops: PairDrops, targets: Sequence[str], *, inside: bool) -> float:
    values = [
        value
        for row in drops.values()
        for target, value in row.items()
        if (target in targets) == inside
    ]
    return float(np.mean(values)) if values else float("nan")


def _attacks(results: Results) -> list[str]:
    return [made.attack for made in results.variants.values()]


def _value(comparison: ConfirmedDifference) -> float:
    return comparison.difference.value


def _signed(interval: Interval) -> str:
    return signed_interval(interval.value, interval.low, interval.high)
