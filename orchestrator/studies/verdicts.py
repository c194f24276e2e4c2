"""The verdict on a claim, from the intervals of a reading of the claim.

Every study judges through ``judge``. A claim is supported or contradicted only if all intervals of
its reading agree, raw and at equal energy, after Holm's correction for their number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from scipy import stats

from segtransfer.results import Results
from segtransfer.statistics import NO_VERDICT, Interval, Resampled, holm, schedules_of
from segtransfer.statistics.trainings import Permutation

NEGLIGIBLE = 0.5  # percentage points of the metric; an interval within counts as equality
LEVEL, POWER = 0.05, 0.8  # of the family of a verdict's intervals; of the detectable difference
NO_CAUSE = "no verdict of cause"
FEWEST_JUDGED = 16  # intervals of fewer contain the truth in less than 93 % of experiments

Standing = Literal["supports", "contradicts", "open", "not tested"]
Intervals = Mapping[str, Interval]


@dataclass(frozen=True)
class Scope:
    """The samples for which a verdict holds.

    Attributes:
        models: The number of networks.
        trainings: The number of trainings per network, the smallest of all.
        videos: The number of videos; None if videos are unknown.
        groups: The number of schedule groups.
        images: The number of images.
        freedom: The degrees of freedom of the intervals.
    """

    models: int
    trainings: int
    videos: int | None
    groups: int
    images: int
    freedom: float

    @property
    def words(self) -> str:
        """Return the samples in words."""
        parts = [
            "this model" if self.models == 1 else f"these {self.models} models",
            f"{'one' if self.trainings == 1 else self.trainings} training"
            f"{'' if self.trainings == 1 else 's'} each",
            "videos unknown" if self.videos is None else _counted(self.videos, "video"),
            _counted(self.groups, "schedule group"),
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class Reading:
    """Our reading of a claim: all values are above a threshold.

    Attributes:
        claim: A key of ``CLAIMS``.
        words: A clause that names the values.
        threshold: The threshold, of ours, in the unit of the values.
        unit: The unit of the values.
        below: Whether the claim has values below the threshold instead.
        either: Whether values on either side of the threshold support the claim.
        equality: The bound within which values equal the threshold. None if equality has no
            meaning for the claim.
        effect: Whether shown equality contradicts the claim, which is about an effect.
        cause: Whether the reading compares networks to find a cause.
        spared: A clause that forbids to contradict the claim, or empty.
        at: The strength of the attacks, for a study with a verdict per strength, or empty.
    """

    claim: str
    words: str
    threshold: float = 0.0
    unit: str = "points"
    below: bool = False
    either: bool = False
    equality: float | None = None
    effect: bool = False
    cause: bool = False
    spared: str = ""
    at: str = ""


@dataclass(frozen=True)
class Verdict:
    """The standing of a claim after a study.

    Attributes:
        claim: A key of ``CLAIMS``.
        standing: The standing.
        reason: Clauses with the numbers behind the standing.
        equal: Whether all values are shown to equal the threshold, within the reading's bound.
        detectable: The smallest detectable distance to the threshold of each interval, at a power
            of 80 %, in the unit of the values.
        at: The strength of the attacks, for a study with a verdict per strength, or empty.
    """

    claim: str
    standing: Standing
    reason: str
    equal: bool = False
    detectable: Mapping[str, float] = field(default_factory=dict)
    at: str = ""

    @property
    def title(self) -> str:
        """Return the claim's key, with the strength of the attacks if the study has several."""
        return f"{self.claim} at {self.at}" if self.at else self.claim


def scope_of(sample: Resampled, trainings: int = 1) -> Scope:
    """Return the scope of a sample.

    Args:
        sample: The resampled results.
        trainings: The number of trainings per network.
    """
    results = sample.results
    videos, images = len(set(results.sequences)), len(set(results.image_ids))
    return Scope(
        models=len({*results.sources, *results.targets}),
        trainings=trainings,
        videos=None if videos == images else videos,
        groups=len(set(schedules_of(results))),
        images=images,
        freedom=min(factor.freedom for factor in sample.design.factors),
    )


def trainings_of(results: Results, kinds: Mapping[str, str]) -> int:
    """Return the number of trainings of the network with the fewest.

    Args:
        results: The results.
        kinds: The kind of head by model name; networks of equal head and backbone are trainings.
    """
    models = results.manifest.models
    networks = [(models[name].backbone, kind) for name, kind in kinds.items()]
    return min(networks.count(network) for network in networks)


def judge(
    reading: Reading,
    intervals: Intervals,
    scope: Scope,
    permutations: Sequence[Permutation] | None = None,
    looks: int = 1,
) -> Verdict:
    """Return the verdict on a claim.

    Args:
        reading: The reading of the claim.
        intervals: The 95 % intervals of the reading by name, for example per score.
        scope: The samples behind the intervals.
        permutations: The tests over trainings for a claim of cause, which must agree with the
            intervals. None if the trainings of each arm are too few for a test.
        looks: The number of verdicts from which the strongest is taken, for the correction.

    Returns:
        ``supports`` or ``contradicts`` if all intervals are on a side of the threshold beyond
        noise, with a family-wise error of 5 %; ``contradicts`` also if the absence of an effect is
        shown; else ``open``. Every claim is open with a single schedule group or fewer than
        ``FEWEST_JUDGED`` images, and a claim of cause also with a single training per arm.
    """
    detectable = {name: _detectable(i, scope.freedom) for name, i in intervals.items()}
    equal = _is_equal(reading, intervals)
    hindrance = _hindrance(reading, intervals, scope, permutations)
    if hindrance:
        standing: Standing = "open"
    else:
        side = _side(reading, intervals, scope, permutations or (), LEVEL / looks)
        standing = _standing(reading, side, equal)
        if standing == "contradicts" and reading.spared:
            standing, hindrance = "open", reading.spared
    reason = _reason(reading, detectable, equal, hindrance, permutations or ())
    return Verdict(reading.claim, standing, reason, equal, detectable, reading.at)


def untested(claim: str, reason: str) -> Verdict:
    """Return the verdict on a claim that the models or attacks of a study do not test."""
    return Verdict(claim, "not tested", reason)


def _hindrance(
    reading: Reading,
    intervals: Intervals,
    scope: Scope,
    permutations: Sequence[Permutation] | None,
) -> str:
    """Return the reason that forbids any verdict, or an empty string."""
    if scope.groups < 2:
        return f"{NO_CAUSE}: one schedule group" if reading.cause else NO_VERDICT
    if scope.freedom < 1 or not intervals or any(i.low != i.low for i in intervals.values()):
        return "an interval is missing"
    if reading.cause and scope.trainings < 2:
        return f"{NO_CAUSE}: one training per arm"
    if reading.cause and not permutations:
        return f"{NO_CAUSE}: no test over trainings"
    if scope.images < FEWEST_JUDGED:
        return f"no verdict below {FEWEST_JUDGED} images, whose intervals are too narrow"
    return ""


def _side(
    reading: Reading,
    intervals: Intervals,
    scope: Scope,
    permutations: Sequence[Permutation],
    level: float,
) -> int:
    """Return 1 or -1 if all values are above or below the threshold beyond noise, else 0."""
    shifts = [i.value - reading.threshold for i in intervals.values()]
    errors = [_error(i, scope.freedom) for i in intervals.values()]
    p_values = [_p(s, e, scope.freedom) for s, e in zip(shifts, errors, strict=True)]
    shifts += [test.difference for test in permutations]
    sides = {1 if shift > 0 else -1 for shift in shifts}
    beyond = all(holm(p_values, level)) and all(holm([t.p for t in permutations], level))
    return sides.pop() if beyond and len(sides) == 1 else 0


def _standing(reading: Reading, side: int, equal: bool) -> Standing:
    if equal and reading.effect:
        return "contradicts"
    if side and (reading.either or (side < 0) == reading.below):
        return "supports"
    return "contradicts" if side else "open"


def _is_equal(reading: Reading, intervals: Intervals) -> bool:
    """Return whether all intervals are within the bound of equality."""
    if reading.equality is None or not intervals:
        return False
    low, high = reading.threshold - reading.equality, reading.threshold + reading.equality
    return all(low < i.low and i.high < high for i in intervals.values())


def _reason(
    reading: Reading,
    detectable: Mapping[str, float],
    equal: bool,
    hindrance: str,
    permutations: Sequence[Permutation],
) -> str:
    parts = [reading.words, f"our threshold is {reading.threshold:g} {reading.unit}"]
    if known := sorted({f"{size:.2f}" for size in detectable.values() if size == size}, key=float):
        span = known[0] if len(known) == 1 else f"{known[0]} to {known[-1]}"
        parts.append(f"smallest detectable distance {span}")
    if reading.equality is not None:
        shown = "shown" if equal else "not shown"
        parts.append(f"equality within {reading.equality:g} {reading.unit} is {shown}")
    if permutations:
        shares = " and ".join(f"{test.p:.3g}" for test in permutations)
        parts.append(
            f"p = {shares} over {permutations[0].arrangements} arrangements of the trainings"
        )
    return "; ".join([*parts, hindrance] if hindrance else parts)


def _error(interval: Interval, freedom: float) -> float:
    """Return the standard error behind a 95 % interval."""
    return (interval.high - interval.low) / 2 / float(stats.t.ppf(1 - 0.05 / 2, freedom))


def _p(shift: float, error: float, freedom: float) -> float:
    if error == 0:
        return 0.0 if shift else 1.0
    return 2 * float(stats.t.sf(abs(shift) / error, freedom))


def _detectable(interval: Interval, freedom: float) -> float:
    """Return the smallest detectable difference of an interval alone; NaN without an interval."""
    if freedom < 1:
        return float("nan")
    both = float(stats.t.ppf(1 - LEVEL / 2, freedom) + stats.t.ppf(POWER, freedom))
    return _error(interval, freedom) * both


def _counted(count: int, noun: str) -> str:
    return f"{'one' if count == 1 else count} {noun}{'' if count == 1 else 's'}"
