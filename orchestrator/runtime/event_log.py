"""The event log: events of tasks and slots, as JSON lines in a file."""

import json
import logging
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# One logger for the driver and its parts, so that an event log has one name for all of them.
DRIVER_LOG = logging.getLogger("segtransfer.runtime.driver")
# Fields set by logging itself; all other fields of a record were given as `extra`.
_STANDARD_FIELDS = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object per line, with all extra fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a JSON object.

        Returns:
            A line without a line break, with ``time`` (ISO 8601, UTC, milliseconds), ``level``,
            ``logger``, ``message``, the extra fields, and ``traceback`` after an exception. Values
            without a form in JSON are written as text.
        """
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {
            field: _plain(value)
            for field, value in vars(record).items()
            # Ray adds fields of its own, with a leading underscore.
            if field not in _STANDARD_FIELDS and not field.startswith("_")
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _plain(value: Any) -> Any:
    """Return a value, or its text for NaN and infinity, which JSON does not have."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def json_lines(path: str | Path) -> logging.Handler:
    """Return a handler that appends JSON lines to a file; a missing folder is created.

    Args:
        path: The file.

    Raises:
        OSError: If the folder or the file cannot be written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(JsonLines())
    return handler


def log_to(path: str | Path, logger: str = "segtransfer") -> logging.Handler:
    """Write all events of a logger, down to every task, to a file.

    The level of the logger becomes INFO. Handlers of the root logger get a level that keeps their
    output as before.

    Args:
        path: The file, to which lines are appended; a missing folder is created.
        logger: Name of the logger.

    Returns:
        The handler; ``logging.getLogger(logger).removeHandler(handler)`` ends the log.

    Raises:
        OSError: If the folder or the file cannot be written.
    """
    handler = json_lines(path)
    chosen, root = logging.getLogger(logger), logging.getLogger()
    for other in root.handlers:
        # Otherwise these handlers would show the events, too.
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
    """Log an event of a task or a slot as text and as fields; empty fields are left out.

    Args:
        logger: The logger.
        event: The event in a word or two, which begins the text.
        key: Key of the task; the text has its first 16 characters.
        slot: Id of the slot.
        message: The reason, which ends the text.
        level: Level of the record.
        fields: Further fields of the record. A field with the name of a standard field (``name``,
            ``args``, ...) gets a trailing ``_``.
    """
    if not logger.isEnabledFor(level):
        return
    named = {"event": event, "key": key, "slot": slot, **fields}
    extra = {
        f"{field}_" if field in _STANDARD_FIELDS else field: value
        for field, value in named.items()
        if value is not None and value != ""
    }
    words = " ".join(filter(None, [event, key[:16], f"on {slot}" if slot else ""]))
    # stacklevel: module and line of the record are the caller's.
    logger.log(level, "%s", f"{words}: {message}" if message else words, extra=extra, stacklevel=2)
