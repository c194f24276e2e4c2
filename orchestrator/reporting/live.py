"""Live view of a run: totals, a bar, and a row per slot, as Rich renderables.

The widths of columns depend on the terminal only, which keeps the view still during a run.
"""

from collections import Counter
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from segtransfer.runtime.status import SlotStatus, Status

MOST_ROWS = 12  # of the table; with more slots it has a row per model
UNKNOWN = "–"


@dataclass(frozen=True)
class RunProgress:
    """Progress of a run.

    Attributes:
        settled: Ended work in image forwards.
        total: All work in image forwards.
        ended: Number of ended tasks.
        tasks: Number of all tasks.
        rate: Image forwards per second; 0 before an attack has ended.
        elapsed: Seconds since the start.
        left: Estimated seconds to the end; None if unknown.
        retries: Number of retries.
        failed: Number of failed and skipped tasks.
    """

    settled: float
    total: float
    ended: int
    tasks: int
    rate: float
    elapsed: float
    left: float | None
    retries: int
    failed: int

    @property
    def percent(self) -> int:
        """Share of the work in percent, rounded down; 100 only if all tasks have ended."""
        if self.ended >= self.tasks:
            return 100
        return min(99, int(100 * self.settled / self.total)) if self.total else 0


def live_view(
    progress: RunProgress, status: Status | None, age: float, height: int
) -> RenderableType:
    """Return totals, a bar, a table of slots or models, and a line of the driver's state.

    Args:
        progress: The run's progress.
        status: The driver's last status, or None.
        age: Seconds since this status.
        height: Lines of the terminal.
    """
    parts: list[RenderableType] = [totals(progress, status), bar(progress)]
    rows = max(3, min(MOST_ROWS, height - 6))
    if status is not None and status.slots:
        by_slot = len(status.slots) <= rows
        parts.append(_slots(status.slots, age) if by_slot else _models(status.slots, rows))
        parts.append(_below(status))
    return Group(*parts)


def totals(progress: RunProgress, status: Status | None) -> Text:
    """Return a line with share, tasks, rate, time, failures and retries.

    Args:
        progress: The run's progress.
        status: The driver's last status; None leaves out the slots loading models.

    Returns:
        A line cut at the terminal's width: percent, ended of all tasks, image forwards per second
        (if known), elapsed time and time left; then failures, retries and loading slots, if any.
    """
    tasks = f"{progress.tasks:,}"
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{progress.percent:3d} %", style="bold")
    line.append(f"  {progress.ended:>{len(tasks)},}/{tasks} tasks")
    if progress.rate:
        line.append(f"  {number(progress.rate):>5} forwards/s", style="cyan")
    line.append(f"  {clock(progress.elapsed)}")
    line.append(
        f"  ETA {UNKNOWN if progress.left is None else rough(progress.left):<6}", style="green"
    )
    if progress.failed:
        line.append(f"  {progress.failed:,} failed", style="red")
    if progress.retries:
        line.append(f"  {plural(progress.retries, 'retry', 'retries')}", style="yellow")
    if status is not None and (loading := status.slot_states()["loading"]):
        line.append(f"  {plural(loading, 'slot')} loading", style="dim")
    return line


def at_work(status: Status) -> str:
    """Return a phrase with the number of working slots."""
    return f"{status.slot_states()['working']} of {plural(len(status.slots), 'slot')} at work"


def bar(progress: RunProgress) -> RenderableType:
    """Return a bar over the terminal's width for the share of ended work."""
    full = progress.ended >= progress.tasks
    share = ProgressBar(
        total=progress.total or 1.0,
        completed=progress.total or 1.0 if full else progress.settled,
        complete_style="cyan",
        finished_style="green",
    )
    return Padding(share, 0)  # a bar by itself does not end its line


def _slots(slots: tuple[SlotStatus, ...], age: float) -> Table:
    table = _table()
    table.add_column("slot", width=9, no_wrap=True)
    table.add_column("model", ratio=2, no_wrap=True)
    table.add_column("task", ratio=3, no_wrap=True)
    for title, width in {"for": 8, "queue": 6, "rate": 6, "done": 6}.items():
        table.add_column(title, justify="right", width=width, no_wrap=True)
    for slot in slots:
        idle = slot.state == "idle"
        table.add_row(
            Text(slot.slot_id),
            Text(slot.model or UNKNOWN),
            Text("loading" if slot.loading else slot.task or "idle"),
            "" if idle else rough(slot.seconds + age),
            str(slot.queued),
            number(slot.rate),
            f"{slot.done:,}",
            style={"idle": "dim", "loading": "yellow", "working": ""}[slot.state],
        )
    return table


@dataclass
class _ReplicaTotals:
    slots: int = 0
    working: int = 0
    loading: int = 0
    queued: int = 0
    done: int = 0
    rate: float = 0.0

    def add(self, slot: SlotStatus) -> None:
        self.slots += 1
        self.working += slot.state == "working"
        self.loading += slot.state == "loading"
        self.queued += slot.queued
        self.done += slot.done
        self.rate += slot.rate


def _models(slots: tuple[SlotStatus, ...], rows: int) -> Table:
    """Return a table with a row per model, most replicas first; the last row sums the rest."""
    replicas = Counter(slot.model or "no model" for slot in slots)
    order = sorted(replicas, key=lambda name: (-replicas[name], name))
    alone = order if len(order) <= rows else order[: rows - 1]
    titles = {name: name for name in alone} | {
        name: f"{len(order) - len(alone)} other models" for name in order[len(alone) :]
    }
    models: dict[str, _ReplicaTotals] = {title: _ReplicaTotals() for title in titles.values()}
    for slot in slots:
        models[titles[slot.model or "no model"]].add(slot)
    table = _table()
    table.add_column("model", ratio=1, no_wrap=True)
    widths = {"slots": 5, "at work": 8, "loading": 8, "queue": 6, "rate": 7, "done": 9}
    for title, width in widths.items():
        table.add_column(title, justify="right", width=width, no_wrap=True)
    for title, model in models.items():
        counts = (model.slots, model.working, model.loading, model.queued)
        cells = [f"{count:,}" for count in counts]
        table.add_row(Text(title), *cells, number(model.rate), f"{model.done:,}")
    return table


def _table() -> Table:
    return Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")


def _below(status: Status) -> Text:
    """Return a line with the driver's task counts, bytes in flight and clients."""
    counts = status.counts
    parts = [f"{counts.get(state, 0):,} {state}" for state in ("running", "ready", "blocked")]
    used, budget = status.in_flight_bytes / 2**20, status.budget_bytes / 2**20
    parts.append(f"{used:,.0f} of {budget:,.0f} MiB in flight")
    if status.clients > 1:
        parts.append(f"shared with {plural(status.clients - 1, 'other client')}")
    return Text("  ·  ".join(parts), style="dim", no_wrap=True, overflow="ellipsis")


def number(value: float) -> str:
    """Return a rate, with a decimal below 10 and a dash for zero.

    Args:
        value: Image forwards per second.
    """
    if value <= 0:
        return UNKNOWN
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun, for example ``1 task`` or ``2 tasks``.

    Args:
        count: The count.
        one: The singular noun.
        many: The plural noun. Default: the singular noun and an s.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def clock(seconds: float) -> str:
    """Return elapsed time: 0:07, 12:03, 3:12:03.

    Args:
        seconds: The time; fractions are cut.
    """
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def rough(seconds: float) -> str:
    """Return an approximate duration: 7 s, 12 min, 3 h 10 m, 2 d 4 h.

    Args:
        seconds: The duration.

    Returns:
        At most two units: seconds below 100 s, minutes below 100 min, hours below 48 h, then days.
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minute = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minute} m"
    days, hour = divmod(hours, 24)
    return f"{days} d {hour} h"
