"""How far a run is: a live bar on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as BarTask
from rich.text import Text

from orchestrator.driver import Notice
from orchestrator.plan import Plan

LINE_EVERY = 10.0  # seconds between plain lines


class _Rate(ProgressColumn):
    """Work a second, in image forwards."""

    def render(self, task: BarTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} forwards/s" if speed else "– forwards/s", style="cyan")


class ProgressView:
    """Listens to an experiment; the clock starts when all slots are warm.

    Work is counted in image forwards (a backward as 1.5), so that rate and ETA hold although
    attacks cost far more than evaluations.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._total = self._done = 0.0
        self._tasks = self._finished = 0
        self._began = self._last_line = time.monotonic()
        self.model_seconds = 0.0
        self.wall_seconds = 0.0

    def planned(self, plan: Plan) -> None:
        missing = plan.missing
        stored = len(plan.tasks) - len(missing)
        if not missing:
            self._console.print(
                f"Nothing to compute: all {len(plan.tasks)} results are in the store."
            )
            return
        self._total, self._tasks = sum(task.cost for task in missing), len(missing)
        self._console.print(
            f"{len(plan.tasks)} tasks, {stored} of them already in the store; "
            f"{len(plan.models)} models, {sum(len(s.images) for s in plan.shards.values())} images."
        )
        self._console.print("Starting the models ...")

    def notice(self, notice: Notice) -> None:
        if notice.kind == "ready" and not self._finished:
            self._start()
        elif notice.kind in ("done", "failed", "skipped"):
            self._finished += 1
            self._done += notice.cost
            self.model_seconds += notice.model_seconds
            self._advance(notice.cost)
        elif (
            notice.kind in ("retried", "slot") and notice.message and "is up" not in notice.message
        ):
            self._console.print(f"[yellow]{notice.message.splitlines()[-1]}[/yellow]")
        elif notice.kind == "finished":
            self.wall_seconds = time.monotonic() - self._began
            self.stop()

    def stop(self) -> None:
        """Leave the terminal as it was found."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _start(self) -> None:
        self._began = self._last_line = time.monotonic()
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.percentage:>3.0f} %"),
            BarColumn(),
            TextColumn("{task.fields[tasks]}"),
            _Rate(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self._console,
            speed_estimate_period=60,
        )
        self._bar.start()
        self._bar.add_task("", total=self._total, tasks=f"0/{self._tasks} tasks")

    def _advance(self, cost: float) -> None:
        now = time.monotonic()
        if self._bar is not None:
            bar = self._bar.task_ids[0]
            self._bar.update(bar, advance=cost, tasks=f"{self._finished}/{self._tasks} tasks")
        elif now - self._last_line >= LINE_EVERY:
            self._last_line = now
            rate = self._done / (now - self._began)
            eta = (self._total - self._done) / rate if rate else float("inf")
            self._console.print(
                f"{100 * self._done / self._total:3.0f} %  {self._finished}/{self._tasks} tasks  "
                f"{rate:.0f} forwards/s  ETA {eta:.0f} s",
                highlight=False,
            )
