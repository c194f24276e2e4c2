"""Parameters of MLflow runs: the settings that a user filters and groups runs by."""

from collections.abc import Iterator
from typing import Any

from segtransfer.experiment.manifest import ManifestAttack
from segtransfer.reporting.comparison_layout import run_label
from segtransfer.results import Results
from segtransfer.results.text import describe_part, describe_transform
from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS
from segtransfer.tasks.models.numerics import REFERENCE, Numerics
from segtransfer.tasks.schema import strength_text

FAST = Numerics.model_validate("fast")


def experiment_params(results: Results) -> dict[str, str]:
    """Return an experiment's parameters: models, images, seed, numerics, executor, attacks, eps.

    Args:
        results: The results.

    Returns:
        Texts by name; eps as in specs, for example ``8/255``.
    """
    attacks = results.manifest.settings.attacks
    return _common(results) | {
        "attacks": ", ".join(attack.name for attack in attacks),
        "eps": ", ".join(map(strength_text, sorted({attack.eps for attack in attacks}))),
    }


def attack_params(results: Results, attack: str) -> dict[str, str]:
    """Return an attack's parameters.

    Args:
        results: The results.
        attack: The name of the variant.

    Returns:
        The experiment's parameters, the readable settings (eps and step size as in specs, scales as
        an interval), and all other fields of the attack by their dotted path.
    """
    spec = results.attack_spec(attack)
    fields = dict(_flatten(results.manifest.stored_attack(attack)))
    readable = {
        "attack": results.variants[attack].attack,
        "score": results.variants[attack].score,
        "eps": strength_text(spec.eps),
        "step_size": strength_text(spec.step_size) if spec.steps else "",
        "scales": ", ".join(_scales(spec)),
        "transforms": " + ".join(map(describe_transform, spec.transforms)),
    }
    if spec.gradient:
        readable["gradient"] = describe_part(spec.gradient, GRADIENTS)
    fields.pop("name")
    return fields | readable | _common(results)


def _common(results: Results) -> dict[str, str]:
    manifest = results.manifest
    return {
        "experiment": run_label(results),
        "models": ", ".join(manifest.models),
        "sources": ", ".join(results.sources),
        "targets": ", ".join(results.targets),
        "images": str(len(results.image_ids)),
        "dataset": manifest.dataset,
        "seed": str(manifest.settings.seed),
        "numerics": _numerics(manifest.settings.numerics),
        "executor": manifest.run.executor if manifest.run else "",
    }


def _numerics(numerics: Numerics) -> str:
    if numerics in (REFERENCE, FAST):
        return "reference" if numerics == REFERENCE else "fast"
    return ", ".join(f"{name}={value}".lower() for name, value in numerics if value)


def _scales(spec: ManifestAttack) -> Iterator[str]:
    """Yield the interval of scales of each dynamic scaling."""
    for transform in spec.transforms:
        if transform["kind"] == "ds":
            yield f"{transform['low']:g} to {transform['low'] + transform['width']:g}"


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted paths and values of nested mappings and lists; empty values are left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flatten(item, f"{prefix}.{index}")
    elif value is not None:
        yield prefix, str(value)
