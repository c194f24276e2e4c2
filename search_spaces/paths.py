"""The searchable fields of an attack, by path, and attacks as mappings of paths."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Momentum, Smoothing, Variance, read_smoothing
from segtransfer.tasks.attacks.preset_fields import PRESET_KEYS, fields_of_preset
from segtransfer.tasks.attacks.resolve import TRANSFORM_CHAIN
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms import TRANSFORMS
from segtransfer.tasks.schema import Frozen
from segtransfer.tasks.spec_errors import sentences, validated

# An attack by path: {"eps": "8/255", "momentum": True, "momentum.mu": 1.0, ...}. A present part has
# its own path; transforms are in the order of application.
Flat = dict[str, Any]

CHAIN = "transforms."


class _Parts(dict[str, type[Frozen]]):
    """The specs of parts by path; transforms of packages and users are imported by name."""

    def __contains__(self, path: object) -> bool:
        if super().__contains__(path) or not isinstance(path, str):
            return super().__contains__(path)
        kind = path.removeprefix(CHAIN)
        return kind != path and TRANSFORMS.is_foreign(kind)

    def __missing__(self, path: str) -> type[Frozen]:
        return TRANSFORMS.find(path.removeprefix(CHAIN))


# Optional parts of an attack: momentum, variance, smoothing and transforms.
PARTS = _Parts(
    {
        "momentum": Momentum,
        "variance": Variance,
        "smoothing": Smoothing,
        **{f"{CHAIN}{kind}": model for kind, model in TRANSFORMS.items()},
    }
)

_DEFINES_THREAT_MODEL = "it defines the threat model, under which all proposals are compared"
_SELECTS_IMAGES = "it selects which images of a run are kept, without effect on the run"
FIXED = {
    "name": "it has no effect on the attack",
    "norm": _DEFINES_THREAT_MODEL,
    "eps": _DEFINES_THREAT_MODEL,
    "target": _DEFINES_THREAT_MODEL,
    "region": _DEFINES_THREAT_MODEL,
    "budget": "it is the cost at which all proposals are compared",
    "steps_at": _SELECTS_IMAGES,
    "scores": _SELECTS_IMAGES,
    "equal_rms": _SELECTS_IMAGES,
    "files": "it holds finished adversarial examples",
    "files_sha256": "it is filled in when the spec is read",
    "loss_sha256": "it is filled in when the spec is read",
}

SCALARS = tuple(
    name
    for name in AttackSpec.model_fields
    if name not in FIXED and name not in PARTS and name != "transforms"
)


def part_of(path: str) -> str | None:
    """Return the part of a field, for example ``transforms.ds`` for ``transforms.ds.low``.

    Args:
        path: The path of a field or a part.

    Returns:
        The path of the part; None for a field outside parts, and for a part itself.
    """
    part = path.rpartition(".")[0]
    return part if part in PARTS else None


def fields_of(part: str) -> list[str]:
    """Return the paths of a part's fields.

    Args:
        part: The path of a part, for example ``momentum``.

    Returns:
        Paths such as ``momentum.mu``, without ``kind``.
    """
    return [f"{part}.{name}" for name in PARTS[part].model_fields if name != "kind"]


PATHS = (*SCALARS, *(path for part in PARTS for path in (part, *fields_of(part))))


def is_path(path: str) -> bool:
    """Tell whether a path names a searchable field or part.

    Args:
        path: A path, also of transforms of packages and users.

    Raises:
        InputError: If the code of such a transform cannot be imported.
    """
    part = path if path in PARTS else part_of(path)
    return path in PATHS or path == part or (part is not None and path in fields_of(part))


def expand(base: str | Mapping[str, Any], where: str) -> Flat:
    """Return a raw attack by path, with the fields of its preset.

    Args:
        base: The name of a preset, or a mapping as in an experiment's ``attacks``.
        where: The name of the attack in error messages.

    Returns:
        The fields by path, as written: a step size ``eps/4`` stays text.

    Raises:
        InputError: If the attack is wrong.
    """
    raw = {"preset": base} if isinstance(base, str) else dict(base)
    try:
        AttackSpec.model_validate({"name": "base", **raw})
        fields = fields_of_preset(raw) if "preset" in raw else {}
        given = {name: value for name, value in raw.items() if name not in PRESET_KEYS}
        return flatten({**fields, **given})
    except ValidationError as error:
        raise InputError(sentences(error, where)) from None
    except PydanticCustomError as error:
        raise InputError(f"{where}: {error.message()}") from None


def flatten(raw: Mapping[str, Any]) -> Flat:
    """Return the given fields of a raw attack, by path.

    Args:
        raw: A valid mapping of an attack's fields, without ``preset``.

    Returns:
        The fields by path; a present part has the value True under its own path.
    """
    flat: Flat = {}
    for name, value in raw.items():
        if name == "transforms":
            for transform in TRANSFORM_CHAIN.validate_python(value or ()):
                flat |= _flat_part(f"{CHAIN}{transform.kind}", transform)
        elif name not in PARTS:
            flat[name] = value
        elif value is not None:
            value = read_smoothing(value) if name == "smoothing" else value
            flat |= _flat_part(name, PARTS[name].model_validate(value))
    return flat


def _flat_part(path: str, part: Frozen) -> Flat:
    given = part.model_dump(exclude_unset=True, exclude={"kind", "sha256"})
    return {path: True, **{f"{path}.{name}": value for name, value in given.items()}}


def attack(flat: Flat, name: str, where: str) -> AttackSpec:
    """Return the attack of a mapping of paths, the inverse of ``flatten``.

    Args:
        flat: The fields by path; fields of a part that is absent or False are ignored.
        name: The name of the attack.
        where: The name of the attack in error messages.

    Returns:
        The attack.

    Raises:
        InputError: If ``AttackSpec`` refuses a value.
    """
    raw: dict[str, Any] = {k: v for k, v in flat.items() if "." not in k and k not in PARTS}
    raw |= {"name": name, "transforms": []}
    for part in (path for path, there in flat.items() if path in PARTS and there):
        given = {p.rpartition(".")[2]: flat[p] for p in fields_of(part) if p in flat}
        if part.startswith(CHAIN):
            raw["transforms"].append({"kind": part.removeprefix(CHAIN), **given})
        else:
            raw[part] = given
    return validated(AttackSpec, raw, where)
