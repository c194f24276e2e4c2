"""The live view as a picture: totals, a bar, a row a slot. Figures in, renderables out.

Every column has a width that depends on the terminal alone, so nothing jumps as work goes on.
"""

from collections import Counter
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from segtransfer.runtime.status import SlotStatus, Status

ROWS = 12  # of the table; with more slots than that there is a row a model
UNKNOWN = "–"


@dataclass(frozen=True)
class Figures:
    """How far a run is. Work is in image forwards; ``left`` in seconds, None while unknown."""

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
        """Rounded down: 100 means that nothing is left."""
        if self.ended >= self.tasks:
            return 100
        return min(99, int(100 * self.settled / self.total)) if self.total else 0


def picture(figures: Figures, status: Status | None, age: float, height: int) -> RenderableType:
    """Totals, bar, table and a line below; ``age`` is how old the status is, in seconds."""
    parts: list[RenderableType] = [totals(figures, status), bar(figures)]
    rows = max(3, min(ROWS, height - 6))
    if status is not None and status.slots:
        by_slot = len(status.slots) <= rows
        parts.append(_slots(status.slots, age) if by_slot else _models(status.slots, rows))
        parts.append(_below(status))
    return Group(*parts)


def totals(figures: Figures, status: Status | None) -> Text:
    """The one line that says how far a run is."""
    tasks = f"{figures.tasks:,}"
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{figures.percent:3d} %", style="bold")
    line.append(f"  {figures.ended:>{len(tasks)},}/{tasks} tasks")
    line.append(f"  {number(figures.rate):>5} forwards/s", style="cyan")
    line.append(f"  {clock(figures.elapsed)}")
    line.append(
        f"  ETA {UNKNOWN if figures.left is None else rough(figures.left):<6}", style="green"
    )
    if figures.failed:
        line.append(f"  {figures.failed:,} failed", style="red")
    if figures.retries:
        line.append(f"  {plural(figures.retries, 'retry', 'retries')}", style="yellow")
    if status is not None and (loading := status.slot_states()["loading"]):
        line.append(f"  {plural(loading, 'slot')} loading", style="dim")
    return line


def at_work(status: Status) -> str:
    """How many of the slots work."""
    return f"{status.slot_states()['working']} of {plural(len(status.slots), 'slot')} at work"


def bar(figures: Figures) -> RenderableType:
    """The share of the work that is settled, over the whole width."""
    full = figures.ended >= figures.tasks
    share = ProgressBar(
        total=figures.total or 1.0,
        completed=figures.total or 1.0 if full else figures.settled,
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
class _Replicas:
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
    """A row a model, those with most replicas first; what does not fit is one row."""
    replicas = Counter(slot.model or "no model" for slot in slots)
    order = sorted(replicas, key=lambda name: (-replicas[name], name))
    alone = order if len(order) <= rows else order[: rows - 1]
    titles = {name: name for name in alone} | {
        name: f"{len(order) - len(alone)} other models" for name in order[len(alone) :]
    }
    models: dict[str, _Replicas] = {title: _Replicas() for title in titles.values()}
    for slot in slots:
        models[titles[slot.model or "no model"]].add(slot)
    table = _table()
    table.add_column("model", ratio=1, no_wrap=True)
    widths = {"slots": 5, "at work": 8, "loading": 8, "queue": 6, "rate": 7, "done": 9}
    for title, width in widths.items():
        table.add_column(title, justify="right", width=width, no_wrap=True)
    for title, found in models.items():
        counts = (found.slots, found.working, found.loading, found.queued)
        cells = [f"{count:,}" for count in counts]
        table.add_row(Text(title), *cells, number(found.rate), f"{found.done:,}")
    return table


def _table() -> Table:
    return Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")


def _below(status: Status) -> Text:
    """What the driver as a whole has before it."""
    counts = status.counts
    parts = [f"{counts.get(state, 0):,} {state}" for state in ("running", "ready", "blocked")]
    used, budget = status.in_flight_bytes / 2**20, status.budget_bytes / 2**20
    parts.append(f"{used:,.0f} of {budget:,.0f} MiB in flight")
    if status.clients > 1:
        parts.append(f"shared with {plural(status.clients - 1, 'other client')}")
    return Text("  ·  ".join(parts), style="dim", no_wrap=True, overflow="ellipsis")


def number(value: float) -> str:
    """A rate: two digits where it is small, a dash where there is none."""
    if value <= 0:
        return UNKNOWN
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def clock(seconds: float) -> str:
    """Time that has passed: 0:07, 12:03, 3:12:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def rough(seconds: float) -> str:
    """A time that need not be exact: 7 s, 12 min, 3 h 10 m, 2 d 4 h."""
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
