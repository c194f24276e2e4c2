"""Scales (A4): dependence of AEs on the scale at which they were made.

PGD through a network at scale s is scored on the same network at scale u, for every s and u.
Dynamic scaling, made at all scales, is scored likewise. PGD at scale s is dynamic scaling with s as
its only scale: the same bits as PGD on the network with ``inference: {mode: whole, scale: s}``,
which is how the targets are built. The larger the drops on the diagonal of the matrix, the more AEs
depend on scale (A4).

The resize of a target alone takes energy from a perturbation, so part of the diagonal may be loss
of energy. Two controls must agree with the AEs as made: ``after resize`` gives every AE the same
root mean square at the scale of the target, and ``smooth`` blurs perturbations until a resize takes
nearly nothing. Dynamic scaling is compared with PGD alone here, which supports nothing about A5.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results
from segtransfer.statistics import Interval, Pair, Resampled
from segtransfer.statistics.resampled import Values
from segtransfer.studies.base import SCORES, BaseExperiment, experiment_of
from segtransfer.studies.contrasts import combine, drops, mean, percentage
from segtransfer.studies.study import (
    Facts,
    IntervalByScore,
    Study,
    facts_of,
    levels,
    plain,
    plain_value,
    signed,
)
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge, untested
from segtransfer.tasks.attacks.scoring import equal_rms_at, mark_of

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
NATIVE = SCALES.index(1.0)
RESTORED = "after resize"  # equal-rms@u on the target at scale u
CONTROLLED = (*SCORES, RESTORED, "smooth")
EQUAL_RMS = 0.35  # of eps: within the ball, also if a resize takes three fifths of the RMS
QualityByScale = tuple[Interval, ...]


@dataclass(frozen=True)
class Scales:
    """The mIoU of networks at each scale, and contrasts of drops.

    Scores are those of ``CONTROLLED``.

    Attributes:
        facts: The data.
        networks: The names of the sources.
        pgd: Per score ``pgd[score][s][u]``, the mIoU in percent under PGD made at scale s and
            scored at scale u.
        ds: Per score the mIoU in percent under dynamic scaling, scored at each scale.
        heavy: Per score, the drop under PGD at its own scale minus the drop at other scales, in
            percentage points.
        kept: Per score, the drop under PGD at other scales in percent of the drop at its own.
        flattened: Per score, the drop at scale 1 minus the drop at other scales, under PGD made at
            scale 1 less under dynamic scaling, in percentage points.
        gain: Per score, the drop under dynamic scaling minus the drop under PGD made at scale 1, at
            scales other than 1, in percentage points.
        energy: By attack, the root mean square after the resize to each scale in percent of the
            root mean square before, of AEs as ``after resize`` scores them. NaN without stored
            reports; too large if an image had too little room.
    """

    facts: Facts
    networks: tuple[str, ...]
    pgd: dict[str, tuple[QualityByScale, ...]]
    ds: dict[str, QualityByScale]
    heavy: IntervalByScore
    kept: IntervalByScore
    flattened: IntervalByScore
    gain: IntervalByScore
    energy: dict[str, tuple[float, ...]]


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD at each scale, dynamic scaling, and the sources at each scale as targets.

    Returns:
        The experiment with ``pgd-at-SCALE`` per scale of ``SCALES`` and ``ds``, at the base's eps
        and number of steps, scored in every form of ``CONTROLLED``. Targets are
        ``SOURCE-at-SCALE``.

    Raises:
        InputError: If a source is an ensemble or does not see the image whole.
    """
    forms = dict.fromkeys(_form(score, u) for score in CONTROLLED for u in range(len(SCALES)))
    common = {
        "eps": base.eps, "steps": base.steps, "scores": list(forms), "equal_rms": EQUAL_RMS,
    }  # fmt: skip
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


def _form(score: str, u: int) -> str:
    """Return the form of AEs that a score compares on targets at the scale of index u."""
    return equal_rms_at(SCALES[u]) if score == RESTORED else score


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
    """Compute the matrices of scales and their contrasts.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.
    """
    networks = _networks(base)
    count = range(len(SCALES))

    def pairs(u: int) -> list[Pair]:
        return [(name, _at(name, SCALES[u])) for name in networks]

    def row(attack: str, score: str) -> QualityByScale:
        return tuple(sample.mean(attack + mark_of(_form(score, u)), pairs(u)) for u in count)

    def taken(attack: str, score: str, u: int) -> Values:
        return drops(sample, attack + mark_of(_form(score, u)), pairs(u))

    names = [_at("pgd", scale) for scale in SCALES]
    others = [u for u in count if u != NATIVE]
    heavy, kept, flattened, gains = {}, {}, {}, {}
    for score in CONTROLLED:
        on = mean([taken(names[s], score, s) for s in count])
        off = mean([taken(names[s], score, u) for s, u in product(count, count) if s != u])
        heavy[score] = combine(sample.design, [(1, on), (-1, off)])
        kept[score] = percentage(sample.design, off, on)
        pgd, ds = (
            (taken(name, score, NATIVE), mean([taken(name, score, u) for u in others]))
            for name in (names[NATIVE], "ds")
        )
        terms = [(1, pgd[0]), (-1, pgd[1]), (-1, ds[0]), (1, ds[1])]
        flattened[score] = combine(sample.design, terms)
        gains[score] = combine(sample.design, [(1, ds[1]), (-1, pgd[1])])
    facts = facts_of(sample, f"{levels(base.eps)}, {base.steps} steps per attack")
    # A network at another scale is no further model.
    facts = replace(facts, scope=replace(facts.scope, models=len(networks)))
    return Scales(
        facts=facts,
        networks=tuple(networks),
        pgd={score: tuple(row(name, score) for name in names) for score in CONTROLLED},
        ds={score: row("ds", score) for score in CONTROLLED},
        heavy=heavy,
        kept=kept,
        flattened=flattened,
        gain=gains,
        energy={name: _energy(sample.results, name, base.eps) for name in [*names, "ds"]},
    )


def _energy(results: Results, attack: str, eps: float) -> tuple[float, ...]:
    """Return the percentage of the RMS that the resize to each scale keeps.

    Every AE has the same RMS after the resize, and the stored reports have the RMS before.
    """
    forms = [_form(RESTORED, u) for u in range(len(SCALES))]
    before = [results.perturbation(attack + mark_of(form)).get("rms", np.nan) for form in forms]
    return tuple(float(100 * EQUAL_RMS * eps * 255 / rms) for rms in before)


def sentences(numbers: Scales) -> list[str]:
    """Return the findings as sentences."""
    shown = ", ".join(plain_value(i.value) for i in numbers.pgd["raw"][NATIVE])
    scaled = ", ".join(plain_value(i.value) for i in numbers.ds["raw"])
    listed = ", ".join(f"{scale:g}" for scale in SCALES)
    kept = ", ".join(f"{plain(interval)} % ({score})" for score, interval in numbers.kept.items())
    metric = numbers.facts.metric
    energy = [", ".join(f"{e:.0f}" for e in numbers.energy[a]) for a in (_at("pgd", 1), "ds")]
    lines = [
        f"AEs were made on {', '.join(numbers.networks)} at scales {listed} and scored on the same "
        f"network at each scale: as made (raw), at equal RMS (equal-rms), at equal RMS after the "
        f"resize to the target's scale, as if added there ({RESTORED}), and blurred, at equal RMS "
        "(smooth).",
        f"The drop in {metric} under PGD at its own scale minus the drop at other scales is "
        f"{signed(numbers.heavy)} points.",
        f"The drop at other scales is {kept} of the drop at its own scale.",
        f"At the scales in turn, {metric} is {shown} % under PGD made at scale 1 and {scaled} % "
        "under dynamic scaling, which reduces the difference between scale 1 and other scales by "
        f"{signed(numbers.flattened)} points and changes the drop at scales other than 1 by "
        f"{signed(numbers.gain)} points.",
    ]
    if not np.isnan(list(numbers.energy.values())).any():
        lines.append(
            f"The resize to the scales in turn keeps {energy[0]} % of the RMS under PGD made at "
            f"scale 1 and {energy[1]} % under dynamic scaling."
        )
    return lines


def verdicts(numbers: Scales) -> list[Verdict]:
    """Return the verdict on A4, by ``heavy`` in all scores: as made, and in every control.

    Returns:
        The standing; not tested on classifiers, which are a control: A4 is about segmentation.
    """
    if numbers.facts.classifiers:
        return [untested("A4", "classifiers were attacked")]
    reading = Reading(
        "A4",
        "read as: AEs depend on the scale at which they were made; the drop under PGD at other "
        f"scales is {signed(numbers.heavy)} points smaller",
        equality=NEGLIGIBLE,
        effect=True,
    )
    return [judge(reading, numbers.heavy, numbers.facts.scope)]


STUDY: Study[Scales] = Study(
    name="scales",
    question="Are AEs tied to the scale at which they were made?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
