"""The pages on one node and on four nodes are followed to the letter, against fakes.

Shells of a newcomer run every line in its order. Only paths, ports and a job's name are replaced,
and overrides appended that shrink the runs. Real are pip, Ray, its GPUs in number, and segtransfer.
"""

import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer

from segtransfer import open_results
from segtransfer.cli import app
from tests.conftest import ROOT
from tests.infra.labs import until
from tests.infra.page_terminals import NODES, Place, Terminal, commands
from tests.orchestrator.runtime.test_kill import kill_all_of
from tests.tasks.models.published import serving

pytestmark = pytest.mark.pages

PAGES = [
    ROOT / f"docs/how-to/{name}.md" for name in ("one-node", "four-nodes", "reproduce-the-paper")
]
ONE_NODE, FOUR_NODES, _ = PAGES
LONG_RUN = "segtransfer run paper-voc data.root=VOCdevkit/VOC2012 --max-hours 12"
# One worker and one pair of networks in CI; the slow test has all networks and eight workers.
ONE_PAIR = ("sources=[fcn-r50]", "targets=[fcn-r50,pspnet-r50]", "runtime.fleet.slots=1")


@contextmanager
def made_place(*more: str) -> Iterator[Place]:
    """A place in a short folder, which is removed with all its processes."""
    folder = Path(tempfile.mkdtemp(prefix="st-page-", dir="/tmp"))
    try:
        with serving(folder / "configs") as server:
            yield Place(folder, server, *more)
    finally:
        kill_all_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


def follow(
    place: Place, page: Path, interrupt: Callable[[Terminal], None] | None = None
) -> dict[str, str]:
    """Give a page's commands, and return what each line printed on its last node.

    Args:
        place: The place.
        page: The page.
        interrupt: Ends the long run, which then must fail; without it, that run ends by itself.
    """
    shown: dict[str, str] = {}
    terminals = {node: Terminal(place, node) for node in NODES}
    try:
        for nodes, line in commands(page):
            for node in nodes:
                given = place.given(line)
                if line.startswith("JOB="):
                    jobs = re.findall("raysubmit_[A-Za-z0-9]+", "".join(shown.values()))
                    given = f"JOB={jobs[-1]}"
                terminals[node].begin(given)
                interrupted = interrupt is not None and line == LONG_RUN
                if interrupt is not None and interrupted:
                    interrupt(terminals[node])
                code, shown[line] = terminals[node].end()
                assert (code == 0) != interrupted, f"{line}: {code}\n{shown[line]}"
    finally:
        for terminal in terminals.values():
            terminal.close()
    return shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_line_has_the_arguments_that_the_command_takes(page: Path) -> None:
    lines = [shlex.split(line) for _, line in commands(page) if line.startswith("segtransfer ")]
    assert len(lines) >= 5
    for _, *arguments in lines:
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        command.make_context(command.name, arguments)


def test_the_page_of_one_node_is_followed_with_one_pair_of_networks() -> None:
    with made_place(*ONE_PAIR) as place:
        shown = follow(place, ONE_NODE)
        assert "as published: 0 of 2 targets" in find(shown, "run paper-voc-small")
        check_one_node(place, shown)


@pytest.mark.slow
def test_the_page_of_one_node_is_followed_on_eight_gpus_and_the_long_run_interrupted() -> None:
    with made_place() as place:
        rows = place.shared / "segtransfer-store/rows"

        def press_ctrl_c(terminal: Terminal) -> None:
            before = len(list(rows.rglob("*.parquet")))
            until("more results", lambda: len(list(rows.rglob("*.parquet"))) > before + 2)
            terminal.interrupt()

        shown = follow(place, ONE_NODE, press_ctrl_c)
        assert "as published: 0 of 4 targets" in find(shown, "run paper-voc-small")
        assert "Finished results are in the store. Run the same" in find(shown, LONG_RUN)
        assert "already in the store" in find(shown, "run paper-voc data.root")
        check_one_node(place, shown)


def check_one_node(place: Place, shown: dict[str, str]) -> None:
    """Check what the commands left, and what they said."""
    assert "All images and labels are readable and match" in find(shown, "data check")
    assert "in the store" in find(shown, "run paper-voc data.root")
    results = open_results(place.shared / "segtransfer-store")
    assert "paper-voc" in [found.name for found in results]
    assert not any(found.missing for found in results)
    assert list((place.shared / "tables").rglob("*.parquet"))


def find(shown: dict[str, str], part: str) -> str:
    """Return what the last line with this part printed."""
    return " ".join([text for line, text in shown.items() if part in line][-1].split())


@pytest.mark.slow
def test_the_page_of_four_nodes_is_followed_on_two() -> None:
    with made_place() as place:
        shown = follow(place, FOUR_NODES)
        assert find(shown, "segtransfer doctor").count("has the same versions and code") == 2
        assert "Store:" in find(shown, "fleet status")
        assert "as published: 0 of 6 targets" in find(shown, "job follow")
        assert not [line for line, text in shown.items() if "could not be" in text]
        assert "Not logged to MLflow" not in find(shown, "compare")
        assert len(open_results(place.shared / "store")) == 2
        assert list((place.shared / "cache/segtransfer").glob("*.pth"))
