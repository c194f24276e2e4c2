"""Paired differences of two runs on the same images: cells, rows, columns and means."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.statistics import Pair, Resampled, holm, pairs_of

CONFIDENCE = 0.95  # of every interval
FRAME_COLUMNS = (
    "attack_a", "attack_b", "kind", "group", "source", "target",
    "a", "b", "difference", "low", "high", "p",
)  # fmt: skip


def differences(
    a: Results, b: Results, attacks: Sequence[tuple[str, str]], metric: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return B minus A for pairs of attacks.

    Both runs are resampled with the same design (2,000 resamples, seed 0): the design of the run
    with fewer schedule groups.

    Args:
        a: Results of A.
        b: Results of B, with A's images, sources and targets in A's order.
        attacks: Per pair the name of A's attack and of B's attack.
        metric: A name of the registry of metrics.

    Returns:
        The frame as in ``Comparison.frame``, and sentences about the limits of its intervals. A
        cell without a result is NaN, and so are the means over this cell.
    """
    # Images within a schedule group are dependent, so the larger groups of both runs are resampled.
    coarser = min(a, b, key=lambda run: run.manifest.settings.schedule_groups)
    design = Resampled(coarser).design
    of_a, of_b = Resampled(a, design=design), Resampled(b, design=design)
    rows = []
    for attack_a, attack_b in attacks:
        for kind, group, source, target, pairs in _statistics(a, b, attack_a, attack_b):
            place = attack_a, attack_b, kind, group, source, target
            rows.append((*place, *_values(of_a, of_b, attack_a, attack_b, pairs, metric)))
    frame = pd.DataFrame(rows, columns=[*FRAME_COLUMNS])
    frame["beyond_noise"] = False
    for _, part in frame.groupby("kind"):
        frame.loc[part.index, "beyond_noise"] = holm(part["p"].tolist(), 1 - CONFIDENCE)
    return frame, [*_limits(a, b, frame), *design.notes]


def _statistics(
    a: Results, b: Results, attack_a: str, attack_b: str
) -> Iterator[tuple[str, str, str, str, list[Pair]]]:
    """Yield kind, group, source and target of each statistic, and the cells of its mean.

    A mean covers cells of a single group. Rows and columns exclude the diagonal. If neither attack
    uses a source, there is a single row of cells, with empty group and source.
    """
    if not (a.needs_source(attack_a) or b.needs_source(attack_b)):
        anyone = a.sources[0]
        for target in a.targets:
            yield "cell", "", "", target, [(anyone, target)]
        yield "mean", "", "", "", [(anyone, target) for target in a.targets]
        return
    for source in a.sources:
        for target in a.targets:
            yield "cell", a.group(source, target), source, target, [(source, target)]
    for group in PAIR_GROUPS:
        inside = pairs_of(a, group)
        if group != "diagonal":
            yield from _rows_and_columns(group, inside)
        if inside:
            yield "mean", group, "", "", inside


def _rows_and_columns(
    group: str, inside: list[Pair]
) -> Iterator[tuple[str, str, str, str, list[Pair]]]:
    """Yield rows and columns of a group; none if each would be a single cell."""
    for side, kind in enumerate(("row", "column")):
        members: dict[str, list[Pair]] = {}
        for pair in inside:
            members.setdefault(pair[side], []).append(pair)
        if any(len(pairs) > 1 for pairs in members.values()):
            for name, pairs in members.items():
                source, target = (name, "") if kind == "row" else ("", name)
                yield kind, group, source, target, pairs


def _values(
    of_a: Resampled, of_b: Resampled, attack_a: str, attack_b: str, pairs: list[Pair], metric: str
) -> tuple[float, ...]:
    """Return the means of A and B, the difference with low and high, and p; NaN if incomplete."""
    try:
        paired = of_b.difference(attack_b, attack_a, pairs, metric, CONFIDENCE, other=of_a)
        mine, theirs = of_a.mean(attack_a, pairs, metric), of_b.mean(attack_b, pairs, metric)
    except KeyError:  # a cell without a result in A or in B
        return (np.nan,) * 6
    return mine.value, theirs.value, paired.value, paired.low, paired.high, paired.p


def _limits(a: Results, b: Results, frame: pd.DataFrame) -> Iterator[str]:
    """Yield sentences about missing results and about the meaning of the intervals."""
    cells = frame[frame["kind"] == "cell"]
    missing = int(cells["difference"].isna().sum())
    if missing:
        yield (
            f"{missing} of {len(cells)} differences lack a result in A, in B or in both. Run the "
            "incomplete experiment again."
        )
    yield (
        "Intervals are 95 % each, uncorrected. Beyond noise means significant at 5 % after Holm's "
        f"correction for all {len(cells)} cells; rows, columns and means are corrected separately."
    )
    groups = [run.manifest.settings.schedule_groups for run in (a, b)]
    if groups[0] != groups[1]:
        yield (
            f"A has {groups[0]} schedule groups and B has {groups[1]}. The {min(groups)} larger "
            "groups are resampled."
        )
