"""The tutorial on two nodes is followed to the letter, on two nodes of one machine."""

import pytest

from segtransfer import open_results
from tests.conftest import ROOT
from tests.infra import test_node_pages as node_pages
from tests.infra.page_terminals import commands

PAGE = ROOT / "docs/tutorials/two-nodes.md"


def test_lines_name_the_nodes_that_run_them() -> None:
    nodes = {line: found for found, line in commands(PAGE)}
    assert nodes["ray start --address=node1:6379"] == ("node2",)
    assert nodes["ray stop"] == ("node1", "node2")
    assert not [line for line in nodes if line.startswith("#")]


@pytest.mark.slow
def test_every_line_runs_on_two_nodes() -> None:
    with node_pages.made_place() as place:
        shown = node_pages.follow(place, PAGE)
        assert node_pages.find(shown, "doctor").count("has the same versions and code") == 2
        assert "quickstart" in node_pages.find(shown, "job follow")
        assert "ds-mi (B) against pgd (A)" in node_pages.find(shown, "compare")
        assert [found.name for found in open_results(place.shared / "store")] == ["quickstart"] * 2
