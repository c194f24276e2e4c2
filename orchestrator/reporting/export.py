"""How far an export is, and what it left."""

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segtransfer.export import Exported
from segtransfer.reporting.progress import LINE_EVERY


class ExportView:
    """Hears of shards that are done: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = TextColumn("Exporting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=None)
        self._lively = console.is_terminal and not console.is_dumb_terminal
        self._last_line = time.monotonic()

    def __call__(self, done: int, shards: int) -> None:
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


def print_exported(exported: Exported, console: Console) -> None:
    """Where an export lies, how large it is, and what it lacks."""
    console.print(
        f"Exported {exported.name} to {exported.folder}: {exported.files:,} files, "
        f"{exported.nbytes / 2**20:,.1f} MiB.",
        highlight=False,
    )
    for note in exported.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", highlight=False)
