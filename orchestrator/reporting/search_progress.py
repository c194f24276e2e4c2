"""Progress of a search: a live table of trials on a terminal, else a line per trial."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from segtransfer.reporting.live import clock, plural
from segtransfer.reporting.progress import ProgressView
from segtransfer.runtime.listener import Listener
from segtransfer.searches import SearchListener
from segtransfer.searches.context import SearchContext
from segtransfer.searches.optuna_study import Trial, ranked
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.schema import written

MOST_COLUMNS = 6  # fields with a column each
RECENT_TRIALS = 10  # rows of the table
STATE_STYLES = {"running": "yellow", "failed": "red", "pruned": "dim", "complete": ""}


class SearchView(SearchListener):
    """Listener of a search; ``progress`` is the listener of its confirmation."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self.progress = ProgressView(console)
        self._console = console
        self._now = now
        self._began = now()
        self._lively = console.is_terminal and not console.is_dumb_terminal
        self._live: Live | None = None
        self._context: SearchContext | None = None
        self._trials: list[Trial] = []
        self._printed: set[int] = set()

    def begun(self, context: SearchContext, before: list[Trial]) -> None:
        """Print the search's space, models and images, and the number of earlier trials.

        Args:
            context: The search with its images and rungs.
            before: Trials ended before the search was resumed.
        """
        search, outlines = context.search, context.outlines
        images = sum(len(outline.image_ids) for outline in outlines)
        rungs = ", ".join(
            str(sum(len(outline.image_ids) for outline in outlines[:count]))
            for count in context.rungs
        )
        self._context = context
        self._console.print(
            f"{search.name}: {plural(search.search.trials, 'trial')} in space "
            f"'{context.space.name}', {search.search.concurrency} at once, on {images} images of "
            f"{context.manifest.dataset} (rungs of {rungs}); "
            f"from {', '.join(search.sources)} to {', '.join(search.targets)}.",
            highlight=False,
        )
        if before:
            self._console.print(f"{plural(len(before), 'trial')} ended before.", highlight=False)
            self._printed = {trial.number for trial in before}
        if len(before) < search.search.trials:
            self._console.print("Starting the models ...")

    def trials(self, trials: list[Trial]) -> None:
        """Show all trials, after a trial began, reached a rung or ended.

        Args:
            trials: All trials so far, in order.
        """
        self._trials = trials
        if self._lively:
            self._show()
            return
        for trial in trials:
            if trial.state != "running" and trial.number not in self._printed:
                self._printed.add(trial.number)
                self._console.print(self._line(trial), highlight=False, markup=False)

    def confirming(self, best: list[AttackSpec]) -> Listener:
        """Print the attacks to confirm; return the listener of their confirmation.

        Args:
            best: The attacks to confirm.

        Returns:
            The view of the confirming experiment.
        """
        self._stop()
        assert self._context is not None
        confirm = self._context.search.confirm
        names = (b if isinstance(b, str) else str(b.get("name")) for b in confirm.baselines)
        held_out = ", ".join(confirm.held_out) or "no held-out model"
        self._console.print(
            f"\nConfirming {', '.join(attack.name for attack in best)} against "
            f"{', '.join(names)} on images that the search did not use, and on {held_out}.",
            highlight=False,
        )
        return self.progress

    def comparing(self, context: SearchContext) -> None:
        """Print which random search begins, and show its trials."""
        self._stop()
        self._context, self._trials, self._printed = context, [], set()
        name = context.search.name
        self._console.print(f"\nRandom search to compare with: {name}", highlight=False)

    def stop(self) -> None:
        """Restore the terminal."""
        self._stop()
        self.progress.stop()

    def _stop(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _line(self, trial: Trial) -> str:
        assert self._context is not None
        point = ", ".join(f"{short(k)} {show(v)}" for k, v in trial.point.items())
        outcome = trial.reason or "no score"
        if trial.score is not None and trial.state != "failed":
            values = (f"{name} {value:.2f}" for name, value in trial.score.objectives.items())
            outcome = f"{', '.join(values)} on {trial.score.images} images"
        return f"trial {trial.number:>3} {trial.state:<8} {outcome}  ({point})"

    def _show(self) -> None:
        if self._live is None:
            self._live = Live(
                get_renderable=self._picture, console=self._console, refresh_per_second=1
            )
            self._live.start(refresh=True)

    def _picture(self) -> RenderableType:
        assert self._context is not None
        best = ranked(self._trials)[:1]
        shown = self._trials[-RECENT_TRIALS:]
        fields = list(self._context.space.fields)
        table = trials_table(shown, fields, self._context.search.search.objectives, best)
        counts = {state: sum(t.state == state for t in self._trials) for state in STATE_STYLES}
        line = Text("  ".join(f"{count} {state}" for state, count in counts.items() if count))
        total = self._context.search.search.trials
        done = len(self._trials) - counts["running"]
        line.append(f"  ·  {done} of {total} trials  {clock(self._now() - self._began)}", "bold")
        return Group(table, line)


def trials_table(
    trials: Sequence[Trial],
    fields: Sequence[str],
    objectives: Sequence[str],
    best: Sequence[Trial] = (),
) -> Table:
    """Return a table of trials: state, point, images and objectives.

    Args:
        trials: The trials of the upper part.
        fields: Paths of the searched fields.
        objectives: Names of the objectives.
        best: Trials of the lower part.
    """
    apart = len(fields) <= MOST_COLUMNS
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    table.add_column("trial", justify="right", no_wrap=True, width=6)
    table.add_column("state", no_wrap=True, width=8)
    for path in fields if apart else ():
        table.add_column(short(path), justify="right", overflow="ellipsis", no_wrap=True)
    if not apart:
        table.add_column("settings", ratio=1, overflow="ellipsis", no_wrap=True)
    for name in ("images", *objectives):
        table.add_column(name, justify="right", no_wrap=True, width=8)
    for trial in trials:
        table.add_row(*_cells(trial, fields, objectives, apart), style=STATE_STYLES[trial.state])
    if best:
        table.add_section()
    for trial in best:
        number, _, *rest = _cells(trial, fields, objectives, apart)
        table.add_row(number, "best", *rest, style="bold green")
    return table


def _cells(
    trial: Trial, fields: Sequence[str], objectives: Sequence[str], apart: bool
) -> list[str]:
    point = [show(trial.point[path]) if path in trial.point else "" for path in fields]
    if not apart:
        point = [", ".join(f"{short(k)} {show(v)}" for k, v in trial.point.items())]
    values = [""] * (1 + len(objectives))
    if trial.score is not None:
        scores = (f"{trial.score.objectives[name]:.2f}" for name in objectives)
        values = [str(trial.score.images), *scores]
    return [str(trial.number), trial.state, *point, *values]


def short(path: str) -> str:
    """Return a field's path without the common prefix of transforms.

    Args:
        path: For example ``transforms.ds.low``.
    """
    return path.removeprefix("transforms.")


def show(value: Any) -> str:
    """Return a point's value as a short text.

    Args:
        value: A bool (on, off), a number (three digits, or a fraction such as 4/255), or a name.
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        text = written(value)
        return text if "/" in text else f"{value:.3g}"
    return str(value)
