"""What a search found, held against baselines on images and models that it never saw."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from segtransfer.errors import InputError
from segtransfer.results import Results
from segtransfer.searches.context import Matrix
from segtransfer.searches.spec import Search, trials_experiment
from segtransfer.statistics import Interval, Pair, Resampled, holm, pairs_of, schedules_of
from segtransfer.tasks.data.base import open_dataset
from segtransfer.tasks.data.shards import Shard, make_shards

SEARCHED, HELD_OUT = "searched", "held-out"
SAME, OTHER = "same_backbone", "cross_backbone"
BACKBONES = {SAME: "same backbone", OTHER: "other backbone"}
ENOUGH = 10  # schedules, for a claim on attacks that draw scales


class Where(NamedTuple):
    """Pairs over which a mean is taken: ``role`` says whether the search used their targets or not,
    ``group`` whether source and target share the backbone. A mean mixes neither."""

    role: str
    group: str

    def __str__(self) -> str:
        return f"{self.role}, {BACKBONES[self.group]}"


# The strictest first, and how a verdict speaks of them.
SPOKEN = {
    Where(HELD_OUT, OTHER): "new models of another backbone than the source's",
    Where(HELD_OUT, SAME): "new models of the source's backbone",
    Where(SEARCHED, OTHER): "searched models of another backbone than the source's",
    Where(SEARCHED, SAME): "searched models of the source's backbone",
}


@dataclass(frozen=True)
class ConfirmedDifference:
    """One of the best against one baseline: mean mIoU over pairs, less the baseline's.

    Negative where the best fools more. The interval is corrected for the number of the best;
    ``beyond_noise`` says whether the difference is, all comparisons of a search taken together.
    """

    attack: str
    baseline: str
    score: str
    targets: Where
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
    """How settings chosen without some targets do on them, from the search's own trials.

    ``left_out`` is a target or a backbone; ``chosen`` the trial that is best on the others, with
    its drop there in points, its ``rank`` among ``trials``, the ``best`` drop and the median one.
    """

    left_out: str
    chosen: int
    drop: float
    rank: int
    trials: int
    best: float
    median: float


def check_apart(search: Search) -> None:
    """Refuse a search whose images, or their video sequences, confirm it too.

    Raises InputError naming what both have.
    """
    trials = trials_experiment(search).data
    shards = [
        make_shards(open_dataset(data), data, groups=1, shard_size=search.shard_size)
        for data in (trials, search.confirm.data)
    ]
    for what, names in (("images", _pixels), ("sequences", _sequences)):
        ours, theirs = (names(part) for part in shards)
        both = sorted(ours[key] for key in ours.keys() & theirs.keys())
        if both:
            raise InputError(
                f"data and confirm.data share {len(both)} {what} ({', '.join(both[:3])}): what "
                "confirms a search must be new to it; give them other splits or sequences"
            )


def _pixels(shards: Sequence[Shard]) -> dict[str, str]:
    return {
        hashlib.sha256(image.tobytes()).hexdigest(): name
        for shard in shards
        for name, image in zip(shard.image_ids, shard.images, strict=True)
    }


def _sequences(shards: Sequence[Shard]) -> dict[str, str]:
    """Those that are known: an image of none stands for itself."""
    return {
        sequence: sequence
        for shard in shards
        for sequence, image in zip(shard.sequences, shard.image_ids, strict=True)
        if sequence != image
    }


def compare(search: Search, results: Results) -> list[ConfirmedDifference]:
    """Every one of the best against every baseline, on searched and on held-out targets of the
    same and of another backbone, raw and energy-matched; by Holm, one false finding among all of
    them is as likely as in one."""
    best = [a for a in dict.fromkeys(_attacks(results)) if a.startswith("best-")]
    others = [a for a in dict.fromkeys(_attacks(results)) if a not in best]
    level = 1 - 0.05 / len(best)
    sample = Resampled(results)
    found = []
    for where, pairs in pairs_by_target(search, results).items():
        for score in dict.fromkeys(made["score"] for made in results.variants.values()):
            names = {
                m["attack"]: name for name, m in results.variants.items() if m["score"] == score
            }
            for attack in best:
                for baseline in others:
                    difference = sample.difference(
                        names[attack], names[baseline], pairs, level=level
                    )
                    found.append(
                        ConfirmedDifference(attack, baseline, score, where, difference, False)
                    )
    beyond = holm([comparison.difference.p for comparison in found])
    return [replace(c, beyond_noise=real) for c, real in zip(found, beyond, strict=True)]


def pairs_by_target(search: Search, results: Results) -> dict[Where, list[Pair]]:
    """The pairs over which means are taken, without white-box ones; no group that is empty."""
    groups: dict[Where, list[Pair]] = {}
    for role in (SEARCHED, HELD_OUT):
        for group in (SAME, OTHER):
            groups[Where(role, group)] = [
                pair
                for pair in pairs_of(results, group)
                if (pair[1] in search.confirm.held_out) == (role == HELD_OUT)
            ]
    return {where: pairs for where, pairs in groups.items() if pairs}


def verdict(comparisons: Sequence[ConfirmedDifference]) -> str:
    """One sentence: whether the best of the search beats every baseline beyond noise.

    The strictest targets count: held-out models of another backbone where there are some.
    """
    where = next(w for w in SPOKEN if any(c.targets == w for c in comparisons))
    mine = [c for c in comparisons if c.attack == "best-1" and c.targets == where]
    scores = list(dict.fromkeys(c.score for c in mine))
    closest = {s: max((c for c in mine if c.score == s), key=_value) for s in scores}
    parts = [
        f"{score} {_signed(c.difference)} points against {c.baseline}"
        for score, c in closest.items()
    ]
    wins = [all(c.wins for c in mine if c.score == s) for s in scores]
    if all(wins):
        claim = "beats every baseline"
    elif any(c.loses for c in mine):
        claim = "loses to a baseline"
    elif any(wins):
        claim = f"beats every baseline as {scores[wins.index(True)]} alone, so not beyond doubt"
    else:
        claim = "does not beat every baseline beyond noise: the gain is within it"
    return f"On new images and {SPOKEN[where]}, best-1 {claim} (mIoU: {'; '.join(parts)})."


def schedules(results: Results) -> int:
    """How many schedules the images fall into."""
    return len(set(schedules_of(results)))


def too_few_schedules(results: Results) -> str:
    """A sentence where a claim on attacks that draw scales asks for more; else empty."""
    count = schedules(results)
    if count >= ENOUGH:
        return ""
    return (
        f"The images fall into {count} schedules, and a claim needs at least {ENOUGH}: give "
        "confirm.data more images, or raise confirm.schedule_groups."
    )


def carry_over(
    trials: Mapping[int, Matrix], groups: Mapping[str, Sequence[str]]
) -> list[CarryOver]:
    """For each group of targets: the trial that is best on all others, and how it does on these.

    ``trials`` by number; a group of one target is leave-one-target-out, one of all targets of a
    backbone leave-one-backbone-out. A group that leaves no other target, or has none, is left out.
    """
    found = []
    for name, left_out in groups.items():
        mine = {n: _mean(drops, left_out, inside=True) for n, drops in trials.items()}
        others = {n: _mean(drops, left_out, inside=False) for n, drops in trials.items()}
        if not trials or any(np.isnan(v) for v in (*mine.values(), *others.values())):
            continue
        chosen = max(others, key=lambda number: others[number])
        found.append(
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
    return found


def _mean(drops: Matrix, targets: Sequence[str], *, inside: bool) -> float:
    values = [
        value
        for row in drops.values()
        for target, value in row.items()
        if (target in targets) == inside
    ]
    return float(np.mean(values)) if values else float("nan")


def _attacks(results: Results) -> list[str]:
    return [made["attack"] for made in results.variants.values()]


def _value(comparison: ConfirmedDifference) -> float:
    return comparison.difference.value


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
