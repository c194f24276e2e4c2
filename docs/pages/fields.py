"""Fields of specs as tables: type, range, unit, default and description of each."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from pages.markdown import as_markdown, attributes_in, code, table
from segtransfer.tasks.json_schema import BOUNDS, NUMBER_OR_FRACTION
from segtransfer.tasks.schema import Frozen, written

Schema = Mapping[str, Any]

# The unit of each numeric field, by class; a test refuses a numeric field without one.
UNITS: dict[str, dict[str, str]] = {
    "Experiment": {"seed": "–", "schedule_groups": "groups", "shard_size": "images"},
    "AttackSpec": {
        "eps": "pixel range",
        "step_size": "pixel range",
        "steps": "steps",
        "restarts": "runs",
        "steps_at": "steps",
        "equal_rms": "eps",
    },
    "AdaptiveEnsemble": {"beta": "ratio", "threshold": "cosine"},
    "Budget": {"forward_equivalents": "forwards"},
    "Threat": {"eps": "pixel range"},
    "CommonWeakness": {"reverse": "eps", "inner_step": "pixel range", "mu": "ratio"},
    "DataSpec": {
        "images": "images",
        "size": "pixels",
        "ignore_index": "value in a label file",
        "values": "class index",
    },
    "Crops": {"size": "pixels", "per_image": "crops", "min_share": "share of pixels"},
    "EnsembleSpec": {"weights": "ratio"},
    "Fleet": {"slots": "slots", "slots_per_gpu": "slots"},
    "Inference": {"crop": "pixels", "stride": "pixels", "scale": "ratio of sides"},
    "Momentum": {"mu": "ratio"},
    "ReducedVariance": {"updates": "steps", "mu": "ratio"},
    "Region": {"classes": "class index", "box": "ratio of sides"},
    "Runtime": {
        "window": "calls",
        "micro_batch": "images",
        "attempts": "attempts",
        "in_flight_mib": "MiB",
        "least_deadline": "seconds",
        "max_hours": "hours",
    },
    "Target": {"every": "class index", "classes": "class index"},
    "Variance": {"neighbours": "points", "bound": "eps"},
    "Search": {"seed": "–", "schedule_groups": "groups", "shard_size": "images"},
    "Confirmation": {"best": "trials", "schedule_groups": "groups"},
    "SearchSettings": {
        "trials": "trials",
        "concurrency": "trials",
        "rungs": "rungs",
        "reduction": "ratio",
        "startup": "trials",
    },
    "BaseExperiment": {"seed": "–", "schedule_groups": "groups", "shard_size": "images"},
    "Space": {"first": "unit of the field"},
    "Searched": {
        "float": "unit of the field",
        "int": "unit of the field",
        "choice": "unit of the field",
        "step": "unit of the field",
    },
    "DynamicScaling": {
        "low": "ratio of sides",
        "width": "ratio of sides",
        "levels": "values",
        "scales": "scales per step",
        "probability": "probability",
        "anisotropy": "ratio",
        "grid": "ratio of sides",
    },
    "InputDiversity": {
        "low": "ratio of sides",
        "high": "ratio of sides",
        "probability": "probability",
    },
    "ResizedDiversity": {
        "low": "ratio of sides",
        "high": "ratio of sides",
        "probability": "probability",
    },
    "Flip": {"probability": "probability"},
    "Shift": {"reach": "fraction of the side"},
    "StructureInvariance": {"copies": "copies per step", "blocks": "blocks per axis"},
    "BlockShuffle": {
        "copies": "copies per step",
        "blocks": "strips, cells per strip",
        "degrees": "degrees",
    },
    "IntensityScales": {
        "copies": "copies per step",
        "levels": "values",
        "low": "ratio",
        "width": "ratio",
    },
    "UniformScaleMixMask": {
        "scales": "intensities",
        "masks": "draws per intensity",
        "low": "ratio",
        "width": "ratio",
        "strength": "ratio",
    },
    "GradientRelevance": {"samples": "gradients per step", "radius": "eps", "decay": "ratio"},
    "PenalisedNorm": {"samples": "points per step", "radius": "eps", "balance": "ratio"},
    "EnhancedMomentum": {"samples": "gradients per step", "radius": "steps"},
    "ReversePerturbation": {"inner": "steps", "radius": "eps", "late": "ratio"},
    "MonotonicIntegrated": {"copies": "gradients per step", "position": "ratio"},
    "ExpectedFlatness": {
        "samples": "gradients per step",
        "radius": "eps",
        "push": "eps",
        "decay": "ratio",
    },
    "NormalDistribution": {"side": "shifts", "reach": "half sides"},
    "SkipGradient": {"gamma": "ratio"},
    "Jpeg": {"quality": "quality of libjpeg"},
    "BitDepth": {"bits": "bits"},
    "GaussianSmoothing": {"sigma": "pixels"},
    "ResizePad": {"low": "ratio of sides", "high": "ratio of sides"},
    "MultiScale": {"scales": "ratio of sides"},
    "Admix": {"copies": "copies per step", "strength": "ratio"},
    "SpectrumSimulation": {
        "copies": "copies per step",
        "sigma": "pixel range",
        "rho": "ratio",
    },
}


def fields_table(spec: type[Frozen], schema: Schema, *, links: bool = True) -> str:
    """Return the fields of a spec as a Markdown table.

    Args:
        spec: The class of the spec.
        schema: The JSON schema of the mapping of its fields.
        links: Whether sections named by class follow on the page.

    Raises:
        KeyError: A numeric field has no unit in ``UNITS``.
    """
    told = attributes_in(spec)
    required = spec_required(spec)
    rows = []
    written = {name: field for name, field in schema["properties"].items() if is_written(field)}
    for name, field in written.items():
        unit = UNITS[spec.__name__][name] if is_numeric(field) else ""
        default = "required" if name in required else default_of(field)
        text = told.get(name) or as_markdown(field.get("description", ""))
        kind = type_of(field, links=links)
        if "fraction" in kind:  # the schema of a fraction, which may be text, has no bounds
            kind += range_of(_bounds(spec.model_fields[name]))
        rows.append([code(name), kind, unit, default, text])
    return table(["field", "type", "unit", "default", "meaning"], rows)


def _bounds(annotation: Any) -> dict[str, Any]:
    """Return the bounds of a number, from its pydantic field or from a part of the field's type."""
    found: dict[str, Any] = {}
    for limit in getattr(annotation, "metadata", None) or getattr(annotation, "__metadata__", ()):
        found |= {name: getattr(limit, key) for key, name in BOUNDS.items() if hasattr(limit, key)}
        found |= _bounds(limit) if isinstance(limit, FieldInfo) else {}
    for part in get_args(getattr(annotation, "annotation", annotation)):
        found |= _bounds(part)
    return found


def is_written(schema: Schema) -> bool:
    """Return whether a person writes a field, which is else filled in when the spec is read."""
    return "readOnly" not in schema


def spec_required(spec: type[Frozen]) -> set[str]:
    """Return the names of the fields without a default."""
    return {name for name, field in spec.model_fields.items() if field.is_required()}


def is_numeric(schema: Schema) -> bool:
    """Return whether a value of a field can hold a number."""
    if schema.get("type") in ("number", "integer"):
        return True
    parts = [*schema.get("anyOf", ()), *schema.get("prefixItems", ())]
    parts += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    return any(is_numeric(part) for part in parts if isinstance(part, dict))


def default_of(schema: Schema) -> str:
    """Return the default of a field as a spec has it; a fraction of 255 as such."""
    if "default" not in schema:
        return ""
    value = schema["default"]
    if value is None:
        return "none"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, float):
        return code(written(value).removesuffix(".0"))
    if isinstance(value, list):
        return code(f"[{', '.join(map(str, value))}]")
    if isinstance(value, dict):
        return "its own defaults" if value else code("{}")
    return code(value) if value != "" else "empty"


def type_of(schema: Schema, *, links: bool = True) -> str:
    """Return the type of a field in words, with its range; null is told by the default."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if links else name
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"])
    if schema.get("anyOf") == NUMBER_OR_FRACTION["anyOf"]:
        return f"number or fraction{range_of(schema)}"
    if "anyOf" in schema:
        return _any_of(schema, links)
    return _simple(schema, links)


def _any_of(schema: Schema, links: bool) -> str:
    """Return alternatives, divided by "or"; a number or fraction counts as one."""
    parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
    fraction = [part for part in NUMBER_OR_FRACTION["anyOf"] if part in parts]
    if len(fraction) == 2:
        parts = [NUMBER_OR_FRACTION, *(part for part in parts if part not in fraction)]
    told = [type_of(part, links=links) for part in parts]
    return " or ".join(dict.fromkeys(told)) + range_of(schema)


def _simple(schema: Schema, links: bool) -> str:
    named = schema.get("type", "any")
    kind = named if isinstance(named, str) else "scalar"
    if "prefixItems" in schema:
        kinds = [type_of(part, links=links) for part in schema["prefixItems"]]
        return f"list of {len(kinds)}: {' and '.join(dict.fromkeys(kinds))}"
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}), links=links)}{range_of(schema)}"
    if kind == "object":
        values = schema.get("additionalProperties")
        inner = f" of name to {type_of(values, links=links)}" if isinstance(values, dict) else ""
        return f"mapping{inner}"
    names = {"string": "text", "integer": "whole number", "boolean": "`true` or `false`"}
    return names.get(kind, kind) + range_of(schema)


def range_of(schema: Schema) -> str:
    """Return the range of a number, or the range of the length of a list or text."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    bounds = [
        text
        for value, text in (
            (low, f"from {_bound(low)}"),
            (above, f"above {_bound(above)}"),
            (high, f"to {_bound(high)}"),
            (below, f"below {_bound(below)}"),
            (schema.get("minItems"), f"at least {schema.get('minItems')}"),
            (schema.get("maxItems"), f"at most {schema.get('maxItems')}"),
            (schema.get("maxLength"), f"at most {schema.get('maxLength')} characters"),
        )
        if value is not None
    ]
    return f", {' '.join(bounds)}" if bounds else ""


def _bound(value: float | None) -> str:
    """Return a bound of a range; powers of two beyond a million as such."""
    if isinstance(value, int) and value > 10**6 and value & (value - 1) == 0:
        return f"2^{value.bit_length() - 1}"
    return f"{value:g}" if isinstance(value, float) else str(value)
