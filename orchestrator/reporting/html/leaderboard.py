"""Page of a leaderboard: a single file with the ranks, all differences, and the origin."""

from dataclasses import dataclass

from markupsafe import Markup

from segtransfer.leaderboard import Leaderboard
from segtransfer.leaderboard.record import AttackRecord, IntervalRecord
from segtransfer.reporting.html.page import page_environment
from segtransfer.reporting.html.templates import HERE
from segtransfer.results.text import signed_interval, signed_number
from segtransfer.statistics import Interval
from segtransfer.tasks.image_metrics import quality

MOST_COMPARED = 30  # attacks in the table of all differences


@dataclass(frozen=True)
class RankRow:
    """A row of the page's table.

    Attributes:
        attack: The attack as in the document.
        under: The mean headline metric under attack, in percent.
        low: The place of the interval's lower bound on the chart, 0 to 100.
        value: The place of the drop on the chart.
        high: The place of the interval's upper bound on the chart.
    """

    attack: AttackRecord
    under: float
    low: float
    value: float
    high: float


def draw_leaderboard(board: Leaderboard, *, title: str, finding: str, document: str) -> str:
    """Return a leaderboard as HTML without external resources and without scripts.

    Args:
        board: The leaderboard.
        title: The threat model in words.
        finding: The attacks of rank 1 in words.
        document: The file name of the document beside the page.
    """
    record, ranking = board.record, board.ranking
    names = [attack.name for attack in record.attacks]
    css = "".join(
        (HERE / name).read_text(encoding="utf-8") for name in ("page.css", "leaderboard.css")
    )
    template = page_environment().get_template("leaderboard.html")
    rows, zero = _rows(board)
    return template.render(
        record=record,
        rows=rows,
        zero=zero,
        clean=ranking.clean,
        quality=quality(record.statistic.drop_of),
        title=title,
        finding=finding,
        document=document,
        names=names if len(names) <= MOST_COMPARED else [],
        differences=_signed_differences(board),
        shown=_shown,
        css=Markup(css),
    )


def _rows(board: Leaderboard) -> tuple[list[RankRow], float]:
    """Return the rows of the table, and the place of 0 on their charts."""
    attacks = board.record.attacks
    bounds = [
        bound
        for attack in attacks
        for bound in (0.0, attack.drop.value, attack.drop.low, attack.drop.high)
        if bound is not None
    ]
    least, most = min(bounds), max(bounds)
    scale = 100 / ((most - least) or 1.0)

    def place(value: float | None, instead: float) -> float:
        return scale * ((instead if value is None else value) - least)

    rows = [
        RankRow(
            attack,
            board.ranking.clean - attack.drop.value,
            place(attack.drop.low, attack.drop.value),
            place(attack.drop.value, attack.drop.value),
            place(attack.drop.high, attack.drop.value),
        )
        for attack in attacks
    ]
    return rows, place(0.0, 0.0)


def _signed_differences(board: Leaderboard) -> dict[tuple[str, str], Interval]:
    """Return the differences of every pair in both directions."""
    found = dict(board.ranking.differences)
    for (one, other), d in board.ranking.differences.items():
        found[other, one] = Interval(-d.value, -d.high, -d.low, d.p)
    return found


def _shown(interval: IntervalRecord | Interval) -> str:
    """Return a value in points with its interval, if there is an interval."""
    if interval.low is None or interval.high is None:
        return signed_number(interval.value, 2)
    return signed_interval(interval.value, interval.low, interval.high)
