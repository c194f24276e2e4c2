"""Report of a leaderboard: the terminal's table, and the page and document in the report folder."""

import math
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segtransfer.leaderboard import Leaderboard
from segtransfer.leaderboard.record import AttackRecord, IntervalRecord, Record, write_record
from segtransfer.leaderboard.verification import Verification
from segtransfer.reporting.entries import IndexEntry, about, when, write_entry
from segtransfer.reporting.html.leaderboard import draw_leaderboard
from segtransfer.reporting.places import report_folder
from segtransfer.results.text import signed_number
from segtransfer.tasks.image_metrics import quality
from segtransfer.tasks.schema import strength_text

DOCUMENT, LEADERBOARD_PAGE = "leaderboard.json", "leaderboard.html"


def finding(record: Record) -> str:
    """Return the attacks of rank 1, and the smallest detectable difference, in words."""
    first = [attack.name for attack in record.attacks if attack.rank == 1]
    count = f"{len(first)} of {len(record.attacks)} attacks"
    sentences = [f"Rank 1: {', '.join(first)} ({count}). No attack is better beyond noise."]
    if record.statistic.detectable is not None:
        sentences.append(
            f"Two attacks that differ by {record.statistic.detectable:.1f} points would have been "
            "told apart with a probability of 80 % (median over pairs)."
        )
    return " ".join(sentences)


def threat_in_words(record: Record) -> str:
    """Return the bound, the budget, the data and the models of a leaderboard in a line."""
    threat, sources = record.threat, len(record.sources)
    targets = len({target for _, target in record.pairs})
    return (
        f"{threat.norm} {strength_text(threat.eps)}, {threat.budget:g} forward equivalents per "
        f"image, {len(record.data.images)} images of {record.data.name}, {sources} "
        f"{'source' if sources == 1 else 'sources'}, {targets} "
        f"{'target' if targets == 1 else 'targets'} of another backbone"
    )


def print_leaderboard(board: Leaderboard, console: Console) -> None:
    """Print the ranks, the drops with their intervals, and the attacks without a rank.

    Args:
        board: The leaderboard.
        console: The terminal.
    """
    record = board.record
    console.print(f"\n[bold]{escape(record.name)}[/bold]: {escape(threat_in_words(record))}")
    table = Table()
    drop = f"drop in {quality(record.statistic.drop_of)}, points"
    for head in ("rank", "attack", drop, "behind the first", "cost"):
        table.add_column(head, justify="left" if head == "attack" else "right")
    for attack in record.attacks:
        table.add_row(
            str(attack.rank),
            escape(attack.name),
            _shown(attack.drop),
            "" if attack is record.attacks[0] else _shown(attack.behind),
            cost_in_words(attack),
        )
    console.print(table)
    console.print(finding(record), highlight=False, markup=False)
    for name, reason in record.left_out.items():
        console.print(f"  Not ranked: {escape(name)}, {escape(reason)}", style="dim")
    for note in record.notes:
        console.print(f"  {escape(note)}", style="dim", highlight=False)


def cost_in_words(attack: AttackRecord) -> str:
    """Return the measured cost of an attack, or a dash for AEs made elsewhere and for noise."""
    return "–" if attack.cost.measured is None else f"{attack.cost.measured:.1f}"


def _shown(interval: IntervalRecord) -> str:
    if interval.low is None or interval.high is None:
        return signed_number(interval.value, 1)
    low, high = (signed_number(bound, 1) for bound in (interval.low, interval.high))
    return f"{signed_number(interval.value, 1)} [{low}, {high}]"


def write_leaderboard(board: Leaderboard) -> Path:
    """Write leaderboard.json and leaderboard.html into the experiment's report folder.

    Args:
        board: The leaderboard.

    Returns:
        The folder.
    """
    results, record = board.results, board.record
    folder = report_folder(results)
    folder.mkdir(parents=True, exist_ok=True)
    write_record(record, folder / DOCUMENT)
    page = draw_leaderboard(
        board,
        title=threat_in_words(record),
        finding=finding(record),
        document=DOCUMENT,
    )
    (folder / LEADERBOARD_PAGE).write_text(page, encoding="utf-8")
    best = record.attacks[0]
    entry = IndexEntry(
        kind="leaderboard",
        store=results.store.location,
        identity=results.identity,
        title=results.name,
        when=when(results),
        about=about(results),
        finding=finding(record),
        numbers={f"drop under {best.name}": f"{best.drop.value:.1f}"}
        if math.isfinite(best.drop.value)
        else {},
        files={"Leaderboard": LEADERBOARD_PAGE, "Document": DOCUMENT},
    )
    write_entry(entry, folder)
    return folder


def print_verification_of(answer: Verification, path: str, console: Console) -> None:
    """Print the contradictions of a leaderboard's document, or its sound parts.

    Args:
        answer: The answer of the check.
        path: The document's file, as given.
        console: The terminal.
    """
    for problem in answer.problems:
        console.print(f"[red]wrong:[/red] {escape(problem)}", highlight=False)
    if answer.problems:
        return
    record = answer.record
    console.print(
        f"{escape(path)} is sound: {len(record.attacks)} attacks, {threat_in_words(record)}. "
        "Ranks, keys, bounds and budgets follow from the recorded numbers.",
        highlight=False,
    )
    compared = (
        f"AEs, labels and scores are those of store {answer.store}."
        if answer.store
        else "AEs and scores were not compared with a store; give the store as --store."
    )
    console.print(compared, highlight=False, markup=False)
