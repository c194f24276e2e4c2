"""The terminal's two streams."""

import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

# Names in stores of others may hold sequences that move the cursor or set the window's title, or
# characters that turn the direction of writing.
_SEQUENCE = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
_CHARACTER = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_CONTROL = re.compile(f"{_SEQUENCE}|{_CHARACTER}")


class PlainConsole(Console):
    """A console that prints text without the control sequences in it; its own styles stay."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text to print, without control sequences."""
        return super().render_str(_CONTROL.sub("", text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of a renderable, without the control sequences in their text."""
        for segment in super().render(renderable, options):
            if segment.control or not _CONTROL.search(segment.text):
                yield segment
            else:
                yield segment._replace(text=_CONTROL.sub("", segment.text))


console = PlainConsole(soft_wrap=not sys.stdout.isatty())
errors = PlainConsole(stderr=True, soft_wrap=True)
