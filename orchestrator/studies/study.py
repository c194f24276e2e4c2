"""A study, and the sentences on the claims that its findings support."""

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
NEGLIGIBLE = 0.5  # percentage points of mIoU; an interval within counts as no effect
EASY = 50.0  # transfer ratio in percent; the paper's "easily" has no number
COMPARED_ATTACKS = {"pgd": "PGD", "ds": "dynamic scaling"}  # by preset, as paragraphs name them
AUTHORS_EPS = 0.03  # a weak transfer at a smaller eps does not contradict the authors' claim
Standing = Literal["supports", "contradicts", "leaves open", "open at this eps", "not tested"]
IntervalByScore = dict[str, Interval]  # by score: raw, eps*sign


@dataclass(frozen=True)
class Verdict:
    """The standing of a claim after a study.

    Attributes:
        claim: A key of ``CLAIMS``.
        standing: The standing.
        reason: A clause with the numbers behind the standing.
    """

    claim: str
    standing: Standing
    reason: str


@dataclass(frozen=True)
class Facts:
    """The data of a study, which opens its paragraph.

    Attributes:
        dataset: The data set's name.
        images: The number of images.
        effort: A phrase with eps and cost of the attacks.
        eps: The largest eps of the attacks, a fraction of the pixel range [0, 1].
        notes: Sentences on variation outside the intervals; they close the paragraph.
        one_schedule: Whether all images share their draws of scales; the study has no verdict then.
    """

    dataset: str
    images: int
    effort: str
    eps: float
    notes: tuple[str, ...]
    one_schedule: bool = False


class Findings(Protocol):
    """The numbers of a study: a dataclass of intervals and names."""

    @property
    def facts(self) -> Facts:
        """Return the data behind the paragraph.

        Returns:
            Data set, images, effort, eps and notes.
        """
        ...


N = TypeVar("N", bound=Findings)


@dataclass(frozen=True)
class Study(Generic[N]):
    """A prepared experiment that answers a question.

    Attributes:
        name: The name, as on the command line.
        question: The question, with a question mark.
        experiment: Adds the study's attacks and models to a base.
        findings: Computes the numbers from resampled results and the base.
        sentences: Returns the numbers as sentences.
        verdicts: Returns the standing of each claim that the study is about.
    """

    name: str
    question: str
    experiment: Callable[[BaseExperiment], Experiment]
    findings: Callable[[Resampled, BaseExperiment], N]
    sentences: Callable[[N], list[str]]
    verdicts: Callable[[N], list[Verdict]]

    def paragraph(self, numbers: N) -> str:
        """Return the findings as a paragraph, from the numbers alone.

        Args:
            numbers: The study's findings.

        Returns:
            Data and effort, the sentences, the verdicts (none with a single schedule), and the
            notes.
        """
        facts = numbers.facts
        opening = f"On {facts.images} images of {facts.dataset}, {facts.effort}:"
        judged = f"{NO_VERDICT[0].upper()}{NO_VERDICT[1:]}."
        if not facts.one_schedule:
            judged = summary(self.verdicts(numbers))
        lines = [opening, *self.sentences(numbers), judged, *facts.notes]
        return " ".join(lines)


def facts_of(sample: Resampled, effort: str) -> Facts:
    """Return the facts about a sample.

    Args:
        sample: The resampled results.
        effort: A phrase with eps and cost of the attacks.
    """
    results = sample.results
    eps = max(attack.eps for attack in results.manifest.settings.attacks)
    dataset, images = results.manifest.dataset, len(results.image_ids)
    return Facts(dataset, images, effort, eps, sample.notes, sample.design.one_schedule)


def levels(eps: float) -> str:
    """Return an eps with its name, for example ``eps 8/255``."""
    return f"eps {strength_text(eps)}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return a sentence on the standing of each claim, with the reasons in brackets."""
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
    """Return the common side of 0 of some intervals.

    Returns:
        1 if all are above 0, -1 if all are below 0, otherwise 0, also without intervals or with
        NaN.
    """
    found = list(intervals)
    if found and all(interval.low > 0 for interval in found):
        return 1
    return -1 if found and all(interval.high < 0 for interval in found) else 0


def standing(sign: int) -> Standing:
    """Return the standing of a claim that predicts a positive sign.

    Args:
        sign: 1, -1 or 0, as from ``direction``.
    """
    return "supports" if sign > 0 else "contradicts" if sign < 0 else "leaves open"


def negligible(intervals: Iterable[Interval]) -> bool:
    """Return whether all intervals are within ``NEGLIGIBLE`` percentage points of 0.

    Returns:
        False without intervals or with NaN bounds.
    """
    found = list(intervals)
    return bool(found) and all(i.low > -NEGLIGIBLE and i.high < NEGLIGIBLE for i in found)


def matters(intervals: Iterable[Interval]) -> Standing:
    """Return the standing of a claim about a positive effect.

    Args:
        intervals: The effect in percentage points; negligible intervals contradict the claim.
    """
    found = list(intervals)
    return "contradicts" if negligible(found) else standing(direction(found))


def signed(intervals: Interval | IntervalByScore) -> str:
    """Return a difference with its interval, or a difference per score.

    Args:
        intervals: Differences in percentage points.

    Returns:
        For example ``+2.10 [+1.00, +3.20] (raw) and +1.80 [+0.90, +2.70] (eps*sign)``.
    """
    if isinstance(intervals, dict):
        return " and ".join(f"{signed(i)} ({score})" for score, i in intervals.items())
    return signed_interval(intervals.value, intervals.low, intervals.high)


def plain(interval: Interval) -> str:
    """Return a value with its interval, for example ``41.2 [39.0, 43.4]``."""
    return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def transfer_groups(results: Results) -> list[str]:
    """Return the pair groups of transfer that have pairs, other backbones first.

    Raises:
        InputError: If all pairs are white-box.
    """
    found = [g for g in ("cross_backbone", "same_backbone") if pairs_of(results, g)]
    if not found:
        raise InputError(
            "A study measures transfer, but every target shares a network with every source. Add "
            "other models to targets."
        )
    return found


def transfer_ratio(sample: Resampled, attack: str, pairs: Sequence[Pair]) -> IntervalByScore:
    """Return the mean transfer ratio per score, over pairs whose target is also a source.

    Args:
        sample: The resampled results.
        attack: The attack's name without a score.
        pairs: Pairs of source and target.

    Returns:
        Intervals in percent by score; empty if no pair has a white-box attack on its target.
    """
    rated = [pair for pair in pairs if sample.results.strongest(attack, pair[1]) is not None]
    if not rated:
        return {}
    return {score: sample.mean(attack + m, rated, "ratio") for score, m in SCORES.items()}


def over_pgd(claim: str, found: Standing, reason: str) -> Verdict:
    """Return a verdict on dynamic scaling whose reason states a comparison with PGD only."""
    return Verdict(claim, found, f"{reason}; compared with PGD only")


def ease(ratios: Sequence[IntervalByScore], eps: float = AUTHORS_EPS) -> Verdict:
    """Return the verdict on A6 from the transfer ratios of dynamic scaling, which must all agree.

    Args:
        ratios: Transfer ratios in percent, per score.
        eps: The largest eps of the ratios. Below ``AUTHORS_EPS`` no ratio contradicts A6.
    """
    found = [interval for scored in ratios for interval in scored.values()]
    if not found:
        return Verdict("A6", "not tested", "no target is a source, so there is no transfer ratio")
    shifted = [Interval(i.value - EASY, i.low - EASY, i.high - EASY) for i in found]
    low, high = (pick(found, key=lambda i: i.value) for pick in (min, max))
    shown = plain(low) if low == high else f"{plain(low)} to {plain(high)}"
    reason = (
        f"the transfer ratio of dynamic scaling is {shown} %; 'easily' is read as {EASY:g} % or "
        "more"
    )
    sign = direction(shifted)
    if sign < 0 and eps < AUTHORS_EPS:
        below = f"{reason}; {levels(eps)} is below the authors' eps of {AUTHORS_EPS:g}"
        return Verdict("A6", "open at this eps", below)
    return Verdict("A6", standing(sign), reason)


def _listed(parts: Sequence[Any]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
