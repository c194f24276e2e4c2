"""Rank the attacks of a leaderboard's document again, from its counts, with today's statistics.

    python infra/studies/rerank.py docs/explanation/leaderboards/zoo-8-255.json

rewrites ranks, intervals and hash of the document, so that ``segtransfer leaderboard verify`` finds
the document sound, and prints the table of ranks in Markdown. Counts, keys, costs and the version
of the code that made the AEs stay.
"""

import sys
from pathlib import Path

from segtransfer.leaderboard.ranking import LEVEL, Ranking, rank_attacks
from segtransfer.leaderboard.record import (
    AttackRecord,
    IntervalRecord,
    Record,
    digest_of,
    interval_record,
    read_record,
    write_record,
)


def reranked(record: Record) -> tuple[Record, Ranking]:
    """Return a document with ranks and intervals from its counts, and the ranking."""
    statistic = record.statistic
    ranking = rank_attacks(record.scores(), resamples=statistic.resamples, seed=statistic.seed)
    entries = {attack.name: attack for attack in record.attacks}
    attacks = [
        entries[place.name].model_copy(
            update={
                "rank": place.rank,
                "drop": interval_record(place.drop),
                "behind": interval_record(place.behind),
                "sources": {s: interval_record(i) for s, i in place.sources.items()},
            }
        )
        for place in ranking.attacks
    ]
    numbers = {
        "level": LEVEL,
        "pair_level": ranking.pair_level,
        "detectable": ranking.detectable,
    }
    changed = record.model_copy(
        update={"attacks": attacks, "statistic": statistic.model_copy(update=numbers)}
    )
    return changed.model_copy(update={"sha256": digest_of(changed.content())}), ranking


def table(record: Record) -> str:
    """Return the ranks as a Markdown table, with a column of drops per source."""
    heads = ["rank", "attack", "drop in mIoU, points", "behind the first", *record.sources]
    rows = [f"| {' | '.join(_row(attack, record))} |" for attack in record.attacks]
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows])


def _row(attack: AttackRecord, record: Record) -> list[str]:
    behind = "" if attack is record.attacks[0] else _shown(attack.behind)
    drops = [f"{attack.sources[source].value:.1f}" for source in record.sources]
    return [str(attack.rank), f"`{attack.name}`", _shown(attack.drop), behind, *drops]


def _shown(interval: IntervalRecord) -> str:
    bounds = [b for b in (interval.low, interval.high) if b is not None]
    shown = f" [{', '.join(f'{b:+.1f}' for b in bounds)}]" if bounds else ""
    return f"{interval.value:+.1f}{shown}".replace("-", "−")


def main() -> None:
    (path,) = map(Path, sys.argv[1:])
    record, ranking = reranked(read_record(path))
    write_record(record, path)
    print(table(record))
    print(f"\nsmallest detectable difference (median over pairs): {ranking.detectable} points")


if __name__ == "__main__":
    main()
