"""The terminal's two streams."""

import sys

from rich.console import Console

console = Console(soft_wrap=not sys.stdout.isatty())
errors = Console(stderr=True, soft_wrap=True)
