"""The driver's metrics: counters, gauges, what a meter receives, and their export by Ray."""

import re
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

import pytest

from segtransfer.runtime.metrics import INSTRUMENTS, Instrument
from segtransfer.runtime.status import TASK_STATES, SlotStatus, Status
from segtransfer.runtime.telemetry import GAUGE_PERIOD, Telemetry


def slot(state: str = "working", *, rate: float = 0.0) -> SlotStatus:
    task = "pgd on shard 3f2a" if state == "working" else None
    return SlotStatus("s-0", "cpu", "a", state == "loading", task, 1.0, 0, 0, rate)


def status(moment: float, *slots: SlotStatus, **counts: int) -> Status:
    return Status(
        moment, slots, counts, 0, in_flight_bytes=5, budget_bytes=9, clients=2, seconds_left=60.0
    )


def test_names_are_accepted_by_ray() -> None:
    names = [metric.name for metric in INSTRUMENTS]
    assert len(set(names)) == len(names)
    for metric in INSTRUMENTS:
        assert re.fullmatch(r"segtransfer_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.boundaries) == (metric.kind == "histogram")
        assert sorted(set(metric.boundaries)) == list(metric.boundaries)


def test_a_finished_call_counts_as_a_task_and_as_seconds_of_its_model() -> None:
    telemetry = Telemetry()
    telemetry.finished("attack", "a", 2.0)
    telemetry.finished("attack", "a", 3.0)
    telemetry.finished("attack", None, 0.0)
    found = telemetry.snapshot()
    assert found['segtransfer_tasks_total{kind="attack",outcome="done"}'] == 3
    assert found['segtransfer_model_seconds_total{model="a"}'] == 5
    assert found['segtransfer_call_seconds_sum{kind="attack"}'] == 5
    assert found['segtransfer_call_seconds_count{kind="attack"}'] == 3
    assert 'segtransfer_model_seconds_total{model="none"}' not in found  # zero adds nothing


def test_retry_is_not_counted_as_an_ended_task() -> None:
    telemetry = Telemetry()
    telemetry.failed("evaluate", "retried")
    telemetry.failed("evaluate", "failed")
    assert telemetry.snapshot() == {
        "segtransfer_retries_total": 1,
        'segtransfer_tasks_total{kind="evaluate",outcome="failed"}': 1,
    }


def test_a_load_counts_with_its_seconds() -> None:
    telemetry = Telemetry()
    telemetry.loaded("a", 4.0)
    assert telemetry.snapshot() == {
        'segtransfer_loads_total{model="a"}': 1,
        'segtransfer_load_seconds_total{model="a"}': 4,
    }


def test_gauge_of_an_empty_state_is_zero() -> None:
    telemetry = Telemetry()
    telemetry.status(status(0, slot("working", rate=7), slot("loading"), running=1, blocked=3))
    before = telemetry.snapshot()
    telemetry.status(status(GAUGE_PERIOD, slot("idle"), slot("idle"), done=4))
    after = telemetry.snapshot()
    assert before['segtransfer_slots{state="working"}'] == 1
    assert before['segtransfer_slots{state="loading"}'] == 1
    assert before['segtransfer_tasks{state="blocked"}'] == 3
    assert before["segtransfer_forwards_per_second"] == 7
    assert after['segtransfer_slots{state="working"}'] == 0
    assert after['segtransfer_slots{state="idle"}'] == 2
    assert after["segtransfer_forwards_per_second"] == 0
    counted = {state: after[f'segtransfer_tasks{{state="{state}"}}'] for state in TASK_STATES}
    assert counted == {**dict.fromkeys(TASK_STATES, 0), "done": 4}


def test_status_within_the_gauge_period_is_not_written() -> None:
    telemetry = Telemetry()
    telemetry.status(status(0, done=1))
    telemetry.status(status(GAUGE_PERIOD - 0.1, done=2))
    assert telemetry.snapshot()['segtransfer_tasks{state="done"}'] == 1
    telemetry.status(status(GAUGE_PERIOD, done=3))
    assert telemetry.snapshot()['segtransfer_tasks{state="done"}'] == 3


def everything(telemetry: Telemetry) -> None:
    """Make every metric have a value."""
    telemetry.finished("attack", "a", 2.0)
    telemetry.failed("evaluate", "skipped")
    telemetry.failed("attack", "retried")
    telemetry.loaded("a", 4.0)
    telemetry.status(status(0, slot("working", rate=7), running=1))


def test_meter_receives_every_metric_with_exactly_its_labels() -> None:
    received: list[tuple[Instrument, float, Mapping[str, str]]] = []
    everything(Telemetry(lambda *measured: received.append(measured)))
    assert {metric.name for metric, *_ in received} == {metric.name for metric in INSTRUMENTS}
    for metric, value, labels in received:
        assert tuple(labels) == metric.labels
        assert value > 0 or metric.kind == "gauge"


def test_ray_exports_every_metric(cluster: None) -> None:
    """Scraped as Prometheus does. Ray sends numbers on every ten seconds: that is the wait."""
    ray = pytest.importorskip("ray")
    parser = pytest.importorskip("prometheus_client.parser")
    from segtransfer.runtime.executors.ray.metrics import ray_meter

    telemetry = Telemetry(ray_meter())
    everything(telemetry)
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    wanted = {f"ray_{metric.name}" for metric in INSTRUMENTS}
    found: dict[str, Any] = {}
    give_up = time.monotonic() + 60
    while wanted - found.keys() and time.monotonic() < give_up:
        time.sleep(0.5)
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()
        for family in parser.text_string_to_metric_families(text):
            name = family.name + ("_total" if family.type == "counter" else "")
            if name in wanted:
                found[name] = family
    assert wanted == found.keys()
    for metric in INSTRUMENTS:
        family = found[f"ray_{metric.name}"]
        assert family.type == metric.kind
        sample = family.samples[0]
        assert {*metric.labels, "SessionName"} <= sample.labels.keys()
    seconds = [
        s.value for s in found["ray_segtransfer_model_seconds_total"].samples if s.value == 2.0
    ]
    assert seconds, "the seconds that were counted are not those that are exported"
