"""Heads (A3, A4, A6): transfer between models with a shared backbone or a shared head.

Every pair of networks has the same or another backbone, and the same or another head. Contrasts are
computed per target and averaged, so that differences in clean mIoU between targets cancel. If
multi-scale recognition limits transfer (A4), the head matters, because it merges the scales: models
of different backbones should transfer better if they share the head.
"""

from dataclasses import dataclass

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results
from segtransfer.statistics import Interval, Pair, Resampled, pairs_of
from segtransfer.statistics.resampled import Values
from segtransfer.studies.base import (
    SCORES,
    BaseExperiment,
    at_equal_cost,
    check_transfer,
    experiment_of,
)
from segtransfer.studies.contrasts import combine, drops, mean
from segtransfer.studies.study import (
    COMPARED_ATTACKS,
    EASY,
    Facts,
    IntervalByScore,
    Study,
    ease,
    facts_of,
    judge_with_curve,
    levels,
    plain,
    signed,
    spread,
    transfer_groups,
    transfer_ratio,
)
from segtransfer.studies.verdicts import (
    NEGLIGIBLE,
    Reading,
    Verdict,
    judge,
    trainings_of,
    untested,
)
from segtransfer.tasks.models import description

BACKBONE, HEAD, NEITHER = "same backbone, other head", "other backbone, same head", "both other"
BOTH = "both the same, other weights"
ITSELF = "the source itself"
KINDS = (ITSELF, BOTH, BACKBONE, HEAD, NEITHER)


@dataclass(frozen=True)
class SharedParts:
    """The mean drop over the pairs whose models share the same parts.

    Attributes:
        name: The shared parts, of ``KINDS``.
        pairs: The number of pairs.
        drops: The drop in percentage points, by attack and score.
    """

    name: str
    pairs: int
    drops: dict[str, IntervalByScore]


@dataclass(frozen=True)
class Heads:
    """Drops by shared parts, and contrasts between them, in percentage points.

    A contrast without pairs to compare is empty.

    Attributes:
        facts: The data.
        heads: The kind of head by model name.
        kinds: The drops by shared parts.
        shared_backbone: Per score, the drop under PGD of pairs that share the backbone alone, minus
            the drop of pairs that share nothing, mean over targets with both.
        shared_head: As ``shared_backbone``, for the head.
        limit: Per score, the transfer ratio in percent under PGD of pairs that share nothing.
        ratio: Per score, the transfer ratio of dynamic scaling in percent, on models of another
            backbone, or of the same if there are no others.
    """

    facts: Facts
    heads: dict[str, str]
    kinds: tuple[SharedParts, ...]
    shared_backbone: IntervalByScore
    shared_head: IntervalByScore
    limit: IntervalByScore
    ratio: IntervalByScore

    def of(self, name: str) -> SharedParts | None:
        """Return the drops of pairs with the named shared parts, or None without such pairs."""
        return next((kind for kind in self.kinds if kind.name == name), None)


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD and dynamic scaling to a base, at equal cost.

    Returns:
        The experiment with ``pgd`` and ``ds`` at the base's eps, scored raw and at equal energy.

    Raises:
        InputError: If the base's only source is its only target, or the head of a model is unknown.
    """
    check_transfer(base)
    made = experiment_of(
        base, STUDY.name, [at_equal_cost(base, preset) for preset in COMPARED_ATTACKS]
    )
    heads_of(base)
    return made


def heads_of(base: BaseExperiment) -> dict[str, str]:
    """Return the kind of head of every source and target, by name.

    ``study.heads`` precedes the adapter's description.

    Raises:
        InputError: If the head of a model is unknown.
    """
    known, unknown = {}, []
    for name, model in {m.name: m for m in (*base.source_models, *base.target_models)}.items():
        head = base.study.heads.get(name) or description.describe(model).head
        if head is None:
            unknown.append(name)
        else:
            known[name] = head
    if unknown:
        raise InputError(
            f"The kind of head of {', '.join(unknown)} is unknown. Set study.heads, for example "
            f"study.heads.{unknown[0]}=FCNHead."
        )
    return known


def kinds_of(results: Results, heads: dict[str, str]) -> dict[str, list[Pair]]:
    """Return the pairs of source and target by the parts that their models share.

    Args:
        results: The results.
        heads: The kind of head by model name.

    Returns:
        Pairs by each of ``KINDS``; a list may be empty.
    """
    kinds: dict[str, list[Pair]] = {name: [] for name in KINDS}
    for source in results.sources:
        for target in results.targets:
            group, same_head = results.group(source, target), heads[source] == heads[target]
            if group == "diagonal":
                name = ITSELF
            elif group == "same_backbone":
                name = BOTH if same_head else BACKBONE
            else:
                name = HEAD if same_head else NEITHER
            kinds[name].append((source, target))
    return kinds


def findings(sample: Resampled, base: BaseExperiment) -> Heads:
    """Compute drops by shared parts, contrasts and transfer ratios.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.

    Raises:
        InputError: If the head of a model is unknown, or all pairs are white-box.
    """
    heads = heads_of(base)
    transfer = pairs_of(sample.results, transfer_groups(sample.results)[0])
    kinds = kinds_of(sample.results, heads)
    shown = tuple(
        SharedParts(
            name,
            len(pairs),
            {
                attack: {s: sample.mean(attack + m, pairs, "drop") for s, m in SCORES.items()}
                for attack in COMPARED_ATTACKS
            },
        )
        for name, pairs in kinds.items()
        if pairs
    )

    def contrast(more: str, less: str) -> IntervalByScore:
        found = {
            s: _by_target(sample, "pgd" + m, kinds[more], kinds[less]) for s, m in SCORES.items()
        }
        return {score: interval for score, interval in found.items() if interval is not None}

    return Heads(
        facts=facts_of(
            sample,
            f"{levels(base.eps)}, {base.cost:g} forward equivalents per attack",
            trainings=trainings_of(sample.results, heads),
        ),
        heads=heads,
        kinds=shown,
        shared_backbone=contrast(BACKBONE, NEITHER),
        shared_head=contrast(HEAD, NEITHER),
        limit=transfer_ratio(sample, "pgd", kinds[NEITHER]),
        ratio=transfer_ratio(sample, "ds", transfer),
    )


def _by_target(
    sample: Resampled, attack: str, more: list[Pair], less: list[Pair]
) -> Interval | None:
    """Return the drop of some pairs minus the drop of others, mean over targets with both."""
    differences: list[Values] = []
    for target in sample.results.targets:
        ours, theirs = ([pair for pair in kind if pair[1] == target] for kind in (more, less))
        if ours and theirs:
            mine, others = drops(sample, attack, ours), drops(sample, attack, theirs)
            differences.append([a - b for a, b in zip(mine, others, strict=True)])
    return combine(sample.design, [(1, mean(differences))]) if differences else None


def sentences(numbers: Heads) -> list[str]:
    """Return the findings as sentences."""
    lines = []
    for attack, words in COMPARED_ATTACKS.items():
        parts = [f"{plain(kind.drops[attack]['raw'])} ({kind.name})" for kind in numbers.kinds]
        lines.append(f"The mean drop in mIoU under {words}, in points, is {', '.join(parts)}.")
    for words, found in (
        ("backbone", numbers.shared_backbone),
        ("head", numbers.shared_head),
    ):
        if found:
            lines.append(
                f"On the same targets, a shared {words} alone adds {signed(found)} points."
            )
    return lines


def verdicts(numbers: Heads) -> list[Verdict]:
    """Return the verdicts on A3, A4 and A6.

    Returns:
        A3 by ``limit``, which contradicts above the threshold of A6; A4 by ``shared_head``; A6 as
        ``ease``. A claim whose numbers are empty is not tested.
    """
    scope = numbers.facts.scope
    limited = untested("A3", "no pair of models differs in backbone and head")
    if numbers.limit:
        words = (
            f"read as: transfer is limited below a ratio of {EASY:g} %; under PGD the ratio is "
            f"{spread(numbers.limit)} % between models that share neither backbone nor head"
        )
        reading = Reading("A3", words, EASY, unit="%", below=True)
        limited = judge_with_curve(reading, numbers.limit, scope)
    cause = untested("A4", "no target has pairs with and without a shared head")
    if numbers.shared_head:
        words = (
            "read as: between backbones, the head that merges the scales matters; a shared head "
            f"adds {signed(numbers.shared_head)} points"
        )
        reading = Reading("A4", words, equality=NEGLIGIBLE, effect=True, cause=True)
        cause = judge(reading, numbers.shared_head, scope)
    return [limited, cause, ease(numbers.ratio, numbers.facts)]


STUDY: Study[Heads] = Study(
    name="heads",
    question="Does transfer follow the backbone that two models share, or the head?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
