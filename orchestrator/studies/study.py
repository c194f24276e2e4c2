"""A study, and the sentences on the claims that its findings support."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results
from segtransfer.results.text import number, signed_interval
from segtransfer.statistics import NO_VERDICT, Interval, Pair, Resampled, pairs_of
from segtransfer.studies.base import SCORES, BaseExperiment
from segtransfer.studies.verdicts import (
    Intervals,
    Reading,
    Scope,
    Verdict,
    judge,
    scope_of,
    untested,
)
from segtransfer.tasks.image_metrics import OF_IMAGES, OF_PIXELS, quality
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
EASY = 50.0  # transfer ratio in percent; the paper's "easily" and "limited" have no number
THRESHOLDS = (10, 20, 30, 40, 50, 60, 70, 80, 90)  # transfer ratios in percent, of the curve
COMPARED_ATTACKS = {"pgd": "PGD", "ds": "dynamic scaling"}  # by preset, as paragraphs name them
AUTHORS_EPS = 0.03  # a weak transfer at a smaller eps does not contradict the authors' claim
OVER_PGD = "compared with PGD only"
IntervalByScore = dict[str, Interval]  # by score: raw, equal-rms


@dataclass(frozen=True)
class Facts:
    """The data of a study, which opens its paragraph.

    Attributes:
        dataset: The data set's name.
        images: The number of images.
        effort: A phrase with eps and cost of the attacks.
        eps: The largest eps of the attacks, a fraction of the pixel range [0, 1].
        notes: Sentences on variation outside the intervals; they close the paragraph.
        scope: The samples for which a verdict holds.
        headline: The headline metric: ``miou``, or ``aacc`` if the models are classifiers.
    """

    dataset: str
    images: int
    effort: str
    eps: float
    notes: tuple[str, ...]
    scope: Scope
    headline: str = OF_PIXELS

    @property
    def metric(self) -> str:
        """Return the headline metric in words: "mIoU", or "accuracy" for classifiers."""
        return quality(self.headline)

    @property
    def classifiers(self) -> bool:
        """Return whether the models are classifiers."""
        return self.headline == OF_IMAGES

    @property
    def one_schedule(self) -> bool:
        """Return whether all images share their draws of scales; a study then has no verdict."""
        return self.scope.groups < 2


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
            Data and effort, the sentences, the verdicts (none with a single schedule) with the
            samples for which they hold, and the notes.
        """
        facts = numbers.facts
        opening = f"On {facts.images} images of {facts.dataset}, {facts.effort}:"
        judged = f"{NO_VERDICT[0].upper()}{NO_VERDICT[1:]}."
        if not facts.one_schedule:
            judged = f"{summary(self.verdicts(numbers))} {held_for(facts.scope)}"
        lines = [opening, *self.sentences(numbers), judged, *facts.notes]
        return " ".join(lines)


def facts_of(sample: Resampled, effort: str, trainings: int = 1) -> Facts:
    """Return the facts about a sample.

    Args:
        sample: The resampled results.
        effort: A phrase with eps and cost of the attacks.
        trainings: The number of trainings per network.
    """
    results = sample.results
    eps = max(attack.eps for attack in results.manifest.settings.attacks)
    dataset, images = results.manifest.dataset, len(results.image_ids)
    scope = scope_of(sample, trainings)
    return Facts(dataset, images, effort, eps, sample.notes, scope, results.headline)


def levels(eps: float) -> str:
    """Return an eps with its name, for example ``eps 8/255``."""
    return f"eps {strength_text(eps)}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return a sentence on the standing of each claim, with the reasons in brackets."""
    parts = {
        "supports": "supports {}",
        "contradicts": "contradicts {}",
        "open": "leaves {} open",
        "not tested": "does not test {}",
    }
    lines = [f"{parts[v.standing].format(v.title)} ({v.reason})" for v in verdicts]
    return f"This {_listed(lines)}."


def held_for(scope: Scope) -> str:
    """Return a sentence on the samples for which verdicts hold."""
    return f"Verdicts hold for {scope.words}, and claim no population."


def signed(intervals: Interval | IntervalByScore) -> str:
    """Return a difference with its interval, or a difference per score.

    Args:
        intervals: Differences in percentage points.

    Returns:
        For example ``+2.10 [+1.00, +3.20] (raw) and +1.80 [+0.90, +2.70] (equal-rms)``.
    """
    if isinstance(intervals, dict):
        return _listed([f"{signed(i)} ({score})" for score, i in intervals.items()])
    return signed_interval(intervals.value, intervals.low, intervals.high)


def plain(interval: Interval) -> str:
    """Return a value with its interval, for example ``41.2 [39.0, 43.4]``."""
    value, low, high = map(plain_value, (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def plain_value(value: float) -> str:
    """Return a value with a decimal; the minus is U+2212, as in differences."""
    return number(value).replace("-", "−")


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


def ease(ratio: IntervalByScore, facts: Facts, at: str = "") -> Verdict:
    """Return the verdict on A6 from the transfer ratio of dynamic scaling, whose scores must agree.

    Args:
        ratio: The transfer ratio in percent, per score.
        facts: The data. If the largest eps is below ``AUTHORS_EPS``, no ratio contradicts A6.
        at: The strength of the attacks, for a study with a verdict per strength.
    """
    if not ratio:
        return untested("A6", "no target is a source, so there is no transfer ratio")
    words = (
        f"the transfer ratio of dynamic scaling is {spread(ratio)} %; 'easily' is read as "
        f"{EASY:g} % or more"
    )
    spared = f"{levels(facts.eps)} is below the authors' eps of {AUTHORS_EPS:g}"
    spared = spared if facts.eps < AUTHORS_EPS else ""
    reading = Reading("A6", words, EASY, unit="%", spared=spared, at=at)
    return judge_with_curve(reading, ratio, facts.scope)


def judge_with_curve(reading: Reading, intervals: Intervals, scope: Scope) -> Verdict:
    """Return a verdict whose reason also has the standing at other thresholds, in percent."""
    curve: dict[str, list[int]] = {}
    for threshold in THRESHOLDS:
        at = judge(replace(reading, threshold=threshold, spared=""), intervals, scope)
        curve.setdefault(at.standing, []).append(threshold)
    parts = [
        f"{standing} at {at[0]}{f' to {at[-1]}' if len(at) > 1 else ''} %"
        for standing, at in curve.items()
    ]
    found = judge(reading, intervals, scope)
    return replace(found, reason=f"{found.reason}; by threshold: {', '.join(parts)}")


def spread(intervals: Intervals) -> str:
    """Return the smallest and the largest of some values with their intervals."""
    low, high = (pick(intervals.values(), key=lambda i: i.value) for pick in (min, max))
    return plain(low) if low == high else f"{plain(low)} to {plain(high)}"


def _listed(parts: Sequence[Any]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
