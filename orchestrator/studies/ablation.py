"""Ablation: the effect of each part of dynamic scaling, changed along a single axis.

Every variant costs the same and is compared, paired, with default dynamic scaling and with PGD.
Differences beyond noise are corrected for the number of variants (Holm).
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
    facts_of,
    levels,
    signed,
    transfer_groups,
)
from segtransfer.studies.verdicts import Verdict, untested


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
    "scales per step": {"3-scales": _ds(scales=3)},
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
    """The gain of a variant of dynamic scaling, in percentage points of mean drop in mIoU.

    Attributes:
        name: The variant's name.
        axis: The axis along which the variant differs from the default.
        cost: Forward equivalents per image.
        rms: The root mean square of the perturbation, in 8-bit levels.
        over_ds: The gain over default dynamic scaling, per score.
        over_pgd: The gain over PGD, per score.
        beyond_ds: 1 or -1 if the gain over the default is beyond noise on this side in all scores,
            after Holm's correction, otherwise 0.
        beyond_pgd: As ``beyond_ds``, over PGD.
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
    """The findings of the ablation.

    Attributes:
        facts: The data.
        group: The pair group of all numbers.
        default: The gain of default dynamic scaling over PGD in percentage points, per score.
        variants: The variants.
    """

    facts: Facts
    group: str
    default: IntervalByScore
    variants: tuple[AblationSetting, ...]


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD, dynamic scaling and its variants to a base, at equal cost.

    Returns:
        The experiment with ``pgd``, ``ds`` and an attack per entry of ``VARIANTS``, at the base's
        eps, scored raw and at equal energy.

    Raises:
        InputError: If the base's only source is its only target.
    """
    check_transfer(base)
    variants = {name: fields for axis in AXES.values() for name, fields in axis.items()}
    attacks = [at_equal_cost(base, preset) for preset in ("pgd", "ds")]
    attacks += [at_equal_cost(base, "ds", name=name, **f) for name, f in variants.items()]
    return experiment_of(base, STUDY.name, attacks)


def findings(sample: Resampled, base: BaseExperiment) -> Ablation:
    """Compute the gain of every variant over default dynamic scaling and over PGD.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.

    Raises:
        InputError: If all pairs are white-box.
    """
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
        facts=facts_of(sample, f"{levels(base.eps)}, {base.cost:g} forward equivalents per attack"),
        group=group,
        default=over("ds", "pgd"),
        variants=variants,
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
    """Return the common sign of all values, 1 or -1, or 0."""
    signs = {1 if interval.value > 0 else -1 for interval in intervals}
    return signs.pop() if len(signs) == 1 else 0


def sentences(numbers: Ablation) -> list[str]:
    """Return the findings as sentences."""
    lines = [
        f"On {TARGETS_OF[numbers.group]} the mean drop in mIoU under default dynamic scaling minus "
        f"the drop under PGD is {signed(numbers.default)} points."
    ]
    if numbers.facts.one_schedule:
        return lines
    for words, side in (("larger", 1), ("smaller", -1)):
        found = [v for v in numbers.variants if v.beyond_ds == side]
        if found:
            parts = [f"{v.name} {signed(v.over_ds['raw'])}" for v in found]
            lines.append(
                f"Drops {words} than the default's beyond noise (difference, raw): "
                f"{', '.join(parts)}."
            )
    same = [v.name for v in numbers.variants if v.beyond_ds == 0]
    if same:
        lines.append(f"Within noise of the default: {', '.join(same)}.")
    better = [v.name for v in numbers.variants if v.beyond_pgd > 0]
    worse = [v.name for v in numbers.variants if v.beyond_pgd < 0]
    lines.append(
        f"Of {len(numbers.variants)} variants, {len(better)} have larger drops than PGD beyond "
        f"noise and {len(worse)} smaller{' (' + ', '.join(worse) + ')' if worse else ''}."
    )
    return lines


def verdicts(numbers: Ablation) -> list[Verdict]:
    """Return that no claim is tested: a gain over PGD alone supports nothing."""
    return [untested("A5", "PGD is the only other attack here; the study rivals has the others")]


STUDY: Study[Ablation] = Study(
    name="ablation",
    question="Which part of dynamic scaling does what?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
