"""The check of a stored manifest, which another program or a fault may have written."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
    model_validator,
)

from segtransfer.errors import InputError
from segtransfer.experiment.keys import evaluate_key
from segtransfer.experiment.manifest import FORMAT
from segtransfer.experiment.plan import identity_of
from segtransfer.experiment.task import CLEAN, Cell
from segtransfer.tasks.attacks.transforms import TRANSFORMS, ForeignTransform
from segtransfer.tasks.models.numerics import REFERENCE, Numerics

MOST_CLASSES = 256  # predictions are stored as uint8
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
StoredText = Annotated[str, StringConstraints(min_length=1, max_length=400)]
ColourValue = Annotated[int, Field(ge=0, le=255)]
Count = Annotated[int, Field(ge=0, le=2**31)]


class _StoredPart(BaseModel):
    """A part of a manifest; fields of later versions are allowed."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _StoredBudget(_StoredPart):
    forward_equivalents: float


class _StoredMomentum(_StoredPart):
    mu: float
    nesterov: bool


class _StoredVariance(_StoredPart):
    neighbours: Count


class _StoredSmoothing(_StoredPart):
    kernel: Count


class _StoredAttack(_StoredPart):
    name: StoredText
    eps: Annotated[float, Field(ge=0, le=1)]
    norm: StoredText
    steps: Count
    step_size: float
    budget: _StoredBudget | None
    transforms: list[dict[str, Any]]
    label_version: StoredText
    loss: StoredText
    layer: StoredText | None
    momentum: _StoredMomentum | None
    variance: _StoredVariance | None
    smoothing: _StoredSmoothing | None
    start: StoredText
    restarts: Count
    files: Any
    target: Any
    region: Any

    @model_validator(mode="after")
    def _known_transforms(self) -> "_StoredAttack":
        for transform in self.transforms:
            kind = transform.get("kind")
            if isinstance(kind, str) and "sha256" in transform:
                ForeignTransform.model_validate(transform)
            elif isinstance(kind, str) and kind in TRANSFORMS:
                TRANSFORMS[kind].model_validate(transform)
            else:
                raise ValueError(f"transform {kind!r} is unknown")
        return self


class _StoredData(_StoredPart):
    sequence: str | None = None


class _StoredSpec(_StoredPart):
    name: StoredText
    data: _StoredData = _StoredData()
    attacks: list[_StoredAttack]
    numerics: Numerics = REFERENCE
    seed: int = 0
    schedule_groups: Annotated[int, Field(ge=1, le=2**31)] = 1


class _StoredModel(_StoredPart):
    fingerprint: StoredText
    backbone: StoredText
    networks: Annotated[list[Annotated[list[StoredText], Field(min_length=2, max_length=2)]],
                        Field(min_length=1)]  # fmt: skip


class _StoredVariant(_StoredPart):
    name: StoredText
    attack: StoredText
    made: Count
    step: Count
    score: StoredText


StoredCell = Annotated[
    tuple[StoredText, StoredText | None, StoredText, Digest, Digest, Digest | None], Strict(False)
]


class _StoredManifest(_StoredPart):
    spec: _StoredSpec
    dataset: str
    classes: Annotated[list[str], Field(min_length=1, max_length=MOST_CLASSES)]
    palette: list[Annotated[list[ColourValue], Field(min_length=3, max_length=3)]]
    models: dict[StoredText, _StoredModel]
    sources: list[StoredText]
    targets: list[StoredText]
    attacks: list[_StoredVariant]
    shards: list[Digest]
    cells: list[StoredCell]

    @model_validator(mode="after")
    def _consistent(self) -> "_StoredManifest":
        steps = {attack.name: attack.steps for attack in self.spec.attacks}
        variants = {variant.name: variant.attack for variant in self.attacks}
        if len(self.palette) != len(self.classes):
            raise ValueError("classes and palette are of different lengths")
        if {*self.sources, *self.targets} - self.models.keys():
            raise ValueError("a source or target is no model")
        if set(variants.values()) - steps.keys() or CLEAN in variants:
            raise ValueError("attacks names an attack that spec has not")
        for names in (self.sources, self.targets, self.shards, [v.name for v in self.attacks],
                      [attack.name for attack in self.spec.attacks],
                      [(v.attack, v.made) for v in self.attacks]):  # fmt: skip
            if len({*names}) < len(names):
                raise ValueError("a name occurs twice")
        self._check_cells({name: steps[attack] for name, attack in variants.items()})
        return self

    def _check_cells(self, steps: Mapping[str, int]) -> None:
        """Raise ValueError unless each cell is a place of a matrix, and named once."""
        cells = [Cell(*row) for row in self.cells]
        places = {(c.attack, c.source, c.target, c.shard_id) for c in cells}
        if len(places) < len(cells):
            raise ValueError("cells names a place of a matrix twice")
        targets, shards = {*self.targets}, {*self.shards}
        sources = {*self.sources}
        expected = {
            (attack, source, target, shard)
            for attack, count in {CLEAN: 0, **steps}.items()
            for source in (sources if count else {None})
            for target in targets
            for shard in shards
        }
        for cell in cells:
            clean = cell.attack == CLEAN
            sourced = not clean and steps.get(cell.attack, 0) > 0
            if (
                cell.target not in targets
                or cell.shard_id not in shards
                or (not clean and cell.attack not in steps)
                or clean != (cell.attack_key is None)
                or (cell.source not in sources if sourced else cell.source is not None)
            ):
                raise ValueError("cells names an attack, model or shard that is none of these")
        if places != expected:
            raise ValueError("cells lacks places of the matrices")


def check_manifest(content: Mapping[str, Any], identity: str, location: str) -> None:
    """Check that a stored manifest is one, so that its results can be read and drawn.

    Args:
        content: The manifest.
        identity: The identity of the experiment, or of a trial: ``<search>-<number>``.
        location: The store, for the message.

    Raises:
        InputError: If another version of segtransfer wrote the manifest, if a field is none of its
            kind.
    """
    spec = content.get("spec")
    name = spec.get("name") if isinstance(spec, dict) else None
    label = f"experiment {name if isinstance(name, str) else identity[:12]} in {location}"
    version = content.get("format")
    if version != FORMAT:
        raise InputError(
            f"{label} was written by another version of segtransfer; run it again, into this store "
            "or a new one"
        )
    shards = content.get("shards")
    for shard in shards if isinstance(shards, list) else ():
        if isinstance(shard, str) and "/" in shard:
            raise InputError(
                f"{label} is altered: shard '{shard}' lies outside of the store; {_CURE}"
            )
    try:
        manifest = _StoredManifest.model_validate(_lists(content))
    except (ValidationError, RecursionError, UnicodeEncodeError) as error:
        raise InputError(f"{label} {_why(error)}; {_CURE}") from None
    cells = [Cell(*row) for row in manifest.cells]
    # Names may differ, and an older version made other keys; a key in a wrong place is neither.
    if "-" not in identity and identity_of(cells) != identity and not _has_keys(manifest, cells):
        raise InputError(f"{label} is altered: a key is not that of its place; {_CURE}")


def _has_keys(manifest: _StoredManifest, cells: Sequence[Cell]) -> bool:
    """Return whether every cell has the key of its target, shard, attack and variant."""
    made = {variant.name: variant.made for variant in manifest.attacks}
    return all(
        cell.key
        == evaluate_key(
            manifest.models[cell.target].fingerprint,
            cell.shard_id,
            cell.attack_key,
            variant=made.get(cell.attack, 0),
            num_classes=len(manifest.classes),
            numerics=manifest.spec.numerics.identity(),
        )
        for cell in cells
    )


_CURE = "run it again, which writes it anew, or delete its file below experiments/"


def _lists(value: Any) -> Any:
    """Return a value with lists for tuples, which a manifest has before it is stored.

    Raises:
        UnicodeEncodeError: If a text cannot be written.
    """
    if isinstance(value, str):
        value.encode()
    if isinstance(value, Mapping):
        return {_lists(name): _lists(item) for name, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _why(error: ValidationError | RecursionError | UnicodeEncodeError) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "is damaged or altered (a text is no Unicode)"
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"is damaged or altered ({place + ': ' if place else ''}{message})"
