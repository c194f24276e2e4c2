"""Identity of tasks: canonical JSON of all that changes a result -> sha256."""

import hashlib
import json
from typing import Any

from pydantic import JsonValue

from segtransfer.tasks.attacks.spec import AttackSpec

# Raise when the meaning of a task changes: old results are then computed anew.
ATTACK_VERSION = 3
EVALUATE_VERSION = 3

# Fields of an experiment that change no result, so no key: `runtime` as a whole, names, what
# only refuses a model or lets it load, and paths beside the hash of what they hold.
RUNTIME_ONLY = frozenset(
    {
        "runtime",
        "name",
        "models.name",
        "models.backbone",
        "models.classes",
        "models.mmseg.sha256",
        "models.mmseg.trust",
        "models.huggingface.trust",
        "attacks.name",
        "attacks.files",
        "attacks.target.label_map",
        "attacks.region.mask",
    }
)


# Made once: a plan asks for 100,000 keys.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(content: dict[str, Any]) -> str:
    """sha256 of canonical JSON: sorted keys, no spaces, floats by their shortest repr, no NaN."""
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()


def model_key(fingerprint: str, numerics: JsonValue) -> str:
    """The name under which slots host a model: models that compute otherwise are others."""
    if numerics == "reference":
        return fingerprint
    return f"{fingerprint}-{key_of({'numerics': numerics})[:8]}"


def attack_key(
    attack: AttackSpec, source: str | None, shard_id: str, *, seed: int, numerics: JsonValue
) -> str:
    """Key of making AEs: ``source`` is a fingerprint, or None for an attack of zero steps."""
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
    made: int = 0,
    num_classes: int,
    numerics: JsonValue,
) -> str:
    """Key of scoring the shard's clean images (``attack`` None) or the AEs of an attack's key,
    of which ``made`` is the number where it made several of an image."""
    return key_of(
        {
            "task": "evaluate",
            "version": EVALUATE_VERSION,
            "target": target,
            "shard": shard_id,
            "images": attack,
            "made": made,
            "num_classes": num_classes,
            "numerics": numerics,
        }
    )
