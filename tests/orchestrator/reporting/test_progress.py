"""What a person sees of a run: the live view on a terminal, lines elsewhere."""

import io
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from segtransfer.reporting.live import MOST_ROWS, RunProgress, clock, live_view, number, rough
from segtransfer.reporting.progress import LINE_EVERY, Pace, ProgressView
from segtransfer.runtime.sessions import Notice
from segtransfer.runtime.status import SlotStatus, Status

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


@dataclass
class Clock:
    """Time that passes when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Seen:
    """A view, its clock and what it wrote."""

    view: ProgressView
    clock: Clock
    file: io.StringIO = field(default_factory=io.StringIO)

    @property
    def text(self) -> str:
        return self.file.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def later(self, seconds: float) -> "Seen":
        self.clock.now += seconds
        return self

    def done(self, *keys: int) -> "Seen":
        for key in keys:
            self.view.notice(Notice("done", 0, str(key), cost=10, model_seconds=2))
        return self

    def plan(self, tasks: int, attacks: int = 0) -> "Seen":
        planned = [
            SimpleNamespace(
                key=str(number),
                cost=10.0,
                kind="attack" if number >= tasks - attacks else "evaluate",
                model="a",
            )
            for number in range(tasks)
        ]
        plan: Any = SimpleNamespace(
            missing=planned,
            tasks={task.key: task for task in planned},
            models={"f": "a"},
            shards={"s": SimpleNamespace(image_ids=[1, 2])},
        )
        self.view.planned(plan)
        self.view.notice(Notice("ready", 0))
        return self


@pytest.fixture
def open_view() -> Iterator[Callable[..., Seen]]:
    opened: list[Seen] = []

    def make(terminal: bool) -> Seen:
        file, clock = io.StringIO(), Clock()
        console = Console(
            file=file, force_terminal=terminal, width=100, height=30, color_system=None, _environ={}
        )
        opened.append(Seen(ProgressView(console, clock), clock, file))
        return opened[-1]

    yield make
    for seen in opened:
        seen.view.stop()


def slot(number: int = 0, **changes: Any) -> SlotStatus:
    fields: dict[str, Any] = {
        "slot_id": f"s-{number}", "device": "cpu", "model": "fcn-r18", "loading": False,
        "task": "ds-mi on shard 3f2a", "seconds": 12.0, "queued": 1, "done": 5, "rate": 340.0,
    }  # fmt: skip
    return SlotStatus(**{**fields, **changes})


def status(
    *slots: SlotStatus, clients: int = 1, left: float | None = None, **counts: int
) -> Status:
    return Status(0, slots, counts, 0, 130 << 20, 512 << 20, clients, left)


def figures(**changes: Any) -> RunProgress:
    fields: dict[str, Any] = {
        "settled": 340.0, "total": 1000.0, "ended": 412, "tasks": 1204, "rate": 1234.0,
        "elapsed": 723.0, "left": 1440.0, "retries": 3, "failed": 1,
    }  # fmt: skip
    return RunProgress(**{**fields, **changes})


def drawn(
    shown: RunProgress, driver: Status | None, width: int = 100, height: int = 30, age: float = 0
) -> list[str]:
    console = Console(file=io.StringIO(), record=True, width=width, _environ={})
    console.print(live_view(shown, driver, age, height))
    return [line.rstrip() for line in console.export_text().splitlines()]


# -- how fast ----------------------------------------------------------------------


def test_rate_is_work_over_time() -> None:
    pace = Pace(0)
    for second in range(1, 101):
        pace.advance(5, second)
    assert pace.rate(100) == pytest.approx(5)


def test_rate_follows_number_of_slots() -> None:
    pace = Pace(0)
    for second in range(1, 101):
        pace.advance(1, second)
    for second in range(101, 301):
        pace.advance(10, second)
    assert pace.rate(300) == pytest.approx(10, rel=0.1)


# -- the picture -----------------------------------------------------------------------------


def test_totals_come_first_and_a_row_a_slot_follows() -> None:
    lines = drawn(
        figures(),
        status(
            slot(0),
            slot(1, model="pspnet-r18", loading=True, task=None, seconds=4.0, rate=0.0),
            slot(2, model=None, task=None, rate=0.0, queued=0),
            running=1,
            ready=12,
            blocked=40,
        ),
    )
    total, _, titles, *rows, below = lines
    assert " ".join(total.split()) == (
        "34 % 412/1,204 tasks 1,234 forwards/s 12:03 ETA 24 min 1 failed 3 retries 1 slot loading"
    )
    assert titles.split() == ["slot", "model", "task", "for", "queue", "rate", "done"]
    assert [row.split() for row in rows] == [
        ["s-0", "fcn-r18", "ds-mi", "on", "shard", "3f2a", "12", "s", "1", "340", "5"],
        ["s-1", "pspnet-r18", "loading", "4", "s", "1", "–", "5"],
        ["s-2", "–", "idle", "0", "–", "5"],
    ]
    assert "1 running" in below
    assert "12 ready" in below
    assert "130 of 512 MiB in flight" in below


def test_many_slots_are_rows_of_models_that_add_up() -> None:
    slots = [slot(n, model=f"model-{n % 3}", rate=10.0) for n in range(20)]
    slots.append(slot(20, model="model-0", task=None, rate=0.0, queued=0))
    _, _, titles, *rows, _ = drawn(figures(), status(*slots))
    assert titles.split() == ["model", "slots", "at", "work", "loading", "queue", "rate", "done"]
    assert [row.split() for row in rows] == [
        ["model-0", "8", "7", "0", "7", "70", "40"],
        ["model-1", "7", "7", "0", "7", "70", "35"],
        ["model-2", "6", "6", "0", "6", "60", "30"],
    ]


def test_more_models_than_rows_share_a_last_row() -> None:
    slots = [slot(n, model=f"model-{n:03}") for n in range(300)]
    _, _, _, *rows, _ = drawn(figures(), status(*slots))
    assert len(rows) == MOST_ROWS
    assert rows[-1].split()[:5] == [str(300 - MOST_ROWS + 1), "other", "models", "289", "289"]


@pytest.mark.parametrize("height", [8, 12, 30, 100])
@pytest.mark.parametrize("count", [1, 4, 12, 13, 200])
def test_live_view_fits_terminal(count: int, height: int) -> None:
    slots = [slot(n, model=f"model-{n % 40}") for n in range(count)]
    lines = drawn(figures(), status(*slots), height=height)
    assert len(lines) < height
    assert len(lines) <= MOST_ROWS + 4


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_columns_keep_their_widths(width: int) -> None:
    long = "a task that has a name as long as one can be, on a shard with a name like that"
    calm = drawn(figures(), status(slot(0, task="pgd", model="a")), width)
    busy = drawn(
        figures(rate=9.5), status(slot(0, task=long, model=long, rate=12345.6, done=99999)), width
    )
    assert len(calm) == len(busy)
    assert calm[2] == busy[2]  # the titles
    assert all(len(line) <= width for line in busy)


def test_running_time_advances_between_statuses() -> None:
    before, after = (drawn(figures(), status(slot(0, seconds=12.0)), age=age)[3] for age in (0, 5))
    assert "12 s" in before
    assert "17 s" in after


def test_other_clients_of_driver_are_counted() -> None:
    assert drawn(figures(), status(slot(), clients=3))[-1].endswith("shared with 2 other clients")
    assert "shared" not in drawn(figures(), status(slot(), clients=1))[-1]


def test_hundred_percent_only_after_last_task() -> None:
    assert figures(settled=999.9, total=1000.0, ended=3, tasks=4).percent == 99
    assert figures(settled=1000.0, total=1000.0, ended=3, tasks=4).percent == 99
    assert figures(settled=999.9, total=1000.0, ended=4, tasks=4).percent == 100


def test_times_and_rates_are_short() -> None:
    assert [clock(s) for s in (7, 723, 11523)] == ["0:07", "12:03", "3:12:03"]
    assert [rough(s) for s in (7, 99, 720, 11520, 187200)] == [
        "7 s", "99 s", "12 min", "3 h 12 m", "2 d 4 h",
    ]  # fmt: skip
    assert [number(rate) for rate in (0, 0.25, 9.5, 1234.5)] == ["–", "0.2", "9.5", "1,234"]


# -- lines, where there is no terminal -------------------------------------------------------


def test_a_line_at_the_first_end_and_then_every_ten_seconds(
    open_view: Callable[..., Seen],
) -> None:
    seen = open_view(terminal=False).plan(4)
    begun = len(seen.lines)
    seen.later(LINE_EVERY / 2)
    seen.view.status(status(slot(0), slot(1)))
    assert len(seen.lines) == begun
    seen.done(0)
    assert len(seen.lines) == begun + 1
    assert "1/4 tasks" in seen.lines[-1]
    seen.later(LINE_EVERY / 2).done(1)
    seen.view.status(status(slot(0), slot(1, task=None)))
    assert len(seen.lines) == begun + 1
    seen.later(LINE_EVERY / 2)
    seen.view.status(status(slot(0), slot(1, task=None)))
    assert len(seen.lines) == begun + 2
    assert "ETA –" in seen.lines[-1]
    seen.later(LINE_EVERY)
    seen.view.status(status(slot(0), slot(1, task=None), left=12.0))
    assert len(seen.lines) == begun + 3
    words = " ".join(seen.lines[-1].split())
    assert words == "50 % 2/4 tasks 1.0 forwards/s 0:25 ETA 12 s 1 of 2 slots at work"
    assert "\x1b" not in seen.text


def test_lines_tell_retries_and_failures(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=False).plan(4)
    seen.view.notice(Notice("retried", 0, "0", message="the worker of slot s-0 died"))
    seen.view.notice(Notice("failed", 0, "1", message="Traceback ...\nValueError: [red]no[/blue]"))
    seen.view.notice(Notice("skipped", 0, "2", message="what it depends on failed"))
    assert "the worker of slot s-0 died" in seen.lines
    assert "ValueError: [red]no[/blue]" in seen.lines
    seen.later(LINE_EVERY).done(0)
    assert "75 %  3/4 tasks" in seen.lines[-1]
    assert "2 failed  1 retry" in seen.lines[-1]


def test_skipped_tasks_do_not_raise_rate(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=False).plan(10)
    seen.later(10)
    for key in range(8):
        seen.view.notice(Notice("skipped", 0, str(key)))
    seen.later(10).done(8)
    assert "0.5 forwards/s" in seen.lines[-1]


def test_equal_warnings_are_printed_once(
    open_view: Callable[..., Seen],
) -> None:
    seen = open_view(terminal=False).plan(400)
    for key in range(200):
        seen.view.notice(Notice("retried", 0, str(key), message="the node of slot s-0 died"))
    assert seen.text.count("the node of slot s-0 died") == 1
    seen.later(LINE_EVERY)
    seen.view.notice(Notice("retried", 0, "200", message="the node of slot s-0 died"))
    assert seen.text.count("the node of slot s-0 died") == 2


def test_started_slot_prints_no_warning(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=False).plan(4)
    before = seen.text
    seen.view.notice(Notice("slot", 0, message="s-0 is up"))
    seen.view.notice(Notice("slot", 0, message="\n"))
    assert seen.text == before


def test_seconds_are_added_up_for_the_last_sentence(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=False).plan(2).later(30).done(0, 1)
    seen.view.notice(Notice("finished", 0))
    assert (seen.view.wall_seconds, seen.view.model_seconds) == (30, 4)


def test_first_line_before_an_attack_ends_has_no_rate_and_no_slots(
    open_view: Callable[..., Seen],
) -> None:
    seen = open_view(terminal=False).plan(4, attacks=2)
    seen.view.status(status())
    seen.later(LINE_EVERY).done(0)
    assert " ".join(seen.lines[-1].split()) == "25 % 1/4 tasks 0:10 ETA –"
    seen.later(LINE_EVERY).done(2)
    assert "1.0 forwards/s" in seen.lines[-1]


def test_the_rate_starts_when_slots_are_warm_and_the_clock_with_the_view(
    open_view: Callable[..., Seen],
) -> None:
    seen = open_view(terminal=False).plan(2).later(300)
    seen.view.notice(Notice("ready", 0))
    seen.later(10).done(0)
    assert "1.0 forwards/s  5:10" in seen.lines[-1]


def test_the_time_left_runs_down_between_two_statuses(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=False).plan(4)
    seen.view.status(status(slot(0), left=60.0))
    seen.later(LINE_EVERY).done(0)
    assert "ETA 50 s" in seen.lines[-1]


def test_stages_are_few_lines_in_a_log(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=False)
    seen.view.stage("Reading the spec", "mine.yaml")
    for model in ("a", "b"):
        seen.view.stage("Describing models", model)
    seen.later(LINE_EVERY).view.stage("Describing models", "c")
    assert seen.lines == [
        "Reading the spec: mine.yaml ...",
        "Describing models: a ...",
        "Describing models: c ...",
    ]


def test_stages_on_terminal_share_a_line_before_live_view(
    open_view: Callable[..., Seen],
) -> None:
    seen = open_view(terminal=True)
    seen.view.stage("Reading the spec", "mine.yaml")
    seen.view._spinner._live.refresh()  # type: ignore[union-attr]
    assert "Reading the spec: mine.yaml" in seen.text
    seen.view.stage("Describing models", "a")
    seen.plan(4).view.status(status(slot(0)))
    assert seen.view._spinner is None
    begun = len(seen.text)
    seen.view.stop()
    assert "Describing models" not in seen.text[begun:]


def test_repeated_task_raises_total(open_view: Callable[..., Seen]) -> None:
    """Damage found at the end is driven as a second round, without a plan of its own."""
    seen = open_view(terminal=False).plan(1).later(1).done(0)
    seen.view.notice(Notice("finished", 0))
    seen.view.notice(Notice("ready", 0))
    seen.later(LINE_EVERY)
    seen.view.notice(Notice("done", 0, "damaged", cost=10))
    assert "100 %  2/2 tasks" in seen.lines[-1]


def test_stored_experiment_prints_nothing_to_compute(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=False)
    plan: Any = SimpleNamespace(missing=[], tasks={"0": None}, models={}, shards={})
    seen.view.planned(plan)
    seen.view.status(status())
    seen.view.notice(Notice("finished", 0))
    assert seen.lines == ["Nothing to compute: all 1 results are in the store."]


# -- the terminal ----------------------------------------------------------------------------


def test_on_a_terminal_the_table_is_drawn(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=True).plan(4)
    seen.view.status(status(slot(0)))
    seen.view._live.refresh()  # type: ignore[union-attr]
    assert HIDE_CURSOR in seen.text
    assert "ds-mi on shard 3f2a" in seen.text


def test_warnings_are_printed_above_live_view(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=True).plan(4)
    seen.view.status(status(slot(0)))
    begun = len(seen.text)
    seen.view.notice(Notice("slot", 0, message="the node of slot s-1 died"))
    after = seen.text[begun:]
    assert after.index("the node of slot s-1 died") < after.index("0/4 tasks")


def test_stop_restores_terminal(open_view: Callable[..., Seen]) -> None:
    stdout, stderr = sys.stdout, sys.stderr
    seen = open_view(terminal=True).plan(4)
    seen.view.status(status(slot(0)))
    begun = len(seen.text)
    seen.done(0)
    seen.view.stop()
    seen.view.stop()
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    left = seen.text[begun:]
    assert left.count(SHOW_CURSOR) == 1
    assert left.endswith(SHOW_CURSOR)
    last = left[left.rindex("1/4 tasks") :]
    assert "3f2a" not in last, "a table of slots at work stays behind"
    assert "ETA" in last, "the totals stay"


def test_log_lines_are_printed_above_live_view_until_stop(
    open_view: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    handler = logging.StreamHandler(stderr)
    logging.getLogger().addHandler(handler)
    try:
        seen = open_view(terminal=True).plan(4)
        seen.view.status(status(slot(0)))
        logging.getLogger("segtransfer").warning("stored images are damaged")
        seen.view.stop()
        logging.getLogger("segtransfer").warning("afterwards")
    finally:
        logging.getLogger().removeHandler(handler)
    assert "stored images are damaged" in seen.text
    assert stderr.getvalue() == "afterwards\n"


def test_redirected_stderr_is_unchanged(
    open_view: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    open_view(terminal=True).plan(4).view.status(status(slot(0)))
    sys.stderr.write("a message\n")
    assert file.getvalue() == "a message\n"


def test_dumb_terminal_gets_plain_lines() -> None:
    file, now = io.StringIO(), Clock()
    console = Console(file=file, force_terminal=True, width=100, _environ={"TERM": "dumb"})
    seen = Seen(ProgressView(console, now), now, file).plan(4).later(LINE_EVERY)
    seen.view.status(status(slot(0)))
    assert HIDE_CURSOR not in seen.text
    assert "0/4 tasks" in seen.lines[-1]


def test_status_after_end_shows_no_view(open_view: Callable[..., Seen]) -> None:
    seen = open_view(terminal=True).plan(1).done(0)
    seen.view.notice(Notice("finished", 0))
    begun = len(seen.text)
    seen.view.status(status(slot(0)))
    assert seen.text[begun:] == ""
