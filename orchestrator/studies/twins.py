"""Twins (A4): does dynamic scaling gain more where a network was trained at one scale?

A pair of twins is one network trained with scale augmentation and without; or at two output
strides. How much dynamic scaling gains over PGD is compared between them, as sources on the same
targets and as targets of the same sources. If AEs are tied to the scales at which their source
recognises things (A4), they should be tied the more to a source that saw one scale, and dynamic
scaling should gain more on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results
from segtransfer.statistics import Pair, Resampled
from segtransfer.studies.base import SCORES, Base, Twins, at_equal_cost, experiment_of
from segtransfer.studies.contrasts import apart, combine, drops, gain
from segtransfer.studies.study import (
    Facts,
    Scored,
    Study,
    Verdict,
    facts_of,
    levels,
    matters,
    signed,
)

AUGMENTATION, STRIDE = "scale augmentation", "output stride"
TWINS = {AUGMENTATION: ("with", "without"), STRIDE: ("finer", "coarser")}  # first, second
ROLES = ("source", "target")


@dataclass(frozen=True)
class Role:
    """How many points dynamic scaling gains over PGD on the first and on the second of twins, and
    how many more on the second."""

    role: str
    first: Scored
    second: Scored
    difference: Scored


@dataclass(frozen=True)
class Kind:
    """Twins that differ by the same thing."""

    name: str
    twins: tuple[Twins, ...]
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class Twinned:
    facts: Facts
    kinds: tuple[Kind, ...]

    def of(self, name: str) -> Kind | None:
        return next((kind for kind in self.kinds if kind.name == name), None)


def _given(base: Base) -> dict[str, tuple[Twins, ...]]:
    given = {AUGMENTATION: base.study.twins, STRIDE: base.study.stride_twins}
    return {name: twins for name, twins in given.items() if twins}


def experiment(base: Base) -> Experiment:
    twins = {name for pairs in _given(base).values() for pair in pairs for name in pair}
    if not twins:
        raise InputError(
            f"study {STUDY.name} needs pairs of networks that differ by their training alone; give "
            "study.twins=[[with-scale-augmentation, without]], or study.stride_twins"
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


def findings(sample: Resampled, base: Base) -> Twinned:
    kinds = tuple(_kind(sample, name, twins) for name, twins in _given(base).items())
    effort = f"{levels(base.eps)}, {base.cost:g} forward equivalents an attack"
    return Twinned(facts_of(sample, effort), kinds)


def _kind(sample: Resampled, name: str, twins: tuple[Twins, ...]) -> Kind:
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
        )
        roles.append(found)
    return Kind(name, twins, tuple(roles))


def _pairs(results: Results, twins: Twins, role: str) -> list[tuple[Pair, Pair]]:
    """The first twin and the second with each model that is none of them: two pairs of source and
    target that differ by the twin alone."""
    if role == "source":
        both = [((twins[0], other), (twins[1], other)) for other in results.targets]
    else:
        both = [((other, twins[0]), (other, twins[1])) for other in results.sources]
    return [
        pairs
        for pairs in both
        if all(apart(results, *pair) and set(pair) != set(twins) for pair in pairs)
    ]


def _no_partner(role: str) -> InputError:
    other = ROLES[1 - ROLES.index(role)]
    return InputError(
        f"study {STUDY.name}: as {role}s twins are compared on a common {other}, and there is none "
        f"but themselves; name other models as {other}s"
    )


def _named(twins: Sequence[Twins]) -> str:
    return ", ".join(f"{first} / {second}" for first, second in twins)


def sentences(numbers: Twinned) -> list[str]:
    told = []
    for kind in numbers.kinds:
        first, second = TWINS[kind.name]
        for role in kind.roles:
            told.append(
                f"With {_named(kind.twins)} ({first} / {second} {kind.name}) as {role.role}, "
                f"dynamic scaling gains {signed(role.first)} points of mIoU over PGD on the first "
                f"and {signed(role.second)} on the second, {signed(role.difference)} more."
            )
    if numbers.of(STRIDE) is None:
        told.append("No twins of another output stride were given: that is not tested.")
    return told


def verdicts(numbers: Twinned) -> list[Verdict]:
    kind = numbers.of(AUGMENTATION)
    if kind is None:
        return [Verdict("A4", "not tested", "no twins of scale augmentation were given")]
    found = kind.roles[ROLES.index("source")].difference
    reason = (
        "read as: on a source that was trained at one scale dynamic scaling gains more; it gains "
        f"{signed(found)} points more"
    )
    return [Verdict("A4", matters(found.values()), reason)]


STUDY: Study[Twinned] = Study(
    name="twins",
    question="Does dynamic scaling gain more on a network trained at one scale?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
