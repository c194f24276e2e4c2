"""Transfer matrices as text: values, headline means, and attacks in words."""

import math
from typing import Any

from segtransfer.results import Results
from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS
from segtransfer.tasks.attacks.loops.spec import LOOPS
from segtransfer.tasks.attacks.transforms import TRANSFORMS
from segtransfer.tasks.registry import Registry
from segtransfer.tasks.schema import strength_text

# Labels of pair groups: as a heading, and as the targets in a sentence.
HEADLINES = {
    "diagonal": "white-box (diagonal)",
    "same_network": "same network, other defences",
    "same_backbone": "same backbone",
    "cross_backbone": "other backbone",
}
TARGETS_OF = {
    "diagonal": "the source itself",
    "same_network": "the source's network with other defences",
    "same_backbone": "models of the same backbone",
    "cross_backbone": "models of another backbone",
}
ANY_SOURCE = "any source"
NO_PAIR, NOT_MEASURED = "no such pair", "not measured"


def number(value: float) -> str:
    """Return a percentage with a decimal and without minus zero, or "not measured" for NaN."""
    return NOT_MEASURED if math.isnan(value) else f"{round(value, 1) + 0.0:.1f}"


def signed_number(value: float, digits: int = 1) -> str:
    """Return a difference with its sign; the minus is U+2212.

    Args:
        value: The difference; NaN is a dash.
        digits: The number of decimals.
    """
    # The sum with 0.0 removes the sign of a negative zero.
    return "–" if math.isnan(value) else f"{value + 0.0:+.{digits}f}".replace("-", "−")


def signed_interval(value: float, low: float, high: float) -> str:
    """Return a difference and its 95 % interval in brackets, with two decimals.

    Args:
        value: The difference; NaN is a dash.
        low: The lower bound of the interval.
        high: The upper bound of the interval.
    """
    return f"{signed_number(value, 2)} [{signed_number(low, 2)}, {signed_number(high, 2)}]"


def unit(metric: str) -> str:
    """Return the unit of a metric: ``points`` for ``drop``, otherwise ``%``."""
    return "points" if metric == "drop" else "%"


def cell(value: float, drop: float) -> str:
    """Return the headline metric under attack with the change from clean in brackets.

    Args:
        value: The mIoU or accuracy under attack in percent, or NaN.
        drop: The value on clean images minus ``value`` in percentage points, or NaN.

    Returns:
        For example ``41.2 (−30.1)``; the value alone, or "not measured", if either is NaN.
    """
    if math.isnan(value) or math.isnan(drop):
        return number(value)
    return f"{value:.1f} ({signed_number(-drop)})"


def rows(results: Results, attack: str) -> list[str]:
    """Return the sources with rows of their own: all, or the first if the attack uses no model.

    Raises:
        KeyError: If the attack is unknown.
    """
    return results.sources if results.needs_source(attack) else results.sources[:1]


def row_name(results: Results, attack: str, source: str) -> str:
    """Return the label of a matrix row: the source, or "any source" if the attack uses no model.

    Raises:
        KeyError: If the attack is unknown.
    """
    return source if results.needs_source(attack) else ANY_SOURCE


def settings(results: Results, attack: str) -> str:
    """Return an attack's settings as a line, with the coverage of an incomplete matrix.

    Raises:
        KeyError: If the attack is unknown.
    """
    return with_coverage(attack_in_words(results, attack), *results.coverage(attack))


def with_coverage(words: str, complete: int, places: int) -> str:
    """Return an attack in words, with the number of complete cells of an incomplete matrix.

    Args:
        words: The attack in words.
        complete: The number of cells with a result.
        places: The number of all cells.
    """
    return words + (f", PARTIAL: {complete} of {places} cells" if complete < places else "")


def attack_in_words(results: Results, attack: str) -> str:
    """Return eps, steps and the settings that differ from plain PGD, separated by commas.

    Raises:
        KeyError: If the attack is unknown.
    """
    spec, variant = results.attack_spec(attack), results.variants[attack]
    parts = [f"eps {strength_text(spec.eps)}" + (" RMS (L2)" if spec.norm == "l2" else "")]
    if spec.files:
        parts.append("AEs from files")
    if spec.steps:
        count = f"{spec.steps} {'step' if spec.steps == 1 else 'steps'}"
        if spec.budget:
            count = f"{spec.budget.forward_equivalents:g} forward equivalents, about {count}"
        own_sizes = not spec.step_size and (spec.loop or spec.worst_of)
        parts.append(count if own_sizes else f"{count} of {strength_text(spec.step_size)}")
    if spec.worst_of:
        parts.append("per image the strongest of " + " and ".join(m["name"] for m in spec.worst_of))
    if spec.loop:
        parts.append(f"loop {describe_part(spec.loop, LOOPS)}")
    parts += [describe_transform(transform) for transform in spec.transforms]
    if spec.label_version != "logits":
        parts.append("labels follow the image")
    if spec.loss != "cross-entropy":
        parts.append(f"loss {spec.loss}" + (f" at {spec.layer}" if spec.layer else ""))
    if spec.gradient:
        parts.append(f"gradient {describe_part(spec.gradient, GRADIENTS)}")
    if spec.momentum:
        kind = "Nesterov momentum" if spec.momentum.nesterov else "momentum"
        parts.append(f"{kind} {spec.momentum.mu:g}")
    if spec.variance:
        parts.append(f"variance of {spec.variance.neighbours} neighbours")
    if spec.smoothing:
        parts.append(f"gradient smoothed over {spec.smoothing.kernel} pixels")
    if spec.target:
        parts.append("targeted")
    if spec.region:
        parts.append("on a region")
    if spec.start == "uniform" and not spec.files:
        parts.append("uniform start")
    if spec.restarts > 1:
        parts.append(f"best of {spec.restarts} starts")
    if variant.step != spec.steps:
        parts.append(f"kept at step {variant.step}")
    if variant.score != "raw":
        parts.append(f"scored as {variant.score}")
    return ", ".join(parts)


def describe_transform(transform: dict[str, Any]) -> str:
    """Return the name of a transform and the fields that differ from its defaults.

    Args:
        transform: The transform's spec, with ``kind``.

    Returns:
        For example ``dynamic scaling [0.75, 2.05]`` or ``di low 0.9``.
    """
    if transform["kind"] != "ds":
        return describe_part(transform, TRANSFORMS)
    low, high = transform["low"], transform["low"] + transform["width"]
    extra = _changed_fields(transform, TRANSFORMS, {"low", "width"})
    return " ".join([f"dynamic scaling [{low:g}, {high:g}]", *extra])


def describe_part(part: dict[str, Any], registry: Registry[Any]) -> str:
    """Return the name of a part of an attack and the fields that differ from its defaults.

    Args:
        part: The part's spec, with ``kind``.
        registry: The registry of the part's subject.

    Returns:
        For example ``di low 0.9``.
    """
    return " ".join([part["kind"], *_changed_fields(part, registry, set())])


def _changed_fields(part: dict[str, Any], registry: Registry[Any], told: set[str]) -> list[str]:
    """Return each field that differs from its default, with its value."""
    kind, default = part["kind"], {}
    if kind in registry:
        default = registry[kind].model_validate({"kind": kind}).model_dump(mode="json")
    other = {
        k: v for k, v in part.items() if k not in told | {"kind", "sha256"} and v != default.get(k)
    }
    return [
        f"{k.replace('_', ' ')} {v:g}" if isinstance(v, float) else f"{k} {v}"
        for k, v in other.items()
    ]
