"""Comparison of the best of a search with baselines, on images and models it never saw."""

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
LEAST_SCHEDULES = 10  # for a claim on attacks that draw scales


class PairGroup(NamedTuple):
    """Group of pairs over which a mean is taken.

    ``role`` says whether the search used the targets; ``group`` whether source and target share the
    backbone.
    """

    role: str
    group: str

    def __str__(self) -> str:
        return f"{self.role}, {HEADLINES[self.group]}"


# The strictest first, as a verdict names them.
GROUP_NAMES = {
    PairGroup(HELD_OUT, OTHER): "new models of another backbone than the source's",
    PairGroup(HELD_OUT, SAME): "new models of the source's backbone",
    PairGroup(SEARCHED, OTHER): "searched models of another backbone than the source's",
    PairGroup(SEARCHED, SAME): "searched models of the source's backbone",
}


@dataclass(frozen=True)
class ConfirmedDifference:
    """Mean mIoU over pairs under one of the best attacks, minus that under a baseline.

    A negative difference means that the attack fools more. The interval is corrected for the number
    of best attacks; ``beyond_noise`` is corrected for all comparisons of the search.
    """

    attack: str
    baseline: str
    score: str
    targets: PairGroup
    difference: Interval
    beyond_noise: bool

    @property
    def wins(self) -> bool:
        return self.beyond_noise and self.difference.value < 0

    @property
    def loses(self) -> bool:
        return self.beyond_noise and self.difference.value > 0


@dataclass(frozen=True)
class CarryOver:
    """Drop, on targets left out, of the settings that are best on all other targets.

    ``left_out`` is a target or a backbone; ``chosen`` is the number of the trial that is best on
    the other targets. ``drop`` is its drop in points on those left out, ``rank`` its rank among
    ``trials`` trials, ``best`` and ``median`` the best and the median drop.
    """

    left_out: str
    chosen: int
    drop: float
    rank: int
    trials: int
    best: float
    median: float


def check_apart(search: Search) -> None:
    """Refuse a search that shares images or video sequences with its confirmation.

    Raises:
        InputError: The data overlap; the message names shared images or sequences.
    """
    trials = trials_experiment(search).data
    ours, theirs = (_identities(data, search) for data in (trials, search.confirm.data))
    for what, mine, others in zip(("images", "sequences"), ours, theirs, strict=True):
        both = sorted(mine[key] for key in mine.keys() & others.keys())
        if both:
            raise InputError(
                f"data and confirm.data share {len(both)} {what} ({', '.join(both[:3])}): what "
                "confirms a search must be new to it; give them other splits or sequences"
            )


def _identities(data: DataSpec, search: Search) -> tuple[dict[str, str], dict[str, str]]:
    """Return each image's name by the hash of its pixels, and the sequences of the images."""
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
    """Compare each of the best attacks with each baseline, per group of pairs and per score.

    Holm's correction bounds the probability of any false finding among all comparisons.
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
    """Return the pairs per group, without white-box pairs and without empty groups."""
    groups: dict[PairGroup, list[Pair]] = {}
    for role in (SEARCHED, HELD_OUT):
        for group in (SAME, OTHER):
            groups[PairGroup(role, group)] = [
                pair
                for pair in pairs_of(results, group)
                if (pair[1] in search.confirm.held_out) == (role == HELD_OUT)
            ]
    return {where: pairs for where, pairs in groups.items() if pairs}


def verdict(comparisons: Sequence[ConfirmedDifference]) -> str:
    """Return one sentence: whether best-1 beats every baseline beyond noise.

    The strictest group of pairs decides: held-out models of another backbone if there are any.
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
        claim = f"beats every baseline as {scores[wins.index(True)]} alone, so not beyond doubt"
    else:
        claim = "does not beat every baseline beyond noise: the gain is within it"
    return f"On new images and {GROUP_NAMES[where]}, best-1 {claim} (mIoU: {'; '.join(parts)})."


def schedules(results: Results) -> int:
    """Return the number of schedules of the images."""
    return len(set(schedules_of(results)))


def too_few_schedules(results: Results) -> str:
    """Return a sentence if a claim on attacks that draw scales needs more schedules, or empty."""
    count = schedules(results)
    if count >= LEAST_SCHEDULES:
        return ""
    return (
        f"The images fall into {count} schedules, and a claim needs at least {LEAST_SCHEDULES}: "
        "give confirm.data more images, or raise confirm.schedule_groups."
    )


def carry_over(
    trials: Mapping[int, PairDrops], groups: Mapping[str, Sequence[str]]
) -> list[CarryOver]:
    """Find, per group of targets, the trial that is best on all other targets.

    A group of one target gives leave-one-target-out, a group of all targets of a backbone
    leave-one-backbone-out. Groups that are empty, or hold all targets, are skipped.

    Args:
        trials: Drop per pair, by number of the trial.
        groups: Names of targets, by name of the group.
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
