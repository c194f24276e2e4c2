"""Models with pictures: all of few; of many, white boxes and the first ones of each backbone."""

import pytest

from segtransfer.reporting import pictured
from segtransfer.reporting.panels import draw_panel
from segtransfer.reporting.pictured import pictured_part, pictured_sources, pictured_targets
from segtransfer.results import Results
from tests.orchestrator.reporting.html.made_up import made_up

PGD = {"preset": "pgd", "eps": "8/255", "steps": 10}


@pytest.fixture
def results() -> Results:
    """Five models; those of even numbers share a backbone, and those of odd numbers another."""
    return made_up([PGD], sources=5, targets=5, pictures=False)


def test_few_models_have_pictures_all(results: Results) -> None:
    assert pictured_sources(results) == results.sources
    assert pictured_targets(results, results.sources) == results.targets
    assert pictured_part(results) == ""


def test_many_models_take_backbones_in_turn(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictured, "MOST_SOURCES", 3)
    monkeypatch.setattr(pictured, "MOST_TARGETS", 2)
    assert pictured_sources(results) == ["net-0", "net-1", "net-2"]
    assert pictured_targets(results, []) == ["net-0", "net-1"]
    assert "3 of 5 sources and 2 of 5 targets" in pictured_part(results)


def test_white_boxes_come_first(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictured, "MOST_TARGETS", 3)
    assert pictured_targets(results, ["net-4"]) == ["net-0", "net-1", "net-4"]
    assert pictured_targets(results, results.sources) == ["net-0", "net-1", "net-2"]


def test_panel_of_many_targets_draws_some_and_says_so() -> None:
    panel = draw_panel(made_up([PGD], sources=14, targets=14, images=2), "net-13")
    assert panel is not None
    written = [text.get_text() for text in panel.texts]
    assert "12 of 14 targets are drawn" in " ".join(written)
    assert sum(text.startswith("net-") for text in written) == 12
    assert "net-13" in written
