"""The driver's counters and gauges over time, handed to a meter."""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

from segtransfer.runtime.metrics import (
    BUDGET_BYTES,
    CALL_DURATION,
    CLIENTS,
    FORWARDS_PER_SECOND,
    LOAD_SECONDS_TOTAL,
    LOADS_TOTAL,
    MODEL_SECONDS_TOTAL,
    RETRIES_TOTAL,
    SECONDS_LEFT,
    SLOTS,
    TASKS,
    TASKS_TOTAL,
    UNSCORED_IMAGE_BYTES,
    Instrument,
    Meter,
)
from segtransfer.runtime.status import TASK_STATES, Status

GAUGE_PERIOD = 2.0  # seconds between two writings of the gauges


class Telemetry:
    """Counts the driver's work, and passes every number on to a meter if there is one."""

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter
        self._values: defaultdict[str, float] = defaultdict(float)
        self._next_status = -math.inf

    def finished(self, kind: str, model: str | None, seconds: float) -> None:
        """Count a call that ended with a result.

        Args:
            kind: "attack" or "evaluate".
            model: Name of the model; None if the call needed no model.
            seconds: Seconds of the call inside the model.
        """
        self._record(TASKS_TOTAL, 1, kind=kind, outcome="done")
        self._record(MODEL_SECONDS_TOTAL, seconds, model=model or "none")
        self._record(CALL_DURATION, seconds, kind=kind)

    def failed(
        self, kind: str, outcome: Literal["failed", "skipped", "retried", "cancelled"]
    ) -> None:
        """Count a task that ended without a result, or a call whose task was queued again.

        Args:
            kind: "attack" or "evaluate".
            outcome: The end of the task; "retried" counts the call alone.
        """
        if outcome == "retried":
            self._record(RETRIES_TOTAL, 1)
        else:
            self._record(TASKS_TOTAL, 1, kind=kind, outcome=outcome)

    def loaded(self, model: str, seconds: float) -> None:
        """Count a load of a model.

        Args:
            model: Name of the model.
            seconds: Seconds of the load.
        """
        self._record(LOADS_TOTAL, 1, model=model)
        self._record(LOAD_SECONDS_TOTAL, seconds, model=model)

    def status(self, status: Status) -> None:
        """Write all gauges, unless they were written less than `GAUGE_PERIOD` seconds ago.

        An exporter may drop a gauge that is not refreshed, so all are written.

        Args:
            status: The present state of the driver.
        """
        if status.time < self._next_status:
            return
        self._next_status = status.time + GAUGE_PERIOD
        for state, count in status.slot_states().items():
            self._record(SLOTS, count, state=state)
        for name in TASK_STATES:
            self._record(TASKS, status.counts.get(name, 0), state=name)
        working = [slot.rate for slot in status.slots if slot.state == "working"]
        self._record(FORWARDS_PER_SECOND, sum(working))
        self._record(UNSCORED_IMAGE_BYTES, status.in_flight_bytes)
        self._record(BUDGET_BYTES, status.budget_bytes)
        self._record(CLIENTS, status.clients)
        if status.seconds_left is not None:
            self._record(SECONDS_LEFT, status.seconds_left)

    def snapshot(self) -> dict[str, float]:
        """Return every number so far.

        Returns:
            Numbers by series, as Prometheus names them; a histogram gives its sum and its count.
        """
        return dict(self._values)

    def _record(self, instrument: Instrument, value: float, **labels: str) -> None:
        if instrument.kind == "gauge":
            self._values[series(instrument.name, labels)] = value
        elif instrument.kind == "counter":
            if value <= 0:
                return  # Ray refuses to add zero.
            self._values[series(instrument.name, labels)] += value
        else:
            self._values[series(f"{instrument.name}_sum", labels)] += value
            self._values[series(f"{instrument.name}_count", labels)] += 1
        if self._meter is not None:
            self._meter(instrument, value, labels)


def series(name: str, labels: Mapping[str, str]) -> str:
    """Return the name of a series as Prometheus writes it.

    Returns:
        ``name{label="value"}``, or the name alone without labels.
    """
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name
