"""A leaderboard: the document and the ranks made from the results of an experiment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.keys import key_of
from segtransfer.experiment.provenance import code_hash, commit, versions
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.threat import Threat, planned_cost, refusal
from segtransfer.export.about import without_folders
from segtransfer.leaderboard.ranking import (
    LEVEL,
    RANKED_METRIC,
    RANKED_PAIRS,
    PixelCounts,
    RankedScores,
    Ranking,
    rank_attacks,
)
from segtransfer.leaderboard.record import (
    LEADERBOARD_KIND,
    LEADERBOARD_SCHEMA,
    AttackRecord,
    CostRecord,
    CountsRecord,
    ImageRecord,
    MadeRecord,
    Record,
    digest_of,
    interval_record,
)
from segtransfer.results import Results
from segtransfer.results.text import attack_in_words
from segtransfer.statistics import Pair, pairs_of, schedules_of
from segtransfer.statistics.resampled import RESAMPLES
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.schema import shorten


@dataclass(frozen=True)
class Leaderboard:
    """The ranked attacks of a threat model.

    Attributes:
        results: The results of the experiment.
        record: The document, with all numbers.
        ranking: The ranks and the intervals of all differences.
    """

    results: Results
    record: Record
    ranking: Ranking


def check_ranked(experiment: Experiment) -> None:
    """Refuse an experiment without a threat model, before its run.

    Raises:
        InputError: If the field ``threat`` is missing.
    """
    _threat_of(experiment.threat, experiment.name)


def _threat_of(raw: Any, name: str) -> Threat:
    if raw is None:
        raise InputError(
            f"{name} has no threat model; add the field threat with eps and budget to the spec, "
            "for example threat: {eps: 8/255, budget: 10}"
        )
    return Threat.model_validate(raw)


def leaderboard_of(results: Results) -> Leaderboard:
    """Rank the attacks of an experiment with a threat model.

    An attack with a missing cell has no rank; the reason is in ``record.left_out``.

    Args:
        results: The results of the experiment.

    Returns:
        The leaderboard.

    Raises:
        InputError: If the experiment has no threat model, no pair of different backbones, no clean
            scores of a target, or no attack with all cells.
    """
    threat = _threat_of(results.manifest.spec.get("threat"), results.name)
    pairs = pairs_of(results, RANKED_PAIRS)
    if not pairs:
        raise InputError(
            f"{results.name} has no target of another backbone than its source; add such a model "
            "to targets"
        )
    whole, left_out = _complete(results, pairs)
    scores = _scores(results, pairs, whole)
    ranking = rank_attacks(scores, resamples=RESAMPLES)
    missing = left_out | _unnamed_presets(results, threat)
    return Leaderboard(results, _record(results, threat, scores, ranking, missing), ranking)


def _complete(results: Results, pairs: Sequence[Pair]) -> tuple[list[str], dict[str, str]]:
    """Return the attacks with all cells of the pairs, and why other attacks have no rank."""
    if any(("clean", None, target) not in results.counts for _, target in pairs):
        raise InputError(
            f"{results.name} lacks clean scores of a target; run the command again to compute them"
        )
    whole, left_out = [], {}
    for attack in results.attacks:
        sourced = results.needs_source(attack)
        lacking = [
            (s, t) for s, t in pairs if (attack, s if sourced else None, t) not in results.counts
        ]
        if lacking:
            source, target = lacking[0]
            left_out[attack] = (
                f"{len(lacking)} of {len(pairs)} cells have no result, the first from {source} to "
                f"{target}"
            )
        else:
            whole.append(attack)
    if not whole:
        raise InputError(f"{results.name} has no attack with results on all pairs of models")
    return whole, left_out


def _unnamed_presets(results: Results, threat: Threat) -> dict[str, str]:
    """Return why presets without an attack of their name do not fit the threat model."""
    named = {attack.name for attack in results.manifest.settings.attacks}
    reasons = {name: refusal(name, threat) for name in PRESETS if name not in named}
    return {name: reason.partition(";")[0] for name, reason in reasons.items() if reason}


def _scores(results: Results, pairs: Sequence[Pair], attacks: Sequence[str]) -> RankedScores:
    def counted(attack: str, pair: Pair) -> PixelCounts:
        source = pair[0] if attack != "clean" and results.needs_source(attack) else None
        counts = results.counts[attack, source, pair[1]].astype(np.int64)
        return PixelCounts(counts[:, 0], counts[:, 2])

    first = results.counts["clean", None, pairs[0][1]].astype(np.int64)
    return RankedScores(
        images=results.image_ids,
        sequences=results.sequences,
        groups=tuple(schedules_of(results)),
        labelled=first[:, 1],
        pairs=tuple(pairs),
        clean={pair[1]: counted("clean", pair) for pair in pairs},
        attacks={name: {pair: counted(name, pair) for pair in pairs} for name in attacks},
        headline=results.headline,
    )


def _record(
    results: Results,
    threat: Threat,
    scores: RankedScores,
    ranking: Ranking,
    left_out: dict[str, str],
) -> Record:
    manifest = results.manifest
    content: dict[str, Any] = {
        "kind": LEADERBOARD_KIND,
        "schema": LEADERBOARD_SCHEMA,
        "name": results.name,
        "experiment": results.identity,
        "threat": {"norm": threat.norm, "eps": threat.eps, "budget": threat.cost},
        "data": _data(results, scores),
        "models": {
            name: manifest.models[name]
            for name in dict.fromkeys([*results.sources, *results.targets])
        },
        "sources": results.sources,
        "targets": results.targets,
        "seed": manifest.settings.seed,
        "schedule_groups": manifest.settings.schedule_groups,
        "numerics": manifest.spec["numerics"],
        "statistic": {
            "metric": RANKED_METRIC,
            "pairs": RANKED_PAIRS,
            "level": LEVEL,
            "pair_level": ranking.pair_level,
            "resamples": RESAMPLES,
            "seed": 0,
            "detectable": ranking.detectable,
            "drop_of": results.headline,
        },
        "clean": {target: _stored(counts) for target, counts in scores.clean.items()},
        "attacks": _attacks(results, scores, ranking),
        "left_out": {name: shorten(reason) for name, reason in left_out.items()},
        "notes": [*ranking.notes, *(warning.sentence for warning in results.warnings)],
        "code": {
            "version": versions().get("segtransfer", "unknown"),
            "commit": commit(),
            "sha256": code_hash(),
            "packages": versions(),
        },
    }
    unsigned = Record.model_validate(content | {"sha256": "0" * 64})
    return unsigned.model_copy(update={"sha256": digest_of(unsigned.content())})


def _data(results: Results, scores: RankedScores) -> dict[str, Any]:
    """Return the fields of the document's ``data``."""
    shards = {
        image: shard_id
        for shard_id, shard in results.reader().shards()
        if shard is not None
        for image in shard.image_ids
    }
    sequences = zip(scores.images, scores.sequences, strict=True)
    return {
        "name": results.manifest.dataset,
        "sha256": data_hash(results.manifest.shards),
        "classes": results.classes,
        "images": [
            ImageRecord(id=image, sequence=sequence, shard=shards[image])
            for image, sequence in sequences
        ],
        "labelled": scores.labelled.tolist(),
    }


def data_hash(shards: Sequence[str]) -> str:
    """Return the hash over the ids of shards.

    Args:
        shards: The ids, each the hash of a shard's images and labels; their order does not count.
    """
    return key_of({"shards": sorted(shards)})


def _attacks(results: Results, scores: RankedScores, ranking: Ranking) -> list[AttackRecord]:
    """Return the part of every ranked attack."""
    made = _made(results)
    records = []
    for place in ranking.attacks:
        name, variant = place.name, results.variants[place.name]
        size = results.perturbation(name)
        counts: dict[str, dict[str, CountsRecord]] = {}
        for (source, target), found in scores.attacks[name].items():
            counts.setdefault(source, {})[target] = _stored(found)
        records.append(
            AttackRecord(
                name=name,
                rank=place.rank,
                spec=without_folders(results.manifest.stored_attack(name)),
                variant=variant.made,
                words=attack_in_words(results, name),
                drop=interval_record(place.drop),
                behind=interval_record(place.behind),
                sources={s: interval_record(i) for s, i in place.sources.items()},
                cost=_cost(results, name),
                linf=float(size["linf"]),
                rms=_largest_rms(results, name),
                aes=made[name],
                counts=counts,
            )
        )
    return records


def _made(results: Results) -> dict[str, list[MadeRecord]]:
    """Return the stored AEs of every variant, once per source and shard."""
    made: dict[str, dict[str, MadeRecord]] = {}
    for cell in results.manifest.cells:
        of_attack = made.setdefault(cell.attack, {})
        if cell.attack_key is None or cell.attack_key in of_attack:
            continue
        row = results.store.row(cell.attack_key)
        if row is not None:
            of_attack[cell.attack_key] = MadeRecord(
                source=cell.source, shard=cell.shard_id, key=cell.attack_key, sha256=row.sha256
            )
    return {attack: list(of_attack.values()) for attack, of_attack in made.items()}


def _cost(results: Results, attack: str) -> CostRecord:
    """Return planned and measured cost; without numbers for an attack without a model."""
    if not results.needs_source(attack):
        return CostRecord(planned=None, measured=None, error=None)
    spec = AttackSpec.model_validate(results.manifest.stored_attack(attack))
    number = results.variants[attack].made
    measured = [
        report["cost"]["forward_equivalents"][number]
        for _, report in results.attack_reports[attack]
        if report["cost"]
    ]
    error = float(np.std(measured, ddof=1) / len(measured) ** 0.5) if len(measured) > 1 else 0.0
    mean = float(results.cost(attack)["forward_equivalents"])
    return CostRecord(planned=planned_cost(spec), measured=mean, error=error)


def _largest_rms(results: Results, attack: str) -> float:
    index = results.variants[attack].made
    reports = [report["perturbation"][index] for _, report in results.attack_reports[attack]]
    return float(max(value for report in reports for value in report["rms"]))


def _stored(counts: PixelCounts) -> CountsRecord:
    return CountsRecord(right=counts.right.tolist(), predicted=counts.predicted.tolist())
