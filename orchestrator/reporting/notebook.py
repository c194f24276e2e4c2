"""Progress in a notebook: a line that is updated, and warnings below the line."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from segtransfer.reporting.live import clock, plural
from segtransfer.reporting.progress import ProgressView
from segtransfer.runtime.listener import Listener

if TYPE_CHECKING:
    from segtransfer.searches import SearchListener

WIDTH = 160  # characters of a line; a notebook folds longer ones
SECOND = 1.0


def in_notebook() -> bool:
    """Tell whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _quiet_notebook() -> bool:
    """Tell whether this is a notebook, and silence warnings of libraries about its widgets."""
    if not in_notebook():
        return False
    warnings.filterwarnings("ignore", "IProgress not found")  # tqdm, as Optuna imports it
    logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
    return True


class NotebookConsole(Console):
    """A console whose plain lines replace each other; warnings, which have a style, stay."""

    def __init__(self) -> None:
        super().__init__(file=StringIO(), width=WIDTH, force_terminal=False, force_jupyter=False)
        self._shown: Any = None

    def print(self, *objects: Any, **options: Any) -> None:
        """Show the last printed line in the place of the line before.

        Args:
            *objects: Renderables. A ``Text`` with a style is a warning: it is printed and stays.
            **options: Options of ``rich.console.Console.print``.
        """
        if any(isinstance(shown, Text) and shown.style for shown in objects):
            print(*(shown.plain for shown in objects))
            return
        with self.capture() as captured:
            super().print(*objects, **options)
        lines = captured.get().split("\n")
        line = next((line.rstrip() for line in reversed(lines) if line.strip()), "")
        # Imported here because IPython is there only in a notebook.
        from IPython.display import display

        content = {"text/plain": line}
        if self._shown is None:
            self._shown = display(content, raw=True, display_id=True)
        else:
            self._shown.update(content, raw=True)


class NotebookProgress(ProgressView):
    """Progress of an experiment in a notebook; its last line has the totals."""

    def __init__(self) -> None:
        self._line = NotebookConsole()
        super().__init__(self._line, line_every=SECOND)

    def stop(self) -> None:
        """Show the last totals."""
        super().stop()
        if self._ended:
            ended = f"{self._ended} of {plural(self._tasks, 'task')}"
            failed = f", {self._failed} failed" if self._failed else ""
            self._line.print(f"{ended} in {clock(self.wall_seconds)}{failed}", highlight=False)


@contextmanager
def experiment_progress(listener: Listener | None) -> Iterator[Listener | None]:
    """Yield a listener; in a notebook, show progress if the caller gives no listener.

    Args:
        listener: The caller's listener; None for none.

    Yields:
        ``listener``, or in a notebook a view of the progress, or None. The view is stopped at the
        end.
    """
    shown = NotebookProgress() if listener is None and _quiet_notebook() else None
    try:
        yield shown or listener
    finally:
        if shown is not None:
            shown.stop()


@contextmanager
def search_progress(listener: "SearchListener | None") -> Iterator["SearchListener"]:
    """Yield a listener; in a notebook, show progress if the caller gives no listener.

    Args:
        listener: The caller's listener; None for none.

    Yields:
        ``listener``, or in a notebook a view of the trials, or a listener without effect.
    """
    quiet = _quiet_notebook()
    # Imported here because Optuna takes seconds to import.
    from segtransfer.reporting.search_progress import SearchView
    from segtransfer.searches import SearchListener

    shown = SearchView(NotebookConsole()) if listener is None and quiet else None
    try:
        yield shown or listener or SearchListener()
    finally:
        if shown is not None:
            shown.stop()
