"""The driver's metrics: names, meanings and labels of all exported numbers.

Nothing here knows Ray. A meter exports the numbers, for example `executors/ray/metrics.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Instrument:
    """An exported metric, as in OpenTelemetry.

    Attributes:
        name: Name of the metric.
        kind: Kind of the metric.
        meaning: Description of the metric, exported with it.
        labels: Names of the labels, whose values distinguish the series of the metric.
        boundaries: Upper bounds of a histogram's buckets, increasing.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()


TASKS_TOTAL = Instrument(
    "segtransfer_tasks_total",
    "counter",
    "Tasks that ended; outcome is done, failed, skipped or cancelled.",
    ("kind", "outcome"),
)
RETRIES_TOTAL = Instrument(
    "segtransfer_retries_total", "counter", "Calls that failed and whose task was queued again."
)
MODEL_SECONDS_TOTAL = Instrument(
    "segtransfer_model_seconds_total",
    "counter",
    "Seconds that finished calls spent inside a model.",
    ("model",),
)
LOADS_TOTAL = Instrument(
    "segtransfer_loads_total", "counter", "Loads of a model on a slot.", ("model",)
)
LOAD_SECONDS_TOTAL = Instrument(
    "segtransfer_load_seconds_total",
    "counter",
    "Seconds that slots spent loading a model.",
    ("model",),
)
SLOTS = Instrument(
    "segtransfer_slots", "gauge", "Slots; state is working, loading or idle.", ("state",)
)
TASKS = Instrument(
    "segtransfer_tasks",
    "gauge",
    "Tasks of all clients; state is blocked, ready, running, done, failed, skipped or cancelled.",
    ("state",),
)
FORWARDS_PER_SECOND = Instrument(
    "segtransfer_forwards_per_second",
    "gauge",
    "Image forwards per second (a backward counts as 1.5), summed over working slots.",
)
UNSCORED_IMAGE_BYTES = Instrument(
    "segtransfer_in_flight_bytes", "gauge", "Bytes of AEs that are being made or await scoring."
)
BUDGET_BYTES = Instrument("segtransfer_budget_bytes", "gauge", "Byte budget for AEs in flight.")
SECONDS_LEFT = Instrument(
    "segtransfer_seconds_left",
    "gauge",
    "Estimated seconds until all tasks have ended; absent while unknown.",
)
CLIENTS = Instrument(
    "segtransfer_clients", "gauge", "Clients of the driver: runs, trials and commands."
)
CALL_DURATION = Instrument(
    "segtransfer_call_seconds",
    "histogram",
    "Seconds that a finished call spent inside a model; kind is attack or evaluate.",
    ("kind",),
    (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
)
INSTRUMENTS = (
    TASKS_TOTAL,
    RETRIES_TOTAL,
    MODEL_SECONDS_TOTAL,
    LOADS_TOTAL,
    LOAD_SECONDS_TOTAL,
    SLOTS,
    TASKS,
    FORWARDS_PER_SECOND,
    UNSCORED_IMAGE_BYTES,
    BUDGET_BYTES,
    CLIENTS,
    SECONDS_LEFT,
    CALL_DURATION,
)

# Called to add to a counter, set a gauge or observe a value, with a value per label.
Meter = Callable[[Instrument, float, Mapping[str, str]], None]
