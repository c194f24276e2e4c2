"""The file of a leaderboard: a versioned JSON document with the numbers behind every rank."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from segtransfer.errors import InputError
from segtransfer.experiment.keys import key_of
from segtransfer.experiment.manifest import Digest, ManifestModel, StoredText
from segtransfer.leaderboard.ranking import PixelCounts, RankedScores
from segtransfer.results import pair_group
from segtransfer.statistics import Interval, Pair
from segtransfer.tasks.image_metrics import OF_PIXELS
from segtransfer.tasks.randomness import schedule_group

LEADERBOARD_SCHEMA = 1  # of the document; raise when a field changes its meaning
LEADERBOARD_KIND = "segtransfer leaderboard"
CountTable = list[list[Annotated[int, Field(ge=0, lt=2**53)]]]


class _RecordPart(BaseModel):
    """A part of the document. Unknown fields are refused, because no check would cover them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ThreatRecord(_RecordPart):
    """The threat model: norm, eps in [0, 1], budget in forward equivalents per image."""

    norm: StoredText
    eps: float
    budget: float


class ImageRecord(_RecordPart):
    """An image: its id, its video, and the id of its shard, the hash of the shard's content."""

    id: str
    sequence: str
    shard: Digest


class DataRecord(_RecordPart):
    """The data.

    Attributes:
        name: The name of the data set.
        sha256: The hash over the ids of the shards, which are hashes of images and labels.
        classes: The names of the K classes.
        images: The N images.
        labelled: N x K labelled pixels.
    """

    name: StoredText
    sha256: Digest
    classes: Annotated[list[str], Field(min_length=1)]
    images: Annotated[list[ImageRecord], Field(min_length=1)]
    labelled: CountTable


class CountsRecord(_RecordPart):
    """The right and the predicted pixels of N images by K classes."""

    right: CountTable
    predicted: CountTable


class IntervalRecord(_RecordPart):
    """A value and its bounds in percentage points; None if there is no interval."""

    value: float
    low: float | None
    high: float | None


class CostRecord(_RecordPart):
    """The cost per image in forward equivalents.

    Attributes:
        planned: The expected cost of the attack's settings; None for AEs made elsewhere.
        measured: The mean cost counted on the models; None for AEs made elsewhere.
        error: The standard error of ``measured`` over attack tasks.
    """

    planned: float | None
    measured: float | None
    error: float | None


class MadeRecord(_RecordPart):
    """Stored AEs: source (None for AEs made elsewhere), shard, key, and sha256 of the blob."""

    source: str | None
    shard: Digest
    key: Digest
    sha256: Digest


class AttackRecord(_RecordPart):
    """An attack.

    Attributes:
        name: The name of the variant.
        rank: The rank.
        spec: The resolved attack as JSON values.
        variant: The index of the variant among the attack's variants.
        words: The settings in words.
        drop: The mean drop with its own 95 % interval.
        behind: The difference to the largest drop, with a simultaneous interval.
        sources: The mean drop of each source, with its own 95 % interval.
        cost: The cost.
        linf: The largest L-infinity norm of an image, in 8-bit levels.
        rms: The largest root mean square of an image, in 8-bit levels.
        aes: The stored AEs.
        counts: The counts by source and target of another backbone.
    """

    name: StoredText
    rank: Annotated[int, Field(ge=1)]
    spec: dict[str, Any]
    variant: Annotated[int, Field(ge=0)]
    words: str
    drop: IntervalRecord
    behind: IntervalRecord
    sources: dict[str, IntervalRecord]
    cost: CostRecord
    linf: float
    rms: float
    aes: Annotated[list[MadeRecord], Field(min_length=1)]
    counts: dict[str, dict[str, CountsRecord]]


class StatisticRecord(_RecordPart):
    """The statistic behind the ranks.

    Attributes:
        metric: ``drop``, the clean value minus the value under attack, in percentage points.
        pairs: The pair group of the mean, ``cross_backbone``.
        level: The coverage of intervals.
        pair_level: The coverage of each simultaneous interval alone.
        resamples: The number of bootstrap resamples.
        seed: The seed of the resamples.
        detectable: The smallest detectable difference, in percentage points, or None.
        drop_of: The metric whose drop is ranked: ``miou``, or ``aacc`` for classifiers.
    """

    metric: Literal["drop"]
    pairs: Literal["cross_backbone"]
    level: float
    pair_level: float
    resamples: Annotated[int, Field(ge=1, le=100_000)]
    seed: int
    detectable: float | None
    drop_of: Literal["miou", "aacc"] = OF_PIXELS

    @model_serializer(mode="wrap")
    def _known(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = write(self)
        unset = ("drop_of", OF_PIXELS)
        return {name: value for name, value in fields.items() if (name, value) != unset}


class CodeRecord(_RecordPart):
    """The code: version, git commit (None outside a clone), sha256, and versions of packages."""

    version: str
    commit: str | None
    sha256: Digest
    packages: dict[str, str]


class Record(_RecordPart):
    """The document.

    Attributes:
        kind: ``segtransfer leaderboard``.
        format: The version of the document's fields; the field in the file is ``schema``.
        name: The name of the experiment.
        experiment: The identity of the experiment.
        threat: The threat model.
        data: The data.
        models: The models by name.
        sources: The names of the sources.
        targets: The names of the targets.
        seed: The seed of the experiment.
        schedule_groups: The number of schedule groups of the experiment.
        numerics: The numerics of the experiment.
        statistic: The statistic behind the ranks.
        clean: The counts on clean images by target of another backbone.
        attacks: The attacks, by rank.
        left_out: The reason by name of each attack or preset without a rank.
        notes: Sentences on the limits of the intervals, and the warnings of the experiment.
        code: The version of the code behind the document.
        sha256: The sha256 of the canonical JSON of all other fields.
    """

    kind: Literal["segtransfer leaderboard"]
    format: int = Field(alias="schema")
    name: StoredText
    experiment: Digest
    threat: ThreatRecord
    data: DataRecord
    models: dict[str, ManifestModel]
    sources: list[str]
    targets: list[str]
    seed: int
    schedule_groups: Annotated[int, Field(ge=1)]
    numerics: Any
    statistic: StatisticRecord
    clean: dict[str, CountsRecord]
    attacks: Annotated[list[AttackRecord], Field(min_length=1)]
    left_out: dict[str, str]
    notes: list[str]
    code: CodeRecord
    sha256: Digest

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Return the pairs of a source and a target of another backbone."""
        return tuple(
            (source, target)
            for source in self.sources
            for target in self.targets
            if pair_group(self.models[source], self.models[target]) == self.statistic.pairs
        )

    def scores(self) -> RankedScores:
        """Return the numbers from which the ranks follow.

        Raises:
            KeyError: If an attack lacks the counts of a pair.
        """
        images = self.data.images
        return RankedScores(
            images=tuple(image.id for image in images),
            sequences=tuple(image.sequence for image in images),
            groups=tuple(
                (self.seed, schedule_group(image.id, self.schedule_groups)) for image in images
            ),
            labelled=np.array(self.data.labelled, np.int64),
            pairs=self.pairs,
            clean={target: _counts(counts) for target, counts in self.clean.items()},
            attacks={
                attack.name: {(s, t): _counts(attack.counts[s][t]) for s, t in self.pairs}
                for attack in self.attacks
            },
            headline=self.statistic.drop_of,
        )

    def content(self) -> dict[str, Any]:
        """Return all fields as JSON values, by the names in the file."""
        return self.model_dump(mode="json", by_alias=True)


def _counts(record: CountsRecord) -> PixelCounts:
    return PixelCounts(np.array(record.right, np.int64), np.array(record.predicted, np.int64))


def interval_record(interval: Interval) -> IntervalRecord:
    """Return an interval without NaN, which JSON lacks."""
    low, high = (None if np.isnan(b) else float(b) for b in (interval.low, interval.high))
    return IntervalRecord(value=interval.value, low=low, high=high)


def digest_of(content: dict[str, Any]) -> str:
    """Return the sha256 of a document's fields other than ``sha256``.

    Args:
        content: The fields as JSON values, by the names in the file.
    """
    return key_of({name: value for name, value in content.items() if name != "sha256"})


def write_record(record: Record, path: Path) -> None:
    """Write a document, with each row of counts on a line.

    Args:
        record: The document.
        path: The file, which is replaced.
    """
    text = json.dumps(record.content(), indent=1, ensure_ascii=False)
    rows = re.sub(r"\[[\d,\s]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)
    path.write_text(rows + "\n", encoding="utf-8")


def read_record(path: Path) -> Record:
    """Read a document.

    Args:
        path: The file.

    Returns:
        The document, whose fields have the right kinds. Nothing else is checked.

    Raises:
        InputError: If the file cannot be read, is no JSON, is of another kind or version, or has a
            wrong field.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is no JSON document; give a leaderboard.json") from None
    if not isinstance(content, dict) or content.get("kind") != LEADERBOARD_KIND:
        raise InputError(f"{path} is no leaderboard; give a leaderboard.json")
    if content.get("schema") != LEADERBOARD_SCHEMA:
        raise InputError(
            f"{path} has schema {content.get('schema')}, and this version of segtransfer reads "
            f"schema {LEADERBOARD_SCHEMA}; install the version in the field code"
        )
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: field '{place}' is wrong: {first['msg']}") from None
