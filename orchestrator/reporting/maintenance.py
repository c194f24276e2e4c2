"""Reports of store maintenance on the terminal."""

from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segtransfer.store import Store
from segtransfer.store.maintenance import (
    CompactReport,
    Damage,
    Garbage,
    GarbageReport,
    MergeReport,
    VerifyReport,
)

FILES_PER_KIND = 20  # printed by name
DAMAGE_STYLES = {"damaged": "red", "orphaned": "yellow", "partial": "yellow", "foreign": "dim"}


def print_verification(report: VerifyReport, store: Store, console: Console) -> None:
    """Print a sentence per faulty file, and the amount of data read.

    Args:
        report: The findings.
        store: The verified store.
        console: The terminal; of each kind, the first 20 files are printed.
    """
    kinds = defaultdict(list)
    for finding in report.findings:
        kinds[finding.kind].append(finding)
    for kind, findings in kinds.items():
        console.print(f"[{DAMAGE_STYLES[kind]}]{len(findings)} {kind}:[/{DAMAGE_STYLES[kind]}]")
        for finding in findings[:FILES_PER_KIND]:
            console.print(f"  {escape(finding.path)}: {escape(finding.sentence)}", highlight=False)
        if len(findings) > FILES_PER_KIND:
            console.print(f"  and {len(findings) - FILES_PER_KIND} more")
    console.print(
        f"Read {report.rows:,} rows, {report.blobs:,} blobs, {report.shards:,} shards and "
        f"{report.experiments:,} experiments ({_size(report.nbytes)}) of {store.location}: "
        + ("all are sound." if report.sound else f"{len(kinds['damaged'])} are damaged."),
        highlight=False,
    )


def print_damage(damages: Sequence[Damage], console: Console) -> None:
    """Print a sentence per damaged file, for the first files by name.

    Args:
        damages: The damaged files.
        console: The terminal; the first 20 files are printed.
    """
    for damage in damages[:FILES_PER_KIND]:
        console.print(f"  {escape(damage.path)}: {escape(damage.sentence)}", highlight=False)
    if len(damages) > FILES_PER_KIND:
        console.print(f"  and {len(damages) - FILES_PER_KIND} more")
    if not damages:
        console.print("Nothing is damaged.")


def print_merge(report: MergeReport, other: Store, console: Console) -> None:
    """Print the amount of data copied from a store, and notes about omissions.

    Args:
        report: The copied amounts.
        other: The store copied from.
        console: The terminal.
    """
    console.print(
        f"Copied {report.rows:,} results ({_size(report.nbytes)}), {report.shards:,} shards and "
        f"{report.experiments:,} experiments from {other.location}.",
        highlight=False,
    )
    for note in report.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", highlight=False)


def print_compaction(report: CompactReport, console: Console) -> None:
    """Print the numbers of compacted rows and files, and damaged files.

    Args:
        report: The written and the replaced files.
        console: The terminal.
    """
    if report.rows:
        console.print(
            f"Wrote {report.rows:,} rows into {report.files:,} files, in place of "
            f"{report.replaced:,}."
        )
    else:
        console.print("Nothing to compact.")
    for path in report.left:
        console.print(
            f"[yellow]{path} is damaged and was kept; run segtransfer store verify[/yellow]",
            highlight=False,
        )


def print_garbage(report: GarbageReport, console: Console) -> None:
    """Print number and size of removable items per reason, and the first items by name.

    Args:
        report: The removable items; nothing is deleted here.
        console: The terminal; the first 20 items are printed.
    """
    reasons: dict[str, list[Garbage]] = defaultdict(list)
    for item in report.garbage:
        reasons[item.reason].append(item)
    if reasons:
        table = Table("", "number", "size")
        for column in table.columns[1:]:
            column.justify = "right"
        for reason, items in reasons.items():
            number = sum(len(item.keys) or 1 for item in items)
            table.add_row(reason, f"{number:,}", _size(sum(item.nbytes for item in items)))
        console.print(table)
        for item in report.garbage[:FILES_PER_KIND]:
            rows = f" ({len(item.keys)} of its rows)" if item.keys else ""
            console.print(f"  {escape(item.info.path)}{rows}", highlight=False)
        if len(report.garbage) > FILES_PER_KIND:
            console.print(f"  and {len(report.garbage) - FILES_PER_KIND} more")
    else:
        console.print("Nothing to remove.")
    for note in report.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", highlight=False)


def print_freed(nbytes: int, console: Console) -> None:
    """Print the number of freed bytes."""
    console.print(f"Freed {_size(nbytes)}.")


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.1f} MiB"
