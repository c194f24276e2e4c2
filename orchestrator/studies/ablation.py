"""Ablation (A5, A6): which part of dynamic scaling does what, one axis changed at a time.

Every variant costs the same and is compared, paired, with default dynamic scaling and with PGD;
what counts as beyond noise is corrected for their number.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from segtransfer.experiment.spec import Experiment
from segtransfer.results.text import TARGETS_OF
from segtransfer.statistics import Interval, Resampled, holm, pairs_of
from segtransfer.studies.base import (
    SCORES,
    BaseExperiment,
    at_equal_cost,
    check_transfer,
    experiment_of,
)
from segtransfer.studies.contrasts import gain
from segtransfer.studies.study import (
    Facts,
    IntervalByScore,
    Study,
    Verdict,
    direction,
    ease,
    facts_of,
    levels,
    over_pgd,
    signed,
    standing,
    transfer_groups,
    transfer_ratio,
)


def _ds(**fields: Any) -> dict[str, Any]:
    return {"transforms": [{"ds": fields}]}


# Axis -> the variants of default dynamic scaling along it, by name.
AXES: dict[str, dict[str, dict[str, Any]]] = {
    "range": {
        "range-0.9-1.1": _ds(low=0.9, width=0.2),
        "range-0.75-1.25": _ds(low=0.75, width=0.5),
        "range-0.5-2": _ds(low=0.5, width=1.5),
    },
    "control": {"fixed-0.75": _ds(low=0.75, width=0)},
    "law": {"log-uniform": _ds(law="log-uniform"), "discrete": _ds(law="discrete")},
    "scales a step": {"3-scales": _ds(scales=3)},
    "schedule": {"low-discrepancy": _ds(schedule="low-discrepancy")},
    "label version": {"labels": {"label_version": "labels"}},
    "antialias": {"antialias": _ds(antialias=True)},
    "handling": {"native": _ds(handling="native"), "back": _ds(handling="back")},
    "step size": {"step-eps-2": {"step_size": "eps/2"}, "step-eps-T": {"step_size": "eps/steps"}},
    "combined": {
        "with-mi": {"momentum": {"mu": 1.0}},
        "with-ni": {"momentum": {"mu": 1.0, "nesterov": True}},
        "with-ti": {"smoothing": "ti"},
        "with-di": {"transforms": ["ds", "di"]},
    },
}
VARIANTS = {name: axis for axis, variants in AXES.items() for name in variants}


@dataclass(frozen=True)
class AblationSetting:
    """Gain of a variant over default dynamic scaling (``over_ds``) and over PGD, in points.

    ``beyond_ds`` and ``beyond_pgd`` are 1 or -1 if all scores are beyond noise on that side, after
    correction, otherwise 0. ``cost`` is in forward equivalents, ``rms`` in levels.
    """

    name: str
    axis: str
    cost: float
    rms: float
    over_ds: IntervalByScore
    over_pgd: IntervalByScore
    beyond_ds: int
    beyond_pgd: int


@dataclass(frozen=True)
class Ablation:
    """Findings: ``default`` is the gain of default dynamic scaling over PGD, in points."""

    facts: Facts
    group: str
    default: IntervalByScore
    variants: tuple[AblationSetting, ...]
    ratio: IntervalByScore


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD, dynamic scaling and its variants to a base, at equal cost."""
    check_transfer(base)
    variants = {name: fields for axis in AXES.values() for name, fields in axis.items()}
    attacks = [at_equal_cost(base, preset) for preset in ("pgd", "ds")]
    attacks += [at_equal_cost(base, "ds", name=name, **f) for name, f in variants.items()]
    return experiment_of(base, STUDY.name, attacks)


def findings(sample: Resampled, base: BaseExperiment) -> Ablation:
    """Compute the gain of every variant over the two baselines."""
    results = sample.results
    group = transfer_groups(results)[0]
    pairs = pairs_of(results, group)

    def over(name: str, baseline: str) -> IntervalByScore:
        return {s: gain(sample, name + m, baseline + m, pairs) for s, m in SCORES.items()}

    against = {b: {name: over(name, b) for name in VARIANTS} for b in ("ds", "pgd")}
    beyond = {baseline: _beyond(found) for baseline, found in against.items()}
    variants = tuple(
        AblationSetting(
            name,
            axis,
            cost=float(results.cost(name)["forward_equivalents"]),
            rms=float(results.perturbation(name).get("rms", np.nan)),
            over_ds=against["ds"][name],
            over_pgd=against["pgd"][name],
            beyond_ds=beyond["ds"][name],
            beyond_pgd=beyond["pgd"][name],
        )
        for name, axis in VARIANTS.items()
    )
    return Ablation(
        facts=facts_of(sample, f"{levels(base.eps)}, {base.cost:g} forward equivalents an attack"),
        group=group,
        default=over("ds", "pgd"),
        variants=variants,
        ratio=transfer_ratio(sample, "ds", pairs),
    )


def _beyond(found: dict[str, IntervalByScore]) -> dict[str, int]:
    """Return per variant 1 or -1 if all scores are beyond noise on one side, otherwise 0."""
    names = [(name, score) for name, scored in found.items() for score in scored]
    rejected = holm([found[name][score].p for name, score in names])
    kept = {pair for pair, beyond in zip(names, rejected, strict=True) if beyond}
    sides = {}
    for name, scored in found.items():
        whole = all((name, score) in kept for score in scored)
        sides[name] = _side(list(scored.values())) if whole else 0
    return sides


def _side(intervals: list[Interval]) -> int:
    """Return the common sign of all values, or 0."""
    signs = {1 if interval.value > 0 else -1 for interval in intervals}
    return signs.pop() if len(signs) == 1 else 0


def sentences(numbers: Ablation) -> list[str]:
    """Return the findings as sentences."""
    lines = [
        f"On {TARGETS_OF[numbers.group]} default dynamic scaling takes {signed(numbers.default)} "
        "points more than PGD."
    ]
    if numbers.facts.one_schedule:
        return lines
    for words, side in (("more", 1), ("less", -1)):
        found = [v for v in numbers.variants if v.beyond_ds == side]
        if found:
            parts = [f"{v.name} {signed(v.over_ds['raw'])}" for v in found]
            lines.append(f"Beyond noise, {words} than the default (raw): {', '.join(parts)}.")
    same = [v.name for v in numbers.variants if v.beyond_ds == 0]
    if same:
        lines.append(f"Within noise of the default: {', '.join(same)}.")
    better = [v.name for v in numbers.variants if v.beyond_pgd > 0]
    worse = [v.name for v in numbers.variants if v.beyond_pgd < 0]
    lines.append(
        f"Of {len(numbers.variants)} variants {len(better)} take more than PGD beyond noise, "
        f"{len(worse)} less{' (' + ', '.join(worse) + ')' if worse else ''}."
    )
    return lines


def verdicts(numbers: Ablation) -> list[Verdict]:
    """Return the verdicts on A5 and A6."""
    reason = f"default dynamic scaling less PGD is {signed(numbers.default)} points"
    gained = over_pgd("A5", standing(direction(numbers.default.values())), reason)
    return [gained, ease([numbers.ratio], numbers.facts.eps)]


STUDY: Study[Ablation] = Study(
    name="ablation",
    question="Which part of dynamic scaling does what?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
