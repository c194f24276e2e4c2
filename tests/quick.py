"""The mark ``quick``: tests for every commit, which need no Ray, process, browser or big library.

A test has the mark if neither its file nor a helper that the file imports uses any of ``HEAVY``,
none of its fixtures or parameters does, and it takes less than half a second. ``python -m
tests.quick`` runs all tests and writes the names of longer ones to ``tests/longer.txt``.
"""

import ast
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGER = Path(__file__).with_name("longer.txt")
MOST_SECONDS = 0.5  # of the test's own process: other work on the machine does not count
HEAVY = {"ray", "subprocess", "multiprocessing", "playwright", "mlflow", "mmseg", "transformers"}
HEAVY_FIXTURES = {"cluster", "browser"}


def mark_quick(items: list[pytest.Item]) -> None:
    """Mark the quick ones of the collected tests."""
    longer = set(LONGER.read_text().split())
    for item in items:
        if is_light(item) and name_of(item) not in longer:
            item.add_marker("quick")


def is_light(item: pytest.Item) -> bool:
    """Return whether a test needs nothing heavy, however long it takes."""
    call = getattr(item, "callspec", None)
    parameters = call.params.values() if call else ()
    return not (
        item.get_closest_marker("slow")
        or HEAVY_FIXTURES & set(getattr(item, "fixturenames", ()))
        or any(value == "ray" for value in parameters if isinstance(value, str))
        or heavy_imports(item.path)
    )


def name_of(item: pytest.Item) -> str:
    """Return the id of a test without its parameters."""
    return item.nodeid.partition("[")[0]


@cache
def heavy_imports(path: Path) -> frozenset[str]:
    """Return what a file of tests uses of ``HEAVY``, itself or by helpers that it imports."""
    found, waiting, visited = set[str](), [path], set[Path]()
    while waiting:
        path = waiting.pop()
        visited.add(path)
        for name in _imports(path):
            found |= HEAVY & {name.partition(".")[0]}
            helper = ROOT / f"{name.replace('.', '/')}.py"
            if name.startswith("tests.") and helper.is_file() and helper not in visited:
                waiting.append(helper)
    return frozenset(found)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    if path.name == "conftest.py":
        return ()  # for all tests; its fixtures are told by their names
    return tuple(_imported(ast.parse(path.read_text())))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class Recorder:
    """Plugin that writes the names of light tests that take longer than ``MOST_SECONDS``."""

    def __init__(self) -> None:
        self.longer = set[str]()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        begun = time.process_time()
        answer = yield
        if is_light(item) and time.process_time() - begun > MOST_SECONDS:
            self.longer.add(name_of(item))
        return answer

    def pytest_sessionfinish(self) -> None:
        LONGER.write_text("\n".join(sorted(self.longer)) + "\n")


if __name__ == "__main__":
    pytest.main([], plugins=[Recorder()])
