"""Heads (A3, A4, A5, A6): does transfer follow the backbone that two models share, or the head?

Every pair of networks has the same or another backbone, and the same or another head. Contrasts
are taken target by target, so that no model's own mIoU stands in for what two models share. If
what limits transfer is how things are recognised at several scales (A4), it should matter which
head puts the scales together: models of other backbones should take more from each other where
they share the head.
"""

from dataclasses import dataclass

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results
from segtransfer.results.text import TARGETS_OF
from segtransfer.statistics import Interval, Pair, Resampled, pairs_of
from segtransfer.statistics.resampled import Values
from segtransfer.studies.base import (
    SCORES,
    BaseExperiment,
    at_equal_cost,
    check_transfer,
    experiment_of,
)
from segtransfer.studies.contrasts import combine, drops, gain, mean
from segtransfer.studies.study import (
    COMPARED_ATTACKS,
    Facts,
    IntervalByScore,
    Study,
    Verdict,
    direction,
    ease,
    facts_of,
    levels,
    matters,
    over_pgd,
    plain,
    signed,
    standing,
    transfer_groups,
    transfer_ratio,
)
from segtransfer.tasks.models import adapters as models

BACKBONE, HEAD, NEITHER = "same backbone, other head", "other backbone, same head", "both other"
BOTH = "both the same, other weights"
ITSELF = "the source itself"
KINDS = (ITSELF, BOTH, BACKBONE, HEAD, NEITHER)


@dataclass(frozen=True)
class SharedParts:
    """Mean drop over the pairs whose models share the named parts, by attack and score."""

    name: str
    pairs: int
    drops: dict[str, IntervalByScore]


@dataclass(frozen=True)
class Heads:
    """Drops by shared parts, and contrasts between them, in points.

    ``shared_backbone`` and ``shared_head``: drop under PGD if two models share that part alone,
    minus the drop if they share neither, per target. ``gap``: drop on the source itself, minus the
    drop if neither is shared. ``gain`` and ``ratio`` of dynamic scaling are over the pairs of
    ``group``. An empty contrast has no pairs to compare.
    """

    facts: Facts
    heads: dict[str, str]
    kinds: tuple[SharedParts, ...]
    shared_backbone: IntervalByScore
    shared_head: IntervalByScore
    gap: IntervalByScore
    group: str
    gain: IntervalByScore
    ratio: IntervalByScore

    def of(self, name: str) -> SharedParts | None:
        return next((kind for kind in self.kinds if kind.name == name), None)


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD and dynamic scaling to a base, at equal cost."""
    check_transfer(base)
    made = experiment_of(
        base, STUDY.name, [at_equal_cost(base, preset) for preset in COMPARED_ATTACKS]
    )
    heads_of(base)
    return made


def heads_of(base: BaseExperiment) -> dict[str, str]:
    """Return the kind of head of every source and target.

    Raises:
        InputError: The head of a model is unknown.
    """
    known, unknown = {}, []
    for name, model in {m.name: m for m in (*base.source_models, *base.target_models)}.items():
        head = base.study.heads.get(name) or models.describe(model).head
        if head is None:
            unknown.append(name)
        else:
            known[name] = head
    if unknown:
        raise InputError(
            f"nothing says which head {', '.join(unknown)} has; give it as study.heads, for "
            f"example study.heads.{unknown[0]}=FCNHead"
        )
    return known


def kinds_of(results: Results, heads: dict[str, str]) -> dict[str, list[Pair]]:
    """Return the pairs by the parts that their models share."""
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
    """Compute drops by shared parts, contrasts, gain and ratio."""
    heads, group = heads_of(base), transfer_groups(sample.results)[0]
    transfer = pairs_of(sample.results, group)
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
        facts=facts_of(sample, f"{levels(base.eps)}, {base.cost:g} forward equivalents an attack"),
        heads=heads,
        kinds=shown,
        shared_backbone=contrast(BACKBONE, NEITHER),
        shared_head=contrast(HEAD, NEITHER),
        gap=_gap(sample, kinds[ITSELF], kinds[NEITHER]),
        group=group,
        gain={s: gain(sample, "ds" + m, "pgd" + m, transfer) for s, m in SCORES.items()},
        ratio=transfer_ratio(sample, "ds", transfer),
    )


def _gap(sample: Resampled, own: list[Pair], others: list[Pair]) -> IntervalByScore:
    """Return the drop under PGD on white-box pairs minus that on other pairs, per score."""
    if not own or not others:
        return {}
    return {
        score: combine(
            sample.design,
            [(1, drops(sample, "pgd" + mark, own)), (-1, drops(sample, "pgd" + mark, others))],
        )
        for score, mark in SCORES.items()
    }


def _by_target(
    sample: Resampled, attack: str, more: list[Pair], less: list[Pair]
) -> Interval | None:
    """Return the mean drop of some pairs minus that of others, over targets that have both."""
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
        lines.append(f"{words[0].upper()}{words[1:]} takes, in points of mIoU, {', '.join(parts)}.")
    for words, found in (
        ("the backbone", numbers.shared_backbone),
        ("the head", numbers.shared_head),
    ):
        if found:
            lines.append(f"On the same targets, sharing {words} alone adds {signed(found)}.")
    return lines


def verdicts(numbers: Heads) -> list[Verdict]:
    """Return the verdicts on A3, A4, A5 and A6."""
    if numbers.gap:
        limited = Verdict(
            "A3",
            standing(direction(numbers.gap.values())),
            f"PGD takes {signed(numbers.gap)} points more from the source itself than from models "
            "that share neither backbone nor head",
        )
    else:
        limited = Verdict("A3", "not tested", "no pair of models differs in backbone and head")
    if numbers.shared_head:
        cause = Verdict(
            "A4",
            matters(numbers.shared_head.values()),
            "read as: which head puts the scales together matters between backbones, and sharing "
            f"it adds {signed(numbers.shared_head)} points",
        )
    else:
        cause = Verdict("A4", "not tested", "no target has pairs of both kinds")
    better = over_pgd(
        "A5",
        standing(direction(numbers.gain.values())),
        f"on {TARGETS_OF[numbers.group]} dynamic scaling takes {signed(numbers.gain)} points more "
        "than PGD",
    )
    return [limited, cause, better, ease([numbers.ratio], numbers.facts.eps)]


STUDY: Study[Heads] = Study(
    name="heads",
    question="Does transfer follow the backbone that two models share, or the head?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
