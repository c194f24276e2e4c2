"""The reading of a stored manifest, perhaps written by another program or a fault."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.experiment.keys import evaluate_key
from segtransfer.experiment.manifest import FORMAT, Manifest
from segtransfer.experiment.plan import identity_of
from segtransfer.experiment.task import Cell

_CURE = "run the experiment again, which replaces its description in the store"


def read_manifest(content: Mapping[str, Any], identity: str, location: str) -> Manifest:
    """Validate a stored manifest.

    Args:
        content: The JSON values of the manifest's file; empty if the file is truncated.
        identity: The identity of the experiment, or of a trial: ``<search>-<number>``.
        location: The store, for the message.

    Returns:
        The manifest.

    Raises:
        InputError: The manifest is empty, was written by another version of segtransfer, has a
            wrong field, or has a key that does not follow from the key's place.
    """
    if not content:
        raise InputError(
            f"experiments/{identity}.json of store {location} cannot be read: run its experiment "
            "again, or segtransfer store repair"
        )
    spec = content.get("spec")
    name = spec.get("name") if isinstance(spec, dict) else None
    label = f"experiment {name if isinstance(name, str) else identity[:12]} in {location}"
    _check_version(content.get("format"), label)
    shards = content.get("shards")
    for shard in shards if isinstance(shards, list) else ():
        if isinstance(shard, str) and "/" in shard:
            raise InputError(
                f"{label} is altered: the path of shard '{shard}' is outside the store; {_CURE}"
            )
    try:
        _check_texts(content)
        manifest = Manifest.model_validate(content)
    except (ValidationError, RecursionError, UnicodeEncodeError) as error:
        raise InputError(f"{label} {_why(error)}; {_CURE}") from None
    cells = manifest.cells
    # Names may differ, and an older version made other keys; a key in a wrong place is neither.
    if "-" not in identity and identity_of(cells) != identity and not _has_keys(manifest, cells):
        raise InputError(f"{label} is altered: a cell has the key of another task; {_CURE}")
    return manifest


def _check_version(version: Any, label: str) -> None:
    """Raise InputError unless this version of segtransfer reads the format of a manifest."""
    if version == FORMAT:
        return
    if isinstance(version, int) and version > FORMAT:
        raise InputError(
            f"{label} was written by a newer segtransfer (format {version}, and this segtransfer "
            f"reads format {FORMAT}); upgrade segtransfer"
        )
    raise InputError(
        f"{label} was written by another version of segtransfer; run the experiment again"
    )


def _has_keys(manifest: Manifest, cells: Sequence[Cell]) -> bool:
    """Return whether every cell has the key of its target, shard, attack and variant."""
    made = {variant.name: variant.made for variant in manifest.variants}
    return all(
        cell.key
        == evaluate_key(
            manifest.models[cell.target].fingerprint,
            cell.shard_id,
            cell.attack_key,
            variant=made.get(cell.attack, 0),
            num_classes=len(manifest.classes),
            numerics=manifest.settings.numerics.identity(),
        )
        for cell in cells
    )


def _check_texts(value: Any) -> None:
    """Raise UnicodeEncodeError if a text in a JSON value cannot be written."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _check_texts(name)
            _check_texts(item)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)


def _why(error: ValidationError | RecursionError | UnicodeEncodeError) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "is damaged or altered (a text is not valid Unicode)"
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"is damaged or altered ({place + ': ' if place else ''}{message})"
