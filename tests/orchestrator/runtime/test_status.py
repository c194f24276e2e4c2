"""What the driver counts, what a meter hears, what the log file says; and that Ray exports it."""

import json
import logging
import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from segtransfer.runtime.status import (
    METRICS,
    STATUS_EVERY,
    TASK_STATES,
    Metric,
    SlotStatus,
    Status,
    Telemetry,
    json_lines,
    log_event,
    log_to,
)


def slot(state: str = "working", *, rate: float = 0.0) -> SlotStatus:
    task = "pgd on shard 3f2a" if state == "working" else None
    return SlotStatus("s-0", "cpu", "a", state == "loading", task, 1.0, 0, 0, rate)


def status(moment: float, *slots: SlotStatus, **counts: int) -> Status:
    return Status(moment, slots, counts, 0, in_flight_bytes=5, budget_bytes=9, clients=2)


# -- metrics -------------------------------------------------------------------------------


def test_names_are_such_as_ray_does_not_drop() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
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


def test_a_retry_is_no_outcome_of_a_task() -> None:
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


def test_a_state_that_empties_goes_to_zero() -> None:
    telemetry = Telemetry()
    telemetry.status(status(0, slot("working", rate=7), slot("loading"), running=1, blocked=3))
    before = telemetry.snapshot()
    telemetry.status(status(STATUS_EVERY, slot("idle"), slot("idle"), done=4))
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


def test_a_status_that_comes_too_soon_is_not_written() -> None:
    telemetry = Telemetry()
    telemetry.status(status(0, done=1))
    telemetry.status(status(STATUS_EVERY - 0.1, done=2))
    assert telemetry.snapshot()['segtransfer_tasks{state="done"}'] == 1
    telemetry.status(status(STATUS_EVERY, done=3))
    assert telemetry.snapshot()['segtransfer_tasks{state="done"}'] == 3


def everything(telemetry: Telemetry) -> None:
    """Make every metric have a value."""
    telemetry.finished("attack", "a", 2.0)
    telemetry.failed("evaluate", "skipped")
    telemetry.failed("attack", "retried")
    telemetry.loaded("a", 4.0)
    telemetry.status(status(0, slot("working", rate=7), running=1))


def test_a_meter_hears_every_metric_with_just_its_labels() -> None:
    heard: list[tuple[Metric, float, Mapping[str, str]]] = []
    everything(Telemetry(lambda *measured: heard.append(measured)))
    assert {metric.name for metric, *_ in heard} == {metric.name for metric in METRICS}
    for metric, value, labels in heard:
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
    wanted = {f"ray_{metric.name}" for metric in METRICS}
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
    for metric in METRICS:
        family = found[f"ray_{metric.name}"]
        assert family.type == metric.kind
        sample = family.samples[0]
        assert {*metric.labels, "SessionName"} <= sample.labels.keys()
    seconds = [
        s.value for s in found["ray_segtransfer_model_seconds_total"].samples if s.value == 2.0
    ]
    assert seconds, "the seconds that were counted are not those that are exported"


# -- the log -------------------------------------------------------------------------------


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("segtransfer.test-of-the-log")
    yield logger
    parent = logging.getLogger("segtransfer")
    for handler in list(parent.handlers):
        parent.removeHandler(handler)
        handler.close()
    parent.setLevel(logging.NOTSET)


def entries(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_an_event_is_one_line_with_its_key(tmp_path: Path, logger: logging.Logger) -> None:
    path = tmp_path / "logs" / "run.jsonl"
    log_to(path)
    log_event(logger, "done", key="3f2a" * 16, slot="s-0", model="a", seconds=1.5, client=None)
    log_event(logger, "slot", slot="s-1", why="two\nlines", level=logging.WARNING)
    first, second = entries(path)
    moment = first.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", moment)
    assert first == {
        "level": "INFO",
        "logger": "segtransfer.test-of-the-log",
        "message": "done 3f2a3f2a3f2a3f2a on s-0",
        "event": "done",
        "key": "3f2a" * 16,
        "slot": "s-0",
        "model": "a",
        "seconds": 1.5,
    }
    assert second["level"] == "WARNING"
    assert second["why"] == "two\nlines"
    assert "key" not in second


def test_a_field_may_have_any_name(tmp_path: Path, logger: logging.Logger) -> None:
    """The driver's loop must not end because a field is called as one of logging's own."""
    log_to(tmp_path / "run.jsonl")
    log_event(logger, "failed", key="3f2a", message="100 % wrong:\nno %s", name="a", args=[1])
    (entry,) = entries(tmp_path / "run.jsonl")
    assert entry["message"] == "failed 3f2a: 100 % wrong:\nno %s"
    assert (entry["name_"], entry["args_"]) == ("a", [1])
    assert entry["logger"] == "segtransfer.test-of-the-log"


def test_an_exception_keeps_its_traceback(tmp_path: Path, logger: logging.Logger) -> None:
    log_to(tmp_path / "run.jsonl")
    try:
        raise ValueError("no such thing")
    except ValueError:
        logger.exception("it went wrong", extra={"key": "3f2a"})
    (entry,) = entries(tmp_path / "run.jsonl")
    assert entry["message"] == "it went wrong"
    assert entry["key"] == "3f2a"
    assert entry["traceback"].endswith("ValueError: no such thing")


def test_what_json_cannot_say_is_written_as_text(tmp_path: Path, logger: logging.Logger) -> None:
    log_to(tmp_path / "run.jsonl")
    log_event(logger, "done", rate=float("nan"), where=tmp_path)
    (entry,) = entries(tmp_path / "run.jsonl")
    assert (entry["rate"], entry["where"]) == ("nan", str(tmp_path))


def test_a_log_file_changes_nothing_that_is_shown(tmp_path: Path, logger: logging.Logger) -> None:
    shown: list[str] = []

    class Terminal(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    terminal, root = Terminal(), logging.getLogger()
    level = root.level
    root.addHandler(terminal)
    root.setLevel(logging.WARNING)
    others = {handler: handler.level for handler in root.handlers}
    try:
        log_to(tmp_path / "run.jsonl")
        log_event(logger, "done", key="3f2a")
        logger.warning("mind this")
    finally:
        root.removeHandler(terminal)
        root.setLevel(level)
        for handler, before in others.items():
            handler.setLevel(before)
    assert shown == ["mind this"]
    assert [entry["message"] for entry in entries(tmp_path / "run.jsonl")] == [
        "done 3f2a",
        "mind this",
    ]


def test_without_a_log_file_events_cost_nothing(logger: logging.Logger) -> None:
    class Unprintable:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("the event was put together, and nobody reads it")

    logging.getLogger("segtransfer").setLevel(logging.WARNING)
    log_event(logger, "done", field=Unprintable())


def test_a_second_run_appends(tmp_path: Path) -> None:
    for _ in range(2):
        handler = json_lines(tmp_path / "run.jsonl")
        handler.handle(logging.makeLogRecord({"msg": "begun"}))
        handler.close()
    assert [entry["message"] for entry in entries(tmp_path / "run.jsonl")] == ["begun", "begun"]
