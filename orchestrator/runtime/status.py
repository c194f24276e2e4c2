"""What the driver says of itself: its status, its metrics, its structured log.

Nothing here knows Ray: a meter carries the numbers (``executors/ray_metrics.py`` has one).
"""

import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

STATUS_EVERY = 2.0  # seconds between two writings of the gauges

SlotState = Literal["working", "loading", "idle"]
SLOT_STATES: tuple[SlotState, ...] = ("working", "loading", "idle")
OPEN_STATES = ("blocked", "ready", "running")
TASK_STATES = (*OPEN_STATES, "done", "failed", "skipped", "cancelled")


@dataclass(frozen=True)
class SlotStatus:
    """A slot at one moment: ``model`` and ``task`` in words a person reads.

    ``seconds`` is how long its call (or its loading) has run, ``queued`` what waits behind that,
    ``done`` how many calls ended there, ``rate`` image forwards a second over the last of them.
    """

    slot_id: str
    device: str
    model: str | None
    loading: bool
    task: str | None
    seconds: float
    queued: int
    done: int
    rate: float

    @property
    def state(self) -> SlotState:
        if self.loading:
            return "loading"
        return "idle" if self.task is None else "working"


@dataclass(frozen=True)
class Status:
    """A driver at one moment; ``counts`` says how many tasks, over all clients, are in a state."""

    time: float
    slots: tuple[SlotStatus, ...]
    counts: Mapping[str, int]
    retries: int
    in_flight_bytes: int
    budget_bytes: int
    clients: int

    def slot_states(self) -> dict[SlotState, int]:
        """How many slots are in each state; every state is named."""
        found = Counter(slot.state for slot in self.slots)
        return {state: found[state] for state in SLOT_STATES}


@dataclass(frozen=True)
class Metric:
    """A number that is exported: how it is called, what it means, what tells its series apart."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()


TASKS_TOTAL = Metric(
    "segtransfer_tasks_total",
    "counter",
    "Tasks that ended; outcome is done, failed, skipped or cancelled.",
    ("kind", "outcome"),
)
RETRIES_TOTAL = Metric(
    "segtransfer_retries_total", "counter", "Calls that came to nothing and are tried again."
)
MODEL_SECONDS_TOTAL = Metric(
    "segtransfer_model_seconds_total",
    "counter",
    "Seconds that finished calls spent inside a model.",
    ("model",),
)
LOADS_TOTAL = Metric(
    "segtransfer_loads_total", "counter", "How often a slot loaded a model.", ("model",)
)
LOAD_SECONDS_TOTAL = Metric(
    "segtransfer_load_seconds_total",
    "counter",
    "Seconds that slots spent loading and warming a model.",
    ("model",),
)
SLOTS = Metric(
    "segtransfer_slots", "gauge", "Slots; state is working, loading or idle.", ("state",)
)
TASKS = Metric(
    "segtransfer_tasks",
    "gauge",
    "Tasks of all clients; state is blocked, ready, running, done, failed, skipped or cancelled.",
    ("state",),
)
FORWARDS_PER_SECOND = Metric(
    "segtransfer_forwards_per_second",
    "gauge",
    "Image forwards a second (a backward as 1.5), summed over the slots at work.",
)
IN_FLIGHT_BYTES = Metric(
    "segtransfer_in_flight_bytes", "gauge", "Bytes of images that are made and not scored yet."
)
BUDGET_BYTES = Metric("segtransfer_budget_bytes", "gauge", "Bytes of images that may be in flight.")
CLIENTS = Metric("segtransfer_clients", "gauge", "Runs and trials that wait for results.")
CALL_SECONDS = Metric(
    "segtransfer_call_seconds",
    "histogram",
    "Seconds that a finished call spent inside a model; kind is attack or evaluate.",
    ("kind",),
    (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
)
METRICS = (
    TASKS_TOTAL,
    RETRIES_TOTAL,
    MODEL_SECONDS_TOTAL,
    LOADS_TOTAL,
    LOAD_SECONDS_TOTAL,
    SLOTS,
    TASKS,
    FORWARDS_PER_SECOND,
    IN_FLIGHT_BYTES,
    BUDGET_BYTES,
    CLIENTS,
    CALL_SECONDS,
)

# Adds to a counter, sets a gauge or observes a value, under one value for each label.
Meter = Callable[[Metric, float, Mapping[str, str]], None]


class Telemetry:
    """Counts what the driver does, and hands every number to a meter where there is one."""

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter
        self._values: defaultdict[str, float] = defaultdict(float)
        self._next_status = -math.inf

    def finished(self, kind: str, model: str | None, seconds: float) -> None:
        """A call ended with a result; ``model`` is None where it needed none."""
        self._record(TASKS_TOTAL, 1, kind=kind, outcome="done")
        self._record(MODEL_SECONDS_TOTAL, seconds, model=model or "none")
        self._record(CALL_SECONDS, seconds, kind=kind)

    def failed(
        self, kind: str, outcome: Literal["failed", "skipped", "retried", "cancelled"]
    ) -> None:
        """A task ended without a result, or a call did and its task is tried again."""
        if outcome == "retried":
            self._record(RETRIES_TOTAL, 1)
        else:
            self._record(TASKS_TOTAL, 1, kind=kind, outcome=outcome)

    def loaded(self, model: str, seconds: float) -> None:
        """A slot has loaded a model."""
        self._record(LOADS_TOTAL, 1, model=model)
        self._record(LOAD_SECONDS_TOTAL, seconds, model=model)

    def status(self, status: Status) -> None:
        """Write the gauges, unless they were written a moment ago.

        All of them each time: an exporter may forget a gauge that is not refreshed.
        """
        if status.time < self._next_status:
            return
        self._next_status = status.time + STATUS_EVERY
        for state, count in status.slot_states().items():
            self._record(SLOTS, count, state=state)
        for name in TASK_STATES:
            self._record(TASKS, status.counts.get(name, 0), state=name)
        working = [slot.rate for slot in status.slots if slot.state == "working"]
        self._record(FORWARDS_PER_SECOND, sum(working))
        self._record(IN_FLIGHT_BYTES, status.in_flight_bytes)
        self._record(BUDGET_BYTES, status.budget_bytes)
        self._record(CLIENTS, status.clients)

    def snapshot(self) -> dict[str, float]:
        """Every number so far, named as Prometheus writes it; of histograms sum and count."""
        return dict(self._values)

    def _record(self, metric: Metric, value: float, **labels: str) -> None:
        if metric.kind == "gauge":
            self._values[series(metric.name, labels)] = value
        elif metric.kind == "counter":
            if value <= 0:
                return  # nothing to add, and Ray refuses it
            self._values[series(metric.name, labels)] += value
        else:
            self._values[series(f"{metric.name}_sum", labels)] += value
            self._values[series(f"{metric.name}_count", labels)] += 1
        if self._meter is not None:
            self._meter(metric, value, labels)


def series(name: str, labels: Mapping[str, str]) -> str:
    """``name{label="value"}``."""
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name


# What logging itself puts on a record; everything else was given as ``extra``.
_OWN = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])


class JsonLines(logging.Formatter):
    """A record as one JSON object on one line: what it says, and all its extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {
            field: _plain(value)
            for field, value in vars(record).items()
            # Ray marks records for itself, with fields that begin like private names.
            if field not in _OWN and not field.startswith("_")
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def json_lines(path: str | Path) -> logging.Handler:
    """A handler that appends JSON lines to a file; its folder is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(JsonLines())
    return handler


def log_to(path: str | Path, logger: str = "segtransfer") -> logging.Handler:
    """Write what happens, down to every task, to a file; what is shown elsewhere stays as it was.

    Returns the handler: ``logging.getLogger(logger).removeHandler(it)`` ends it.
    """
    handler = json_lines(path)
    chosen, root = logging.getLogger(logger), logging.getLogger()
    for other in root.handlers:
        # They would show the events too, now that the logger lets these pass.
        other.setLevel(max(other.level, root.level))
    chosen.setLevel(logging.INFO)
    chosen.addHandler(handler)
    return handler


def log_event(
    logger: logging.Logger,
    event: str,
    *,
    key: str = "",
    slot: str = "",
    message: str = "",
    level: int = logging.INFO,
    **fields: Any,
) -> None:
    """Log what happened to a task or a slot, as words and as fields; empty ones are left out.

    A field that is called as one of logging's own (``name``, ``args``, ...) gets a ``_`` behind.
    """
    if not logger.isEnabledFor(level):
        return
    named = {"event": event, "key": key, "slot": slot, **fields}
    extra = {
        f"{field}_" if field in _OWN else field: value
        for field, value in named.items()
        if value is not None and value != ""
    }
    words = " ".join(filter(None, [event, key[:16], f"on {slot}" if slot else ""]))
    # Seen from the caller, so that module and line of the record are the driver's.
    logger.log(level, "%s", f"{words}: {message}" if message else words, extra=extra, stacklevel=2)
