"""Progress of a run: a live view on a terminal, else plain lines."""

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.status import Status as Spinner
from rich.text import Text

from segtransfer.errors import reason_of
from segtransfer.reporting.live import (
    RunProgress,
    at_work,
    bar,
    live_view,
    totals,
)
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.status import Status

if TYPE_CHECKING:
    from segtransfer.experiment.plan import Plan
    from segtransfer.runtime.sessions import Notice

LINE_EVERY = 10.0  # seconds between plain lines, and between equal warnings
REFRESH_RATE = 1  # views per second; a view takes 5 to 10 ms of a core that models need
RATE_HORIZON = 60.0  # seconds of the rate's window; half of the run if that is more


class Pace:
    """Estimator of a run's rate, smooth although tasks end in batches."""

    def __init__(self, now: float) -> None:
        self._began = self._last = now
        self._longest = 0.0  # seconds between two ends of tasks
        self._done = 0.0
        self._points: deque[tuple[float, float]] = deque([(now, 0.0)])

    def advance(self, cost: float, now: float) -> None:
        """Record ended work of ``cost`` image forwards.

        Args:
            cost: Image forwards of the ended tasks.
            now: The clock in seconds.
        """
        self._longest = max(self._longest, now - self._last)
        self._last = now
        self._done += cost
        self._points.append((now, self._done))
        horizon = now - max(RATE_HORIZON, (now - self._began) / 2)
        while len(self._points) > 2 and self._points[1][0] <= horizon:
            self._points.popleft()

    def rate(self, now: float) -> float:
        """Return recent image forwards per second.

        The rate falls if the time since the last end exceeds all earlier intervals.

        Args:
            now: The clock in seconds.

        Returns:
            The mean over the last 60 s, or over half of the run if that is longer; 0 before the
            first end of a task.
        """
        start, done = self._points[0]
        until = max(self._last, now - self._longest)
        return (self._done - done) / (until - start) if until > start else 0.0


class ProgressView(Listener):
    """Listener that shows an experiment's progress; its clock starts with the view.

    Work is counted in image forwards (a backward as 1.5), because attacks cost far more than
    evaluations. The ETA is the driver's.
    """

    def __init__(
        self,
        console: Console,
        now: Callable[[], float] = time.monotonic,
        line_every: float = LINE_EVERY,
    ) -> None:
        """Prepare the view.

        Args:
            console: The console to print to.
            now: Clock in seconds.
            line_every: Seconds between lines where there is no live view.
        """
        self._console = console
        self._line_every = line_every
        self._now = now
        # A dumb terminal cannot move its cursor, so it gets lines like a file.
        self._lively = console.is_terminal and not console.is_dumb_terminal
        self._live: Live | None = None
        self._spinner: Spinner | None = None  # on a terminal, before the live view
        self._stage = ""
        self._closing = False
        self._moved: list[tuple[logging.StreamHandler, TextIO]] = []  # with their old streams
        self._costs: dict[str, float] = {}  # of planned tasks that have not ended
        self._attacks: set[str] = set()  # with a source, until the first has ended
        self._total = self._settled = 0.0
        self._tasks = self._ended = self._failed = self._retries = 0
        self._status: Status | None = None
        self._status_time = self._began = self._last_line = now()
        self._pace = Pace(self._began)
        self._warned: dict[str, float] = {}
        self.model_seconds = 0.0

    @property
    def wall_seconds(self) -> float:
        """Seconds since the view was made."""
        return self._now() - self._began

    def stage(self, text: str, detail: str = "") -> None:
        """Show a stage before the first task: on an updated line, or on few lines."""
        line = f"{text}: {detail} ..." if detail else f"{text} ..."
        now = self._now()
        if self._lively:
            if self._spinner is None:
                self._spinner = self._console.status(Text(line))
                self._spinner.start()
            else:
                self._spinner.update(Text(line))
        elif text != self._stage or now - self._last_line >= self._line_every:
            self._last_line = now
            self._console.print(line, highlight=False, markup=False)
        self._stage = text

    def planned(self, plan: "Plan") -> None:
        """Print the numbers of tasks, models and images, and start the clock."""
        missing = plan.missing
        stored = len(plan.tasks) - len(missing)
        if not missing:
            self._console.print(
                f"Nothing to compute: all {len(plan.tasks)} results are in the store."
            )
            return
        self._costs = {task.key: task.cost for task in missing}
        self._attacks = {t.key for t in missing if t.kind == "attack" and t.model is not None}
        self._total, self._tasks = sum(self._costs.values()), len(missing)
        images = sum(len(shard.image_ids) for shard in plan.shards.values())
        self._console.print(
            f"{len(plan.tasks)} tasks, {stored} of them already in the store; "
            f"{len(plan.models)} models, {images} images."
        )

    def notice(self, notice: "Notice") -> None:
        """Count an ended or retried task, or print a warning."""
        if notice.kind == "ready":
            if not self._ended:
                self._pace = Pace(self._now())
            if self._lively:
                self._show()
        elif notice.kind in ("done", "failed", "skipped"):
            self._end(notice)
        elif notice.kind == "retried":
            self._retries += 1
            self._warn(notice.message, "yellow")
        elif notice.kind == "slot" and "is up" not in notice.message:
            self._warn(notice.message, "yellow")
        elif notice.kind == "finished":
            self.stop()

    def status(self, status: Status) -> None:
        """Show the driver's status."""
        self._status, self._status_time = status, self._now()
        if self._ended >= self._tasks:
            return
        if self._lively:
            self._show()
        else:
            self._line_now_and_then()

    def stop(self) -> None:
        """Restore the terminal below the last totals."""
        self._stop_spinner()
        if self._live is None:
            return
        live, self._live = self._live, None
        for handler, stream in self._moved:
            handler.setStream(stream)
        self._moved.clear()
        self._closing = True
        live.stop()
        self._closing = False

    def _stop_spinner(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def _end(self, notice: "Notice") -> None:
        cost = self._costs.pop(notice.key, None)
        if cost is None:
            # A stored result turned out corrupt, and its task is computed again.
            cost = notice.cost
            self._total += cost
            self._tasks += 1
        self._ended += 1
        self._settled += cost
        self.model_seconds += notice.model_seconds
        if notice.kind == "done":
            self._pace.advance(cost, self._now())
            if notice.key in self._attacks:
                self._attacks.clear()
        else:
            self._failed += 1
        if notice.kind == "failed":
            self._warn(notice.message, "red")
        if not self._lively:
            if self._ended == 1:
                self._last_line = -math.inf  # the first end is shown at once
            self._line_now_and_then()

    def _progress(self) -> RunProgress:
        now, left = self._now(), None
        if self._status is not None and self._status.seconds_left is not None:
            left = max(0.0, self._status.seconds_left - (now - self._status_time))
        return RunProgress(
            settled=self._settled,
            total=self._total,
            ended=self._ended,
            tasks=self._tasks,
            rate=0.0 if self._attacks else self._pace.rate(now),
            elapsed=now - self._began,
            left=left,
            retries=self._retries,
            failed=self._failed,
        )

    def _warn(self, message: str, style: str) -> None:
        """Print the reason in a message, unless it was printed within ``LINE_EVERY`` seconds.

        A node's death gives an equal message for each of its calls.
        """
        reason, now = reason_of(message), self._now()
        if reason and now - self._warned.get(reason, -LINE_EVERY) >= LINE_EVERY:
            self._warned[reason] = now
            self._console.print(Text(reason, style=style))

    def _line_now_and_then(self) -> None:
        now = self._now()
        if now - self._last_line < self._line_every:
            return
        self._last_line = now
        line = totals(self._progress(), self._status).plain
        if self._status is not None and self._status.slots:
            line += f"  {at_work(self._status)}"
        self._console.print(line, highlight=False, markup=False)

    def _show(self) -> None:
        if self._live is not None:
            return
        self._stop_spinner()
        stderr = sys.stderr
        self._live = Live(
            get_renderable=self._picture,
            console=self._console,
            refresh_per_second=REFRESH_RATE,
            # Output that is redirected to a file must not pass through the view.
            redirect_stderr=stderr.isatty(),
            redirect_stdout=sys.stdout.isatty(),
        )
        self._live.start(refresh=True)
        if sys.stderr is stderr:
            return
        for handler in logging.getLogger().handlers:
            # Handlers keep their first stream; their lines must appear above the view, too.
            if isinstance(handler, logging.StreamHandler) and handler.stream is stderr:
                self._moved.append((handler, stderr))
                handler.setStream(sys.stderr)

    def _picture(self) -> RenderableType:
        progress = self._progress()
        if self._closing:
            return Group(totals(progress, None), bar(progress))
        age = self._now() - self._status_time
        return live_view(progress, self._status, age, self._console.height)
