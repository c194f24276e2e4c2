"""Scales (A4, A5): dependence of AEs on the scale at which they were made.

PGD through a network at scale s is scored on the same network at scale u, for every s and u.
Dynamic scaling, made at all scales, is scored likewise. PGD at scale s is dynamic scaling with s as
its only scale: the same bits as PGD on the network with ``inference: {mode: whole, scale: s}``,
which is how the targets are built. The larger the drops on the diagonal of the matrix, the more AEs
depend on scale (A4).
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.statistics import Interval, Pair, Resampled
from segtransfer.statistics.resampled import Values
from segtransfer.studies.base import SCORES, BaseExperiment, experiment_of
from segtransfer.studies.contrasts import combine, drops, mean
from segtransfer.studies.study import (
    OVER_PGD,
    Facts,
    IntervalByScore,
    Study,
    facts_of,
    levels,
    signed,
)
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
NATIVE = SCALES.index(1.0)
MiouByScale = tuple[Interval, ...]


@dataclass(frozen=True)
class Scales:
    """The mIoU of networks at each scale, and contrasts of drops.

    Attributes:
        facts: The data.
        networks: The names of the sources.
        pgd: ``pgd[s][u]``, the mIoU in percent under PGD made at scale s and scored at scale u.
        ds: The mIoU in percent under dynamic scaling, scored at each scale.
        heavy: Per score, the drop under PGD at its own scale minus the drop at other scales, in
            percentage points.
        flattened: Per score, the drop at scale 1 minus the drop at other scales, under PGD made at
            scale 1 less under dynamic scaling, in percentage points.
        gain: Per score, the drop under dynamic scaling minus the drop under PGD made at scale 1, at
            scales other than 1, in percentage points.
    """

    facts: Facts
    networks: tuple[str, ...]
    pgd: tuple[MiouByScale, ...]
    ds: MiouByScale
    heavy: IntervalByScore
    flattened: IntervalByScore
    gain: IntervalByScore


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD at each scale, dynamic scaling, and the sources at each scale as targets.

    Returns:
        The experiment with ``pgd-at-SCALE`` per scale of ``SCALES`` and ``ds``, at the base's eps
        and number of steps, scored raw and at equal energy. Targets are ``SOURCE-at-SCALE``.

    Raises:
        InputError: If a source is an ensemble or does not see the image whole.
    """
    common = {"eps": base.eps, "steps": base.steps, "scores": list(SCORES)}
    attacks = [
        {"preset": "pgd", "name": _at("pgd", scale), **common,
         "transforms": [{"ds": {"low": scale, "width": 0}}]}
        for scale in SCALES
    ]  # fmt: skip
    scaled = [_scaled(base, name, scale) for name in _networks(base) for scale in SCALES]
    return experiment_of(
        base,
        STUDY.name,
        [*attacks, {"preset": "ds", **common}],
        classifiers=True,
        models=[*(model.model_dump(mode="json") for model in base.source_models), *scaled],
        sources=_networks(base),
        targets=[model["name"] for model in scaled],
    )


def _networks(base: BaseExperiment) -> list[str]:
    return [model.name for model in base.source_models]


def _at(name: str, scale: float) -> str:
    return f"{name}-at-{scale:g}"


def _scaled(base: BaseExperiment, name: str, scale: float) -> dict[str, Any]:
    """Return a source network as a target at a scale."""
    model = next(m for m in base.models if m.name == name)
    if model.ensemble is not None or (model.inference and model.inference.mode != "whole"):
        raise InputError(
            f"Study {STUDY.name} needs sources that are single networks with inference.mode whole, "
            f"but model '{name}' is an ensemble or slides windows. Choose other sources."
        )
    inference = {"mode": "whole", "scale": scale}
    return model.model_dump(mode="json") | {"name": _at(name, scale), "inference": inference}


def findings(sample: Resampled, base: BaseExperiment) -> Scales:
    """Compute the matrix of scales and its contrasts.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.
    """
    networks = _networks(base)
    count = range(len(SCALES))

    def pairs(u: int) -> list[Pair]:
        return [(name, _at(name, SCALES[u])) for name in networks]

    def taken(attack: str, mark: str, u: int) -> Values:
        return drops(sample, attack + mark, pairs(u))

    names = [_at("pgd", scale) for scale in SCALES]
    others = [u for u in count if u != NATIVE]
    heavy, flattened, gains = {}, {}, {}
    for score, mark in SCORES.items():
        on = mean([taken(names[s], mark, s) for s in count])
        off = mean([taken(names[s], mark, u) for s, u in product(count, count) if s != u])
        heavy[score] = combine(sample.design, [(1, on), (-1, off)])
        pgd, ds = (
            (taken(name, mark, NATIVE), mean([taken(name, mark, u) for u in others]))
            for name in (names[NATIVE], "ds")
        )
        terms = [(1, pgd[0]), (-1, pgd[1]), (-1, ds[0]), (1, ds[1])]
        flattened[score] = combine(sample.design, terms)
        gains[score] = combine(sample.design, [(1, ds[1]), (-1, pgd[1])])
    return Scales(
        facts=facts_of(sample, f"{levels(base.eps)}, {base.steps} steps per attack"),
        networks=tuple(networks),
        pgd=tuple(tuple(sample.mean(name, pairs(u)) for u in count) for name in names),
        ds=tuple(sample.mean("ds", pairs(u)) for u in count),
        heavy=heavy,
        flattened=flattened,
        gain=gains,
    )


def sentences(numbers: Scales) -> list[str]:
    """Return the findings as sentences."""
    at_one = numbers.pgd[NATIVE]
    shown = ", ".join(f"{i.value:.1f}" for i in at_one)
    scaled = ", ".join(f"{i.value:.1f}" for i in numbers.ds)
    listed = ", ".join(f"{scale:g}" for scale in SCALES)
    return [
        f"AEs were made on {', '.join(numbers.networks)} at scales {listed} and scored on the same "
        "network at each scale.",
        f"The drop in mIoU under PGD at its own scale minus the drop at other scales is "
        f"{signed(numbers.heavy)} points.",
        f"At the scales in turn, mIoU is {shown} % under PGD made at scale 1 and {scaled} % under "
        "dynamic scaling, which reduces the difference between scale 1 and other scales by "
        f"{signed(numbers.flattened)} points and changes the drop at scales other than 1 by "
        f"{signed(numbers.gain)} points.",
    ]


def verdicts(numbers: Scales) -> list[Verdict]:
    """Return the verdicts on A4 and A5.

    Returns:
        A4 by ``heavy``; A5 by ``flattened`` and ``gain`` together.
    """
    tied = Reading(
        "A4",
        "read as: AEs depend on the scale at which they were made; the drop under PGD at other "
        f"scales is {signed(numbers.heavy)} points smaller",
        equality=NEGLIGIBLE,
        effect=True,
    )
    even = Reading(
        "A5",
        "read as: dynamic scaling reduces the difference between scales, by "
        f"{signed(numbers.flattened)} points, with larger drops at scales other than 1, by "
        f"{signed(numbers.gain)} points; {OVER_PGD}",
    )
    both = {
        f"{name} {score}": interval
        for name, found in (("flattened", numbers.flattened), ("gain", numbers.gain))
        for score, interval in found.items()
    }
    scope = numbers.facts.scope
    return [judge(tied, numbers.heavy, scope), judge(even, both, scope)]


STUDY: Study[Scales] = Study(
    name="scales",
    question="Are AEs tied to the scale at which they were made?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
