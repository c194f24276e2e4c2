"""Metrics of a user's own, by name, and what no metric of one prediction can be."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.metrics import METRICS, margins, of_margins
from tests.tasks.foreign import on_path, write_entry_points, write_module

CODE = """
from segtransfer.extend import Score

SHARE = Score("Share", "The share of the first class.", lambda right, labelled, predicted:
              100 * predicted[..., 0] / predicted.sum(-1))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_module(tmp_path, "own_metrics", CODE)
    write_entry_points(tmp_path, "own_package", metrics={"share": "own_metrics:SHARE"})
    with on_path(monkeypatch, tmp_path):
        yield


@pytest.mark.parametrize("name", ["own_metrics:SHARE", "share"])
def test_a_metric_is_found_by_its_name(name: str) -> None:
    matrices = np.array([[[3, 1], [0, 4]], [[0, 2], [2, 0]]])
    assert of_margins(name)(*margins(matrices)).tolist() == [37.5, 50]
    assert METRICS.find(name).lower_fools_more


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("drop", "compares several predictions, .* give one of miou, aacc"),
        ("shar", "unknown metric 'shar': did you mean 'share'"),
        ("own_metrics:Score", "is no segtransfer.extend.Score"),
    ],
)
def test_a_wrong_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        of_margins(name)
