"""The check of a leaderboard's document: each dependent number is computed again."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.experiment.keys import attack_key
from segtransfer.experiment.threat import Threat, objection, planned_cost
from segtransfer.leaderboard.leaderboard import data_hash
from segtransfer.leaderboard.ranking import LEVEL, RankedAttack, rank_attacks
from segtransfer.leaderboard.record import (
    AttackRecord,
    CountsRecord,
    CountTable,
    IntervalRecord,
    Record,
    digest_of,
    interval_record,
    read_record,
)
from segtransfer.leaderboard.store_checks import store_problems
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models.numerics import Numerics
from segtransfer.tasks.perturbation import inside

SAME = 1e-6  # percentage points; numbers of the same counts differ by rounding alone
COST_ERRORS = 2  # standard errors of a measured cost, whose random sizes scatter
Problems = Iterator[str]


@dataclass(frozen=True)
class Verification:
    """The answer of a check.

    Attributes:
        record: The document.
        problems: A sentence per contradiction; empty for a sound document.
        store: The location of the compared store, or None.
    """

    record: Record
    problems: tuple[str, ...]
    store: str | None


def verify_file(path: str | Path, store: str | None = None) -> Verification:
    """Check a leaderboard's document, and compare its AEs and scores with a store.

    Without a store, the check covers the document alone: hashes, keys, bounds, budgets, and the
    ranks from the counts of every image.

    Args:
        path: The file.
        store: The folder or URL of the store with the AEs and evaluations, or None.

    Raises:
        InputError: If the file is no document of this version, or the store has no data.
    """
    record = read_record(Path(path))
    problems = list(_document_problems(record))
    if store is not None:
        problems += store_problems(record, Store(store))
    return Verification(record, tuple(problems), store)


def _document_problems(record: Record) -> Problems:
    if digest_of(record.content()) != record.sha256:
        yield "The field sha256 is not the hash of the other fields; the file was changed."
    names = [attack.name for attack in record.attacks]
    if len({*names}) < len(names):
        yield "An attack has two entries."
        return
    shapes = list(_shape_problems(record))
    yield from _data_problems(record)
    for attack in record.attacks:
        yield from _attack_problems(record, attack)
    yield from shapes
    if not shapes:  # otherwise the counts cannot be ranked
        yield from _rank_problems(record)


def _data_problems(record: Record) -> Problems:
    images = record.data.images
    if record.data.sha256 != data_hash(list({image.shard for image in images})):
        yield "The field data.sha256 is not the hash of the images' shards."
    if len({image.id for image in images}) < len(images):
        yield "An image is listed twice in data.images."


def _shape_problems(record: Record) -> Problems:
    """Yield a sentence per table of counts: missing, or in contradiction to the labels."""
    if {*record.sources, *record.targets} - record.models.keys():
        yield "A source or target is missing in models."
        return
    if not record.pairs:
        yield "No target has another backbone than a source."
        return
    size = len(record.data.images), len(record.data.classes)
    if not _has_shape(record.data.labelled, size):
        yield f"The table data.labelled is not {size[0]} images by {size[1]} classes."
        return
    labelled = np.array(record.data.labelled)
    found = {f"the clean images on {target}": c for target, c in record.clean.items()}
    if lacking := {target for _, target in record.pairs} - record.clean.keys():
        yield f"The counts of the clean images on {min(lacking)} are missing."
    for attack in record.attacks:
        for source, target in record.pairs:
            counts = attack.counts.get(source, {}).get(target)
            if counts is None:
                yield f"The counts of {attack.name} from {source} to {target} are missing."
            else:
                found[f"{attack.name} from {source} to {target}"] = counts
    for place, counts in found.items():
        if not _can_be(counts, labelled):
            yield f"The counts of {place} cannot come from the labelled pixels of the data."


def _has_shape(table: CountTable, size: tuple[int, int]) -> bool:
    return len(table) == size[0] and all(len(row) == size[1] for row in table)


def _can_be(counts: CountsRecord, labelled: np.ndarray) -> bool:
    """Return whether counts fit N x K labelled pixels."""
    if not all(_has_shape(table, labelled.shape) for table in (counts.right, counts.predicted)):
        return False
    right, predicted = np.array(counts.right), np.array(counts.predicted)
    within = (right <= labelled).all() and (right <= predicted).all()
    return bool(within and (predicted.sum(1) == labelled.sum(1)).all())


def _attack_problems(record: Record, attack: AttackRecord) -> Problems:
    """Yield the contradictions of an attack's settings, bound, cost and keys."""
    try:
        # Below this path no file exists, so that hashes of files stay as stored.
        context = {"base": Path(os.devnull)}
        spec = AttackSpec.model_validate(attack.spec, context=context)
        threat = Threat.model_validate(record.threat.model_dump())
    except (ValidationError, InputError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        yield f"The settings of {attack.name} are wrong: {reason}."
        return
    if clause := objection(spec, threat):
        yield f"{attack.name} {clause}."
    if not inside({"linf": [attack.linf], "rms": [attack.rms]}, spec):
        yield (
            f"{attack.name} leaves its bound: L-infinity {attack.linf:g}, RMS {attack.rms:.2f} "
            "levels."
        )
    yield from _cost_problems(attack, spec, threat)
    yield from _key_problems(record, attack, spec)


def _cost_problems(attack: AttackRecord, spec: AttackSpec, threat: Threat) -> Problems:
    cost = attack.cost
    if not spec.steps:
        if cost.planned is not None or cost.measured is not None:
            yield f"{attack.name} has a cost, but uses no model."
        return
    if cost.planned is None or cost.measured is None or cost.error is None:
        yield f"The cost of {attack.name} is missing."
        return
    if not _equal(cost.planned, planned_cost(spec)):
        yield (
            f"The planned cost of {attack.name} is {cost.planned:g}, but its settings cost "
            f"{planned_cost(spec):g} forward equivalents."
        )
    if not threat.admits_cost(_nearest(cost.measured, COST_ERRORS * cost.error, threat.cost)):
        yield (
            f"{attack.name} took {cost.measured:g} forward equivalents, more than 10 % from the "
            f"budget of {threat.cost:g}."
        )


def _nearest(value: float, margin: float, wanted: float) -> float:
    """Return the nearest number to ``wanted`` within a margin around a value."""
    return min(max(wanted, value - margin), value + margin)


def _key_problems(record: Record, attack: AttackRecord, spec: AttackSpec) -> Problems:
    """Yield a sentence if AEs are missing, or if a key does not follow from its inputs."""
    sources = record.sources if spec.steps else [None]
    shards = {image.shard for image in record.data.images}
    made = {(part.source, part.shard): part for part in attack.aes}
    expected = {(source, shard) for source in sources for shard in shards}
    if made.keys() != expected or len(made) < len(attack.aes):
        yield f"The AEs of {attack.name} are not one entry per source and shard."
        return
    try:
        numerics = Numerics.model_validate(record.numerics).identity()
    except ValidationError:
        yield "The field numerics is wrong."
        return
    for (source, shard), part in made.items():
        model = record.models.get(source) if source else None
        fingerprint = model.fingerprint if model else None
        key = attack_key(spec, fingerprint, shard, seed=record.seed, numerics=numerics)
        if key != part.key:
            yield (
                f"A key of {attack.name} does not follow from its settings, source, shard, seed "
                "and numerics (or a loss or transform of its own has other code here)."
            )
            return


def _rank_problems(record: Record) -> Problems:
    """Yield the differences between recorded ranks and ranks computed from the counts."""
    statistic = record.statistic
    ranking = rank_attacks(record.scores(), resamples=statistic.resamples, seed=statistic.seed)
    places = {place.name: place for place in ranking.attacks}
    for attack in record.attacks:
        place = places[attack.name]
        if attack.rank != place.rank:
            yield f"{attack.name} has rank {attack.rank}, but its counts give {place.rank}."
        for noun, interval, computed in _intervals(attack, place):
            if interval is None or not _equal_intervals(interval, interval_record(computed)):
                yield f"The {noun} of {attack.name} does not follow from its counts."
    if [attack.name for attack in record.attacks] != [place.name for place in ranking.attacks]:
        yield "The attacks are not in the order of rank and drop."
    for field, recorded, follows in (
        ("level", statistic.level, LEVEL),
        ("pair_level", statistic.pair_level, ranking.pair_level),
        ("detectable", statistic.detectable, ranking.detectable),
    ):
        if not _equal(recorded, follows):
            yield f"The field statistic.{field} does not follow from the counts."


def _intervals(
    attack: AttackRecord, place: RankedAttack
) -> Iterator[tuple[str, IntervalRecord | None, Any]]:
    yield "drop", attack.drop, place.drop
    yield "distance to the largest drop", attack.behind, place.behind
    for source, interval in place.sources.items():
        yield f"drop from {source}", attack.sources.get(source), interval


def _equal_intervals(one: IntervalRecord, other: IntervalRecord) -> bool:
    pairs: Sequence[tuple[float | None, float | None]] = (
        (one.value, other.value), (one.low, other.low), (one.high, other.high)
    )  # fmt: skip
    return all(_equal(a, b) for a, b in pairs)


def _equal(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=SAME, abs_tol=SAME)
