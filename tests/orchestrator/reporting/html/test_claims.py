"""The page claims no more than its intervals show, and says what counts in a mean."""

from dataclasses import replace

import numpy as np
import pytest

from segtransfer.reporting.html.analysis import analyse
from segtransfer.reporting.html.facts import findings
from segtransfer.reporting.html.page import draw_page
from segtransfer.results import Results
from tests.orchestrator.reporting.html.made_up import made_up


@pytest.fixture
def results() -> Results:
    attacks = [{"preset": "pgd"}, {"preset": "mi"}, {"preset": "ds"}]
    return made_up(attacks, images=24, pictures=False)


def with_copies(results: Results, attack: str, copy: str) -> Results:
    """Return results in which an attack has the confusion matrices of another."""
    cells = {
        (name, *rest): results.counts[attack if name == copy else name, *rest]
        for name, *rest in results.counts
    }
    return replace(results, counts=cells)


def with_better(results: Results, attack: str) -> Results:
    """Return results in which an attack turns every pixel of every image into another class."""
    none_right = np.array([0, 1, 1])[:, None]  # of the right, labelled and predicted pixels
    cells = {
        (name, *rest): matrix * none_right if name == attack else matrix
        for (name, *rest), matrix in results.counts.items()
    }
    return replace(results, counts=cells)


def test_attack_beyond_noise_has_lowest_mean(results: Results) -> None:
    best = with_better(results, "ds")
    analysis = analyse(best)
    assert analysis.least == ("ds",)
    assert "ds has the lowest mean mIoU:" in findings(best, analysis)[0]


def test_a_tie_within_noise_is_called_a_tie(results: Results) -> None:
    tied = with_copies(with_better(results, "ds"), "ds", "mi")
    analysis = analyse(tied)
    assert set(analysis.least) == {"ds", "mi"}
    (first, *_) = findings(tied, analysis)
    assert "has the lowest mean mIoU:" not in first
    assert "lowest mean mIoU, within noise of" in first


def test_single_image_has_no_lowest_mean() -> None:
    single = made_up([{"preset": "pgd"}, {"preset": "mi"}], images=2, pictures=False)
    assert "has the lowest mean mIoU:" not in findings(single, analyse(single))[0]


def test_predicted_classes_without_label_are_named(results: Results) -> None:
    assert "only predicted" not in " ".join(warning.kind for warning in results.warnings)
    cells = {}
    for cell, matrix in results.counts.items():
        changed = matrix.copy()
        changed[:, :2, 2] = 0  # no pixel is labelled as the last class, some are predicted as it
        changed[:, 2, 2] += 1
        cells[cell] = changed
    without = replace(results, counts=cells)
    found = [w.sentence for w in without.warnings if w.kind == "class only predicted"]
    assert len(found) == len(results.targets)
    assert all(results.classes[2] in sentence for sentence in found)
    assert results.classes[2] in draw_page(without)
    assert replace(results, counts={}).warnings == ()
