"""Keys of tasks: the sha256 of the canonical JSON of every field that changes the result."""

import hashlib
import json
from typing import Any

from pydantic import JsonValue

from segtransfer.tasks.attacks.spec import AttackSpec

# Raise if the meaning of a task changes: old results are then computed again.
ATTACK_VERSION = 3
EVALUATE_VERSION = 3

# Fields of an experiment that change no result, so no key: `runtime` as a whole, names, checks
# that only refuse or permit a model, and paths whose content has a hash in another field.
RUNTIME_ONLY = frozenset(
    {
        "runtime",
        "name",
        "models.name",
        "models.backbone",
        "models.classes",
        "models.mmseg.sha256",
        "models.mmseg.trust",
        "models.torch.sha256",
        "models.huggingface.trust",
        "attacks.name",
        "attacks.files",
        "attacks.target.label_map",
        "attacks.region.mask",
    }
)


# A constant, because a plan asks for 100,000 keys.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(content: dict[str, Any]) -> str:
    """Return the sha256 of the canonical JSON of a mapping.

    Canonical JSON has sorted keys, no spaces, and floats by their shortest repr.

    Args:
        content: JSON values.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: The content holds NaN or infinity.
    """
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()


def model_key(fingerprint: str, numerics: JsonValue) -> str:
    """Return the name under which slots host a model.

    Args:
        fingerprint: The fingerprint of the model.
        numerics: The identity of the numerics, ``Numerics.identity()``.

    Returns:
        The fingerprint; under numerics other than ``reference`` with ``-`` and 8 hexadecimal digits
        of their hash.
    """
    if numerics == "reference":
        return fingerprint
    return f"{fingerprint}-{key_of({'numerics': numerics})[:8]}"


def attack_key(
    attack: AttackSpec, source: str | None, shard_id: str, *, seed: int, numerics: JsonValue
) -> str:
    """Return the key of an attack task.

    Args:
        attack: The attack.
        source: The fingerprint of the source, or None for an attack of zero steps.
        shard_id: The hash of the shard's content.
        seed: The seed of all draws.
        numerics: The identity of the numerics.

    Returns:
        64 hexadecimal digits. Equal keys mean equal AEs.
    """
    return key_of(
        {
            "task": "attack",
            "version": ATTACK_VERSION,
            "attack": attack.identity(),
            "source": source,
            "shard": shard_id,
            "seed": seed,
            "numerics": numerics,
        }
    )


def evaluate_key(
    target: str,
    shard_id: str,
    attack: str | None,
    *,
    variant: int = 0,
    num_classes: int,
    numerics: JsonValue,
) -> str:
    """Return the key of an evaluation task.

    Args:
        target: The fingerprint of the target.
        shard_id: The hash of the shard's content.
        attack: The key of the attack whose AEs are scored, or None for the clean images.
        variant: The index of the scored variant among the attack's variants.
        num_classes: The number of classes of the confusion matrices.
        numerics: The identity of the numerics.

    Returns:
        64 hexadecimal digits. Equal keys mean equal confusion matrices.
    """
    return key_of(
        {
            "task": "evaluate",
            "version": EVALUATE_VERSION,
            "target": target,
            "shard": shard_id,
            "images": attack,
            "made": variant,
            "num_classes": num_classes,
            "numerics": numerics,
        }
    )
