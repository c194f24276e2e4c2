"""The event log: JSON lines in a file, beside the output of other handlers."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segtransfer.runtime.event_log import json_lines, log_event, log_to


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


def test_value_without_a_json_form_is_written_as_text(
    tmp_path: Path, logger: logging.Logger
) -> None:
    log_to(tmp_path / "run.jsonl")
    log_event(logger, "done", rate=float("nan"), where=tmp_path)
    (entry,) = entries(tmp_path / "run.jsonl")
    assert (entry["rate"], entry["where"]) == ("nan", str(tmp_path))


def test_log_file_does_not_change_terminal_output(tmp_path: Path, logger: logging.Logger) -> None:
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
    looked_at = []

    class Field:
        def __eq__(self, other: object) -> bool:
            looked_at.append(other)
            return False

        __hash__ = None  # type: ignore[assignment]

    logging.getLogger("segtransfer").setLevel(logging.WARNING)
    log_event(logger, "done", field=Field())
    assert looked_at == []
    logging.getLogger("segtransfer").setLevel(logging.INFO)
    log_event(logger, "done", field=Field())
    assert looked_at == [""], "an event that is logged is put together"


def test_a_second_run_appends(tmp_path: Path) -> None:
    for _ in range(2):
        handler = json_lines(tmp_path / "run.jsonl")
        handler.handle(logging.makeLogRecord({"msg": "begun"}))
        handler.close()
    assert [entry["message"] for entry in entries(tmp_path / "run.jsonl")] == ["begun", "begun"]
