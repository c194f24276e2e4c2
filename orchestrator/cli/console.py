"""Consoles for standard output and standard error."""

import re
import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from segtransfer.errors import SegtransferError

# Whole escape sequences, then single characters, including changes of the writing direction.
_SEQUENCE = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
_CHARACTER = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_CONTROL = re.compile(f"{_SEQUENCE}|{_CHARACTER}")


class OutputError(SegtransferError, OSError):
    """Failure to write to standard output or standard error, as opposed to a file or socket."""


class _Stream:
    """Stream that raises OutputError instead of OSError, to tell its failures from files'."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error


class Terminal(Console):
    """Console that strips escape sequences from text, and raises OutputError on failing writes.

    Names in a store from elsewhere may contain sequences that control a terminal.
    """

    @property
    def file(self) -> IO[str]:
        """Return the stream to write to; write and flush raise OutputError."""
        return _Stream(super().file)  # type: ignore[return-value]

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as rich's Text, without escape sequences and control characters.

        Args:
            text: A string with rich's markup.
            options: Options of rich's method.
        """
        return super().render_str(_CONTROL.sub("", text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of a renderable, without control characters in their text.

        Args:
            renderable: An object that rich can render.
            options: Options of rich's method; None for the console's.

        Yields:
            Segments. Segments with rich's own control codes are unchanged.
        """
        for segment in super().render(renderable, options):
            if segment.control is None:
                yield Segment(_CONTROL.sub("", segment.text), segment.style)
            else:
                yield segment


console = Terminal(soft_wrap=sys.stdout is None or not sys.stdout.isatty())
errors = Terminal(stderr=True, soft_wrap=True)
