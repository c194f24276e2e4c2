"""What a search found, held against baselines on images and models that it never saw."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.results import Results
from orchestrator.search.bench import Matrix
from orchestrator.search.spec import Search, trials_experiment
from orchestrator.statistics import Interval, Pair, Resampled, schedules_of
from tasks.data.base import open_dataset
from tasks.data.shards import Shard, make_shards
from tasks.errors import InputError

SEARCHED, HELD_OUT = "searched", "held-out"
ENOUGH = 10  # schedules, for a claim on attacks that draw scales


@dataclass(frozen=True)
class Comparison:
    """One of the best against one baseline: mean mIoU over pairs, less the baseline's.

    ``targets`` are those that the search used (without the source itself), or those held out;
    negative where the best fools more. The interval is corrected for the number of the best.
    """

    attack: str
    baseline: str
    score: str
    targets: str
    difference: Interval


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


def compare(search: Search, results: Results) -> list[Comparison]:
    """Every one of the best against every baseline, on searched and on held-out targets, raw and
    energy-matched."""
    best = [a for a in dict.fromkeys(_attacks(results)) if a.startswith("best-")]
    others = [a for a in dict.fromkeys(_attacks(results)) if a not in best]
    level = 1 - 0.05 / len(best)
    sample = Resampled(results)
    found = []
    for score in dict.fromkeys(made["score"] for made in results.made.values()):
        names = {m["attack"]: name for name, m in results.made.items() if m["score"] == score}
        for where, pairs in pairs_by_target(search, results).items():
            for attack in best:
                for baseline in others:
                    difference = sample.difference(
                        names[attack], names[baseline], pairs, level=level
                    )
                    found.append(Comparison(attack, baseline, score, where, difference))
    return found


def pairs_by_target(search: Search, results: Results) -> dict[str, list[Pair]]:
    """The pairs over which means are taken, without white-box ones; no group that is empty."""
    pairs = [
        (source, target)
        for source in results.sources
        for target in results.targets
        if results.group(source, target) != "diagonal"
    ]
    held_out = search.confirm.held_out
    groups = {
        SEARCHED: [pair for pair in pairs if pair[1] not in held_out],
        HELD_OUT: [pair for pair in pairs if pair[1] in held_out],
    }
    return {where: found for where, found in groups.items() if found}


def verdict(comparisons: Sequence[Comparison]) -> str:
    """One sentence: whether the best of the search beats every baseline beyond noise.

    The strictest targets count: held-out models where there are some.
    """
    where = HELD_OUT if any(c.targets == HELD_OUT for c in comparisons) else SEARCHED
    models = "models that the search never saw" if where == HELD_OUT else "the searched models"
    mine = [c for c in comparisons if c.attack == "best-1" and c.targets == where]
    scores = list(dict.fromkeys(c.score for c in mine))
    closest = {s: max((c for c in mine if c.score == s), key=_value) for s in scores}
    parts = [
        f"{score} {_signed(c.difference)} points against {c.baseline}"
        for score, c in closest.items()
    ]
    wins = [all(c.difference.high < 0 for c in mine if c.score == s) for s in scores]
    losses = [any(c.difference.low > 0 for c in mine if c.score == s) for s in scores]
    if all(wins):
        claim = "beats every baseline"
    elif any(losses):
        claim = "loses to a baseline"
    elif any(wins):
        claim = f"beats every baseline as {scores[wins.index(True)]} alone, so not beyond doubt"
    else:
        claim = "does not beat every baseline beyond noise: the gain is within it"
    return f"On new images and {models}, best-1 {claim} (mIoU: {'; '.join(parts)})."


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
        "confirm.data more images, or confirm more schedule_groups."
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
    return [made["attack"] for made in results.made.values()]


def _value(comparison: Comparison) -> float:
    return comparison.difference.value


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
