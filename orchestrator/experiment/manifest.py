"""The manifest of an experiment: its stored description, which results are assembled from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    StringConstraints,
    model_serializer,
    model_validator,
)

from segtransfer.experiment.plan import Plan
from segtransfer.experiment.published import published_miou
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.stored_parts import (
    Count,
    StoredBudget,
    StoredMomentum,
    StoredPart,
    StoredSmoothing,
    StoredVariance,
)
from segtransfer.experiment.task import CLEAN, Cell
from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS, ForeignGradientRule
from segtransfer.tasks.attacks.transforms import TRANSFORMS, ForeignTransform
from segtransfer.tasks.image_metrics import OF_PIXELS
from segtransfer.tasks.models.numerics import REFERENCE, Numerics

FORMAT = 2  # of the manifest; raise when a field changes its meaning
MOST_CLASSES = 256  # predictions are stored as uint8

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
StoredText = Annotated[str, StringConstraints(min_length=1, max_length=400)]
Colour = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]
StoredCell = Annotated[
    tuple[StoredText, StoredText | None, StoredText, Digest, Digest, Digest | None], Strict(False)
]


class ManifestAttack(StoredPart):
    """A resolved attack, as JSON values; fields as in ``AttackSpec``."""

    name: StoredText
    eps: Annotated[float, Field(ge=0, le=1)]
    norm: StoredText
    steps: Count
    step_size: float
    budget: StoredBudget | None
    transforms: list[dict[str, Any]]
    label_version: StoredText
    loss: StoredText
    layer: StoredText | None
    gradient: dict[str, Any] | None = None
    momentum: StoredMomentum | None
    variance: StoredVariance | None
    smoothing: StoredSmoothing | None
    start: StoredText
    restarts: Count
    files: Any
    target: Any
    region: Any
    loop: dict[str, Any] | None = None
    worst_of: list[dict[str, Any]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _known_parts(self) -> "ManifestAttack":
        parts: list[Any] = [(spec, TRANSFORMS, ForeignTransform) for spec in self.transforms]
        if self.gradient is not None:
            parts.append((self.gradient, GRADIENTS, ForeignGradientRule))
        for part, registry, foreign in parts:
            kind = part.get("kind")
            if isinstance(kind, str) and "sha256" in part:
                foreign.model_validate(part)
            elif isinstance(kind, str) and kind in registry:
                registry[kind].model_validate(part)
            else:
                raise ValueError(f"{registry.one} {kind!r} is unknown")
        return self


class _StoredData(StoredPart):
    sequence: str | None = None
    label_map: Any = None


class ManifestSettings(StoredPart):
    """Fields of the spec with a part in results.

    Attributes:
        name: The experiment's name.
        data: The data spec.
        attacks: The attacks.
        numerics: The numerics of all tasks.
        seed: The experiment's seed.
        schedule_groups: The number of groups whose images share random schedules.
    """

    name: StoredText
    data: _StoredData = _StoredData()
    attacks: list[ManifestAttack]
    numerics: Numerics = REFERENCE
    seed: int = 0
    schedule_groups: Annotated[int, Field(ge=1, le=2**31)] = 1


class ManifestModel(StoredPart):
    """A model.

    Attributes:
        fingerprint: The hash of the weights, the configuration and the adapter's version.
        backbone: The label of the backbone, which groups models.
        networks: The name and the backbone of each network; an ensemble has several.
        published: The published clean mIoU of the weights on the data set, in percent, or None.
        undefended: The fingerprint of each network without defences; empty if none has a defence.
    """

    fingerprint: StoredText
    backbone: StoredText
    networks: Annotated[list[Annotated[list[StoredText], Field(min_length=2, max_length=2)]],
                        Field(min_length=1)]  # fmt: skip
    published: float | None = None
    undefended: list[StoredText] = Field(default_factory=list)

    @model_serializer(mode="wrap")
    def _known(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = write(self)
        unset: dict[str, Any] = {"published": None, "undefended": []}
        return {n: value for n, value in fields.items() if n not in unset or value != unset[n]}


class ManifestVariant(StoredPart):
    """A variant of an attack: one of the AEs that the attack keeps per image.

    Attributes:
        name: The variant's name, the name of a matrix.
        attack: The name of the attack.
        made: The variant's index among the attack's variants.
        step: The number of steps after which the AE was kept.
        score: The form in which the AE is scored: ``raw``, ``eps*sign`` or ``equal-rms``.
    """

    name: StoredText
    attack: StoredText
    made: Count
    step: Count
    score: StoredText


def _check_moment(value: str) -> str:
    if datetime.fromisoformat(value).tzinfo is None:
        raise ValueError("a time has no time zone")
    return value


Moment = Annotated[str, AfterValidator(_check_moment)]  # in ISO 8601, with its zone


class RunRecord(StoredPart):
    """The computation of an experiment, which changes no result.

    Attributes:
        started: The start of the first run with a computed result, in ISO 8601.
        ended: The end of the last run with a computed result, in ISO 8601.
        user: The user of the last run.
        command: The command line of the last run, empty for Python code.
        executor: The executor of the last run.
    """

    started: Moment
    ended: Moment
    user: StoredText
    command: str
    executor: StoredText


class Manifest(StoredPart):
    """The stored description of an experiment, enough to draw its results without data or models.

    Attributes:
        spec: The resolved spec without ``runtime``, as JSON values.
        settings: The fields of the spec with a part in results.
        dataset: The name of the data set.
        classes: The names of the K classes.
        palette: The colour of each class, 0 to 255.
        models: The models by name.
        sources: The names of the sources, the rows of matrices.
        targets: The names of the targets, the columns of matrices.
        variants: The variants of all attacks; the stored field is ``attacks``.
        shards: The ids of the shards, in the order of the images.
        rows: The fields of ``cells``; the stored field is ``cells``.
        run: The computation; None before its end, and in stores of older versions.
        headline: The metric of tables, drops and ratios: ``miou``, or ``aacc`` if the targets are
            classifiers.
    """

    format: int = FORMAT
    spec: dict[str, Any]
    settings: ManifestSettings = Field(validation_alias="spec", exclude=True)
    dataset: str
    classes: Annotated[list[str], Field(min_length=1, max_length=MOST_CLASSES)]
    palette: list[Colour]
    models: dict[StoredText, ManifestModel]
    sources: list[StoredText]
    targets: list[StoredText]
    variants: list[ManifestVariant] = Field(alias="attacks")
    shards: list[Digest]
    rows: list[StoredCell] = Field(alias="cells")
    run: RunRecord | None = None
    headline: Literal["miou", "aacc"] = OF_PIXELS

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        attacks = [attack.name for attack in self.settings.attacks]
        if len(self.palette) != len(self.classes):
            raise ValueError("classes and palette differ in length")
        if {*self.sources, *self.targets} - self.models.keys():
            raise ValueError("a source or target is missing in models")
        variants = {variant.name: variant.attack for variant in self.variants}
        if {*variants.values()} - {*attacks} or CLEAN in variants:
            raise ValueError("attacks has an attack that spec lacks")
        for names in (self.sources, self.targets, self.shards, [v.name for v in self.variants],
                      attacks, [(v.attack, v.made) for v in self.variants]):  # fmt: skip
            if len({*names}) < len(names):
                raise ValueError("a name occurs twice")
        _check_cells(self)
        return self

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Return the evaluations in the matrices, in any order."""
        return tuple(Cell(*row) for row in self.rows)

    @cached_property
    def attacks(self) -> Mapping[str, ManifestAttack]:
        """Return the attack of each variant, by the variant's name."""
        attacks = {attack.name: attack for attack in self.settings.attacks}
        return {variant.name: attacks[variant.attack] for variant in self.variants}

    def stored_attack(self, variant: str) -> dict[str, Any]:
        """Return the resolved spec of a variant's attack.

        Args:
            variant: The name of the variant.

        Returns:
            JSON values.

        Raises:
            KeyError: The experiment has no such variant.
        """
        name = self.attacks[variant].name
        return next(attack for attack in self.spec["attacks"] if attack["name"] == name)

    def stored(self) -> dict[str, Any]:
        """Return the manifest as the store keeps it.

        Returns:
            JSON values; fields of later versions stay as they were read.
        """
        fields = self.model_dump(mode="json", by_alias=True)
        unset = {"run": None, "headline": OF_PIXELS}
        return {n: value for n, value in fields.items() if n not in unset or value != unset[n]}

    def narrowed(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        variants: Sequence[ManifestVariant] | None = None,
    ) -> "Manifest":
        """Return a manifest of some sources, targets and variants, with all cells.

        Args:
            sources: The names of the sources.
            targets: The names of the targets.
            variants: The variants; None for all.

        Returns:
            A copy, which is not validated: cells of other sources, targets and variants are kept.
        """
        kept = self.variants if variants is None else [*variants]
        update = {"sources": [*sources], "targets": [*targets], "variants": kept}
        return self.model_copy(update=update)

    def changed(self, **fields: Any) -> "Manifest":
        """Return a validated copy with other values of some fields.

        Args:
            fields: The new values by stored name: ``attacks`` for variants, ``cells`` for rows.

        Raises:
            ValidationError: The values do not fit the other fields.
        """
        return Manifest.model_validate({**self.stored(), **fields})


def describe(plan: Plan) -> Manifest:
    """Return the manifest of a plan.

    Args:
        plan: The plan, with the models' fingerprints and the cells.
    """
    experiment = plan.experiment
    return Manifest.model_validate(
        {
            "format": FORMAT,
            "dataset": plan.dataset.name,
            "classes": list(plan.dataset.classes),
            "palette": [list(colour) for colour in plan.dataset.palette],
            "models": {
                model.name: {
                    "fingerprint": plan.infos[model.name].fingerprint,
                    "backbone": plan.infos[model.name].backbone,
                    "networks": [list(network) for network in plan.infos[model.name].networks],
                    "published": published_miou(model, experiment.data),
                    "undefended": list(plan.infos[model.name].undefended),
                }
                for model in experiment.models
            },
            "sources": [model.name for model in experiment.source_models],
            "targets": [model.name for model in experiment.target_models],
            **attack_fields(experiment, list(plan.shards), plan.cells),
            "headline": plan.headline,
        }
    )


def attack_fields(
    experiment: Experiment, shard_ids: list[str], cells: Sequence[Cell]
) -> dict[str, Any]:
    """Return the stored fields of an experiment's attacks, shards and cells.

    Args:
        experiment: The experiment.
        shard_ids: The attacked and scored shards.
        cells: The experiment's cells over these shards.

    Returns:
        JSON values of ``spec`` (without ``runtime``), ``attacks``, ``shards`` and ``cells``.
    """
    return {
        "spec": experiment.model_dump(mode="json", exclude={"runtime"}),
        "attacks": [
            {"attack": attack.name, "made": number, **asdict(variant)}
            for attack in experiment.attacks
            for number, variant in enumerate(attack.variants)
        ],
        "shards": shard_ids,
        "cells": [list(astuple(cell)) for cell in cells],
    }


def _check_cells(manifest: Manifest) -> None:
    """Raise ValueError unless the cells are all places of all matrices, each once."""
    steps = {name: attack.steps for name, attack in manifest.attacks.items()}
    places = {(c.attack, c.source, c.target, c.shard_id) for c in manifest.cells}
    if len(places) < len(manifest.cells):
        raise ValueError("cells has a place of a matrix twice")
    sources, targets, shards = ({*manifest.sources}, {*manifest.targets}, {*manifest.shards})
    expected = {
        (attack, source, target, shard)
        for attack, count in {CLEAN: 0, **steps}.items()
        for source in (sources if count else {None})
        for target in targets
        for shard in shards
    }
    for cell in manifest.cells:
        clean = cell.attack == CLEAN
        sourced = not clean and steps.get(cell.attack, 0) > 0
        if (
            cell.target not in targets
            or cell.shard_id not in shards
            or (not clean and cell.attack not in steps)
            or clean != (cell.attack_key is None)
            or (cell.source not in sources if sourced else cell.source is not None)
        ):
            raise ValueError("cells has an attack, model or shard that other fields lack")
    if places != expected:
        raise ValueError("cells lacks places of the matrices")
