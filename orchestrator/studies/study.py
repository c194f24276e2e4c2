"""A study, and the sentences on which claims its findings support."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results
from segtransfer.results.text import signed_interval
from segtransfer.statistics import NO_VERDICT, Interval, Pair, Resampled, pairs_of
from segtransfer.studies.base import SCORES, BaseExperiment
from segtransfer.tasks.schema import strength_text

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
COMPARED_ATTACKS = {"pgd": "PGD", "ds": "dynamic scaling"}  # by preset, as paragraphs name them
AUTHORS_EPS = 0.03  # below it, a weak transfer says nothing about the authors' claim
Standing = Literal["supports", "contradicts", "leaves open", "open at this eps", "not tested"]
IntervalByScore = dict[str, Interval]  # by score: raw, eps*sign


@dataclass(frozen=True)
class Verdict:
    """Standing of a claim after a study, and a clause of numbers as its reason."""

    claim: str
    standing: Standing
    reason: str


@dataclass(frozen=True)
class Facts:
    """Data of a study: opens its paragraph; the notes close the paragraph.

    ``eps`` is the greatest of the attacks. If all images share ``one_schedule``, the study has no
    verdict.
    """

    dataset: str
    images: int
    effort: str
    eps: float
    notes: tuple[str, ...]
    one_schedule: bool = False


class Findings(Protocol):
    """Numbers of a study: plain data of intervals and names."""

    @property
    def facts(self) -> Facts: ...


N = TypeVar("N", bound=Findings)


@dataclass(frozen=True)
class Study(Generic[N]):
    """A prepared experiment that answers a question.

    ``experiment`` adds attacks and models to a base. ``findings`` computes the numbers from the
    results. ``sentences`` and ``verdicts`` put the numbers and the claims' standing into words.
    """

    name: str
    question: str
    experiment: Callable[[BaseExperiment], Experiment]
    findings: Callable[[Resampled, BaseExperiment], N]
    sentences: Callable[[N], list[str]]
    verdicts: Callable[[N], list[Verdict]]

    def paragraph(self, numbers: N) -> str:
        """Return the findings as a paragraph, from the numbers alone."""
        facts = numbers.facts
        opening = f"On {facts.images} images of {facts.dataset}, {facts.effort}:"
        judged = f"{NO_VERDICT[0].upper()}{NO_VERDICT[1:]}."
        if not facts.one_schedule:
            judged = summary(self.verdicts(numbers))
        lines = [opening, *self.sentences(numbers), judged, *facts.notes]
        return " ".join(lines)


def facts_of(sample: Resampled, effort: str) -> Facts:
    """Return the facts on a sample; ``effort`` is a phrase on eps and cost."""
    results = sample.results
    eps = max(attack.eps for attack in results.manifest.settings.attacks)
    dataset, images = results.manifest.dataset, len(results.image_ids)
    return Facts(dataset, images, effort, eps, sample.notes, sample.design.one_schedule)


def levels(eps: float) -> str:
    """Return an eps with its name, ``eps 8/255``."""
    return f"eps {strength_text(eps)}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return one sentence on the standing of each claim."""
    parts = {
        "supports": "supports {}",
        "contradicts": "contradicts {}",
        "leaves open": "leaves {} open",
        "open at this eps": "leaves {} open at this eps",
        "not tested": "does not test {}",
    }
    lines = [f"{parts[v.standing].format(v.claim)} ({v.reason})" for v in verdicts]
    return f"This {_listed(lines)}."


def direction(intervals: Iterable[Interval]) -> int:
    """Return 1 if all intervals are above 0, -1 if all are below 0, otherwise 0."""
    found = list(intervals)
    if found and all(interval.low > 0 for interval in found):
        return 1
    return -1 if found and all(interval.high < 0 for interval in found) else 0


def standing(sign: int) -> Standing:
    """Return the standing of a claim that predicts a positive sign."""
    return "supports" if sign > 0 else "contradicts" if sign < 0 else "leaves open"


def negligible(intervals: Iterable[Interval]) -> bool:
    """Return whether all intervals are within ``NEGLIGIBLE`` points of 0."""
    found = list(intervals)
    return bool(found) and all(i.low > -NEGLIGIBLE and i.high < NEGLIGIBLE for i in found)


def matters(intervals: Iterable[Interval]) -> Standing:
    """Return the standing of a claim, contradicted also if all intervals are negligible."""
    found = list(intervals)
    return "contradicts" if negligible(found) else standing(direction(found))


def signed(intervals: Interval | IntervalByScore) -> str:
    """Return a difference in points with its interval, or one per score."""
    if isinstance(intervals, dict):
        return " and ".join(f"{signed(i)} ({score})" for score, i in intervals.items())
    return signed_interval(intervals.value, intervals.low, intervals.high)


def plain(interval: Interval) -> str:
    """Return a level in percent or points with its interval."""
    return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def transfer_groups(results: Results) -> list[str]:
    """Return the groups of transfer that have pairs, other backbones first.

    Raises:
        InputError: All pairs are white-box.
    """
    found = [g for g in ("cross_backbone", "same_backbone") if pairs_of(results, g)]
    if not found:
        raise InputError(
            "every target is white-box to every source, so nothing transfers; name other models "
            "as targets"
        )
    return found


def transfer_ratio(sample: Resampled, attack: str, pairs: Sequence[Pair]) -> IntervalByScore:
    """Return the mean transfer ratio per score, over pairs whose target is a source as well.

    Empty if there is no such pair.
    """
    rated = [pair for pair in pairs if sample.results.strongest(attack, pair[1]) is not None]
    if not rated:
        return {}
    return {score: sample.mean(attack + m, rated, "ratio") for score, m in SCORES.items()}


def over_pgd(claim: str, found: Standing, reason: str) -> Verdict:
    """Return a verdict on dynamic scaling that was compared with PGD alone, and says so."""
    return Verdict(claim, found, f"{reason}; PGD is the only rival")


def ease(ratios: Sequence[IntervalByScore], eps: float = AUTHORS_EPS) -> Verdict:
    """Return the verdict on A6 from the ratios of dynamic scaling, which must all agree.

    Args:
        ratios: Transfer ratios in percent, per score.
        eps: The greatest eps of the ratios. Below the authors' eps nothing contradicts A6.
    """
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
    sign = direction(shifted)
    if sign < 0 and eps < AUTHORS_EPS:
        below = f"{reason}; {levels(eps)} is below the authors' eps of {AUTHORS_EPS:g}"
        return Verdict("A6", "open at this eps", below)
    return Verdict("A6", standing(sign), reason)


def _listed(parts: Sequence[Any]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
