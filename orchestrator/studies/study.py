"""What a study is, and how it says which claims its numbers support."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results
from segtransfer.statistics import Interval, Pair, Resampled, pairs_of
from segtransfer.studies.base import SCORES, Base

# The claims of arXiv 2111.11368, from its abstract.
CLAIMS = {
    "A1": "on classifiers, transfer is limited by overfitting to the source",
    "A2": "AEs on segmentation models do not always overfit the source",
    "A3": "even without overfitting, transfer between segmentation models is limited",
    "A4": "the cause is the architecture: things are recognised at several scales",
    "A5": "dynamic scaling overcomes the limit",
    "A6": "with dynamic scaling, AEs transfer easily",
}
NEGLIGIBLE = 0.5  # points of mIoU: what is surely smaller counts as nothing
EASY = 50.0  # percent of the strongest white-box drop: our reading of "easily"
WHERE = {
    "diagonal": "the source itself",
    "same_backbone": "models of the same backbone",
    "cross_backbone": "models of another backbone",
}
Standing = Literal["supports", "contradicts", "leaves open", "not tested"]
Scored = dict[str, Interval]  # by score: raw, eps*sign


@dataclass(frozen=True)
class Verdict:
    """Where a claim stands after a study, and the clause of numbers that says why."""

    claim: str
    standing: Standing
    reason: str


@dataclass(frozen=True)
class Facts:
    """What numbers were measured on: opens every paragraph, and its notes close it."""

    dataset: str
    images: int
    effort: str
    notes: tuple[str, ...]


class Numbers(Protocol):
    """What a study measured: plain data, all of it intervals and names."""

    @property
    def facts(self) -> Facts: ...


N = TypeVar("N", bound=Numbers)


@dataclass(frozen=True)
class Study(Generic[N]):
    """A prepared experiment that answers a question.

    ``experiment`` adds to a base what the study needs; ``findings`` takes the numbers from its
    results; ``sentences`` tell them, and ``verdicts`` where each of the claims stands.
    """

    name: str
    question: str
    experiment: Callable[[Base], Experiment]
    findings: Callable[[Resampled, Base], N]
    sentences: Callable[[N], list[str]]
    verdicts: Callable[[N], list[Verdict]]

    def paragraph(self, numbers: N) -> str:
        """What was found, from the numbers alone."""
        facts = numbers.facts
        opening = f"On {facts.images} images of {facts.dataset}, {facts.effort}:"
        told = [opening, *self.sentences(numbers), summary(self.verdicts(numbers)), *facts.notes]
        return " ".join(told)


def facts_of(sample: Resampled, effort: str) -> Facts:
    results = sample.results
    return Facts(results.content["dataset"], len(results.image_ids), effort, sample.notes)


def levels(eps: float) -> str:
    """An eps as people write it."""
    return f"eps {eps * 255:g}/255"


def summary(verdicts: Sequence[Verdict]) -> str:
    """One sentence: what the numbers say of each claim."""
    parts = {
        "supports": "supports {}",
        "contradicts": "contradicts {}",
        "leaves open": "leaves {} open",
        "not tested": "does not test {}",
    }
    told = [f"{parts[v.standing].format(v.claim)} ({v.reason})" for v in verdicts]
    return f"This {_listed(told)}."


def direction(intervals: Iterable[Interval]) -> int:
    """1 where all of them lie above 0, -1 where all lie below it, else 0."""
    found = list(intervals)
    if found and all(interval.low > 0 for interval in found):
        return 1
    return -1 if found and all(interval.high < 0 for interval in found) else 0


def standing(sign: int) -> Standing:
    """Where a claim stands that predicts a positive sign."""
    return "supports" if sign > 0 else "contradicts" if sign < 0 else "leaves open"


def negligible(intervals: Iterable[Interval]) -> bool:
    """Whether all of them surely lie around 0."""
    found = list(intervals)
    return bool(found) and all(i.low > -NEGLIGIBLE and i.high < NEGLIGIBLE for i in found)


def matters(intervals: Iterable[Interval]) -> Standing:
    """As ``standing``, and against the claim where all are surely negligible, too."""
    found = list(intervals)
    return "contradicts" if negligible(found) else standing(direction(found))


def signed(intervals: Interval | Scored) -> str:
    """A difference in points with its interval; of several scores all."""
    if isinstance(intervals, dict):
        return " and ".join(f"{signed(i)} ({score})" for score, i in intervals.items())
    return f"{intervals.value:+.2f} [{intervals.low:+.2f}, {intervals.high:+.2f}]"


def plain(interval: Interval) -> str:
    """A level in percent or points with its interval."""
    return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def transfer_groups(results: Results) -> list[str]:
    """The headline groups of transfer that have pairs, other backbones first.

    Raises InputError where there is no pair but white-box ones.
    """
    found = [g for g in ("cross_backbone", "same_backbone") if pairs_of(results, g)]
    if not found:
        raise InputError(
            "every target is white-box to every source, so nothing transfers; name other models "
            "as targets"
        )
    return found


def transfer_ratio(sample: Resampled, attack: str, pairs: Sequence[Pair]) -> Scored:
    """The mean transfer ratio by score over the pairs whose target is attacked itself, too.

    Empty where there is none.
    """
    rated = [pair for pair in pairs if sample.results.strongest(attack, pair[1]) is not None]
    if not rated:
        return {}
    return {score: sample.mean(attack + m, rated, "ratio") for score, m in SCORES.items()}


def ease(ratios: Sequence[Scored]) -> Verdict:
    """A6 from transfer ratios of dynamic scaling; all of them, raw and eps*sign, must agree."""
    found = [interval for scored in ratios for interval in scored.values()]
    if not found:
        return Verdict("A6", "not tested", "no target was attacked itself, so there is no ratio")
    shifted = [Interval(i.value - EASY, i.low - EASY, i.high - EASY) for i in found]
    low, high = (pick(found, key=lambda i: i.value) for pick in (min, max))
    shown = plain(low) if low == high else f"{plain(low)} to {plain(high)}"
    reason = (
        f"dynamic scaling takes {shown} % of what the strongest white-box attack takes; we read "
        f"'easily' as {EASY:g} % or more"
    )
    return Verdict("A6", standing(direction(shifted)), reason)


def _listed(parts: Sequence[Any]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
