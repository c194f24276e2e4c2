"""Twins (A4): the gain of dynamic scaling on networks trained at a single scale.

A pair of twins is the same network trained with scale augmentation and without, or at two output
strides. The gain of dynamic scaling over PGD is compared between twins, as sources on the same
targets and as targets of the same sources. If AEs depend on the scales of their source (A4), this
dependence should be stronger for a source trained at a single scale, and dynamic scaling should
gain more on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results
from segtransfer.statistics import Pair, Resampled
from segtransfer.statistics.trainings import Permutation, permutation_test
from segtransfer.studies.base import SCORES, BaseExperiment, Twins, at_equal_cost, experiment_of
from segtransfer.studies.contrasts import combine, drops, gain, is_transfer
from segtransfer.studies.study import (
    OVER_PGD,
    Facts,
    IntervalByScore,
    Study,
    facts_of,
    levels,
    signed,
)
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge, untested

AUGMENTATION, STRIDE = "scale augmentation", "output stride"
TWINS = {AUGMENTATION: ("with", "without"), STRIDE: ("finer", "coarser")}  # first, second
ROLES = ("source", "target")


@dataclass(frozen=True)
class Role:
    """The gain of dynamic scaling over PGD on twins in a role, in percentage points of drop.

    Attributes:
        role: ``source`` or ``target``.
        first: Per score, the gain on the first twins.
        second: Per score, the gain on the second twins.
        difference: Per score, the gain on the second minus the gain on the first.
        test: Per score, the test over trainings, whose means are gains and whose property is that
            of the second twins.
    """

    role: str
    first: IntervalByScore
    second: IntervalByScore
    difference: IntervalByScore
    test: dict[str, Permutation]


@dataclass(frozen=True)
class TwinDifference:
    """Twins that differ in a single property of their training.

    Attributes:
        name: The property, a key of ``TWINS``.
        twins: The pairs of model names, first and second.
        roles: The gains per role.
    """

    name: str
    twins: tuple[Twins, ...]
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class Twinned:
    """The findings of the study.

    Attributes:
        facts: The data.
        kinds: The gains per property in which twins differ.
    """

    facts: Facts
    kinds: tuple[TwinDifference, ...]

    def of(self, name: str) -> TwinDifference | None:
        """Return the gains of twins that differ in the named property, or None."""
        return next((kind for kind in self.kinds if kind.name == name), None)


def _given(base: BaseExperiment) -> dict[str, tuple[Twins, ...]]:
    given = {AUGMENTATION: base.study.twins, STRIDE: base.study.stride_twins}
    return {name: twins for name, twins in given.items() if twins}


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD and dynamic scaling to a base, with all twins as sources and targets.

    Returns:
        The experiment with ``pgd`` and ``ds`` at the base's eps and cost, scored raw and at
        equal energy.

    Raises:
        InputError: If the base names no twins, or has no other model as source or target.
    """
    twins = {name for pairs in _given(base).values() for pair in pairs for name in pair}
    if not twins:
        raise InputError(
            f"Study {STUDY.name} needs pairs of networks that differ in training only. Set "
            "study.twins=[[with-scale-augmentation, without]] or study.stride_twins."
        )

    for role, partners in zip(ROLES, (base.target_models, base.source_models), strict=True):
        if not {model.name for model in partners} - twins:
            raise _no_partner(role)

    def also(named: Sequence[str]) -> list[str]:
        return [model.name for model in base.models if model.name in {*named, *twins}]

    return experiment_of(
        base,
        STUDY.name,
        [at_equal_cost(base, preset) for preset in ("pgd", "ds")],
        sources=also([model.name for model in base.source_models]),
        targets=also([model.name for model in base.target_models]),
    )


def findings(sample: Resampled, base: BaseExperiment) -> Twinned:
    """Compute the gains of the twins, per property and role.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.

    Raises:
        InputError: If twins have no common partner in a role.
    """
    kinds = tuple(_kind(sample, name, twins) for name, twins in _given(base).items())
    effort = f"{levels(base.eps)}, {base.cost:g} forward equivalents per attack"
    trainings = min(
        test.trainings for kind in kinds for r in kind.roles for test in r.test.values()
    )
    return Twinned(facts_of(sample, effort, trainings), kinds)


def _kind(sample: Resampled, name: str, twins: tuple[Twins, ...]) -> TwinDifference:
    roles = []
    for role in ROLES:
        pairs = [pair for both in twins for pair in _pairs(sample.results, both, role)]
        first, second = [pair for pair, _ in pairs], [pair for _, pair in pairs]
        if not pairs:
            raise _no_partner(role)
        found = Role(
            role,
            first={s: gain(sample, "ds" + m, "pgd" + m, first) for s, m in SCORES.items()},
            second={s: gain(sample, "ds" + m, "pgd" + m, second) for s, m in SCORES.items()},
            difference={
                s: combine(
                    sample.design,
                    [
                        (1, drops(sample, "ds" + m, second)),
                        (-1, drops(sample, "pgd" + m, second)),
                        (-1, drops(sample, "ds" + m, first)),
                        (1, drops(sample, "pgd" + m, first)),
                    ],
                )
                for s, m in SCORES.items()
            },
            test={s: _test(sample, m, role, twins) for s, m in SCORES.items()},
        )
        roles.append(found)
    return TwinDifference(name, twins, tuple(roles))


def _test(sample: Resampled, mark: str, role: str, twins: tuple[Twins, ...]) -> Permutation:
    """Compare the gain of dynamic scaling between trainings, within each backbone.

    Partners are models that are no twins, so that all trainings have the same partners.
    """
    models, named = sample.results.manifest.models, {name for both in twins for name in both}
    means: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    for both in twins:
        arms = means.setdefault(models[both[0]].backbone, ({}, {}))
        pairs = [two for two in _pairs(sample.results, both, role) if not named >= {*two[0]}]
        if not pairs:
            raise _no_partner(role)
        for arm, name, own in zip(arms, both, zip(*pairs, strict=True), strict=True):
            arm[name] = gain(sample, "ds" + mark, "pgd" + mark, own).value
    return permutation_test(
        {name: (list(a.values()), list(b.values())) for name, (a, b) in means.items()}
    )


def _pairs(results: Results, twins: Twins, role: str) -> list[tuple[Pair, Pair]]:
    """Return two pairs of source and target per other model, which differ only in the twin."""
    if role == "source":
        both = [((twins[0], other), (twins[1], other)) for other in results.targets]
    else:
        both = [((other, twins[0]), (other, twins[1])) for other in results.sources]
    return [
        pairs
        for pairs in both
        if all(is_transfer(results, *pair) and set(pair) != set(twins) for pair in pairs)
    ]


def _no_partner(role: str) -> InputError:
    other = ROLES[1 - ROLES.index(role)]
    return InputError(
        f"Study {STUDY.name} compares twins as {role}s with a common {other}, but no other model "
        f"is a {other}. Add other models to {other}s."
    )


def _named(twins: Sequence[Twins]) -> str:
    return ", ".join(f"{first} / {second}" for first, second in twins)


def sentences(numbers: Twinned) -> list[str]:
    """Return the findings as sentences."""
    lines = []
    for kind in numbers.kinds:
        first, second = TWINS[kind.name]
        for role in kind.roles:
            lines.append(
                f"With {_named(kind.twins)} ({first} / {second} {kind.name}) as {role.role}, "
                f"the gain of dynamic scaling over PGD is {signed(role.first)} points of mIoU on "
                f"the first and {signed(role.second)} on the second, a difference of "
                f"{signed(role.difference)}."
            )
    if numbers.of(STRIDE) is None:
        lines.append("Output stride is not tested, because study.stride_twins is empty.")
    return lines


def verdicts(numbers: Twinned) -> list[Verdict]:
    """Return the verdict on A4.

    Returns:
        The standing by the difference in gain between twins as sources, over images and over
        trainings; not tested without twins of scale augmentation.
    """
    kind = numbers.of(AUGMENTATION)
    if kind is None:
        return [untested("A4", "study.twins is empty")]
    role = kind.roles[ROLES.index("source")]
    tests = list(role.test.values())
    words = (
        "read as: dynamic scaling gains more on a source trained at a single scale; the difference "
        f"in gain is {signed(role.difference)} points; {OVER_PGD}"
    )
    reading = Reading("A4", words, equality=NEGLIGIBLE, effect=True, cause=True)
    return [judge(reading, role.difference, numbers.facts.scope, tests)]


STUDY: Study[Twinned] = Study(
    name="twins",
    question="Does dynamic scaling gain more on a network trained at one scale?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
