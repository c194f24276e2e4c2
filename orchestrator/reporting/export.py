"""Progress and result of an export, on the terminal."""

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segtransfer.export import Exported
from segtransfer.reporting.progress import LINE_EVERY
from segtransfer.reporting.terminal import print_warnings


class ExportView:
    """Progress of an export: a bar on a terminal, else a line every ``LINE_EVERY`` seconds.

    Called with the number of finished shards and of all shards.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = TextColumn("Exporting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=None)
        self._lively = console.is_terminal and not console.is_dumb_terminal
        self._last_line = time.monotonic()

    def __call__(self, done: int, shards: int) -> None:
        """Show progress: on a terminal a bar, else a line every ``LINE_EVERY`` seconds.

        Args:
            done: Exported shards.
            shards: All shards.
        """
        self._bar.update(self._task, completed=done, total=shards)
        if not self._lively and time.monotonic() - self._last_line > LINE_EVERY:
            self._last_line = time.monotonic()
            self._console.print(f"Exported {done} of {shards} shards", highlight=False)

    def __enter__(self) -> "ExportView":
        if self._lively:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lively:
            self._bar.stop()


def print_export(summary: Exported, console: Console) -> None:
    """Print an export's folder, size, notes and warnings.

    Args:
        summary: The export.
        console: The terminal.
    """
    console.print(
        f"Exported {summary.name} to {summary.folder}: {summary.files:,} files, "
        f"{summary.nbytes / 2**20:,.1f} MiB.",
        highlight=False,
    )
    for note in summary.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", highlight=False)
    print_warnings(summary.warnings, console)
