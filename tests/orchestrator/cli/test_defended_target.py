"""A defended target through the command, and the groups of its pairs."""

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from segtransfer.api import open_results
from segtransfer.cli import app
from segtransfer.experiment.manifest import Manifest
from segtransfer.reporting.html.page import draw_page
from segtransfer.results import Results
from tests.orchestrator.toy_experiments import CLASSES, toy, write_images

DEFENCES = [{"jpeg": 40}, {"bits": 5}, "resize-pad", "flip", {"scales": [0.75, 1]}]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("defended")
    write_images(folder / "data", count=2)
    net = toy("net", "staged", seed=1) | {"backbone": "one"}
    spec = {
        "data": {"folder": str(folder / "data"), "classes": CLASSES},
        "models": [
            net,
            net | {"name": "defended", "defences": DEFENCES},
            net | {"name": "smoothed", "defences": [{"smooth": 1}]},
            toy("other", "staged", seed=2) | {"backbone": "two", "defences": ["flip"]},
        ],
        "sources": ["net", "smoothed", "defended"],
        "attacks": [{"preset": "pgd", "steps": 3}],
        "runtime": {"executor": "inline", "store": str(folder / "store")},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(spec))
    answer = CliRunner().invoke(app, ["run", str(folder / "mine.yaml"), "--no-tracking"])
    assert answer.exit_code == 0, answer.output
    assert "same network, other defences" in answer.output
    (found,) = open_results(folder / "store")
    return found


def test_defended_copy_of_a_source_is_a_group_of_its_own(results: Results) -> None:
    groups = {(s, t): results.group(s, t) for s in results.sources for t in results.targets}
    assert groups["net", "net"] == groups["defended", "defended"] == "diagonal"
    assert groups["net", "defended"] == groups["defended", "net"] == "same_network"
    assert groups["smoothed", "defended"] == "same_network"
    assert {groups[source, "other"] for source in results.sources} == {"cross_backbone"}
    drops = results.headlines("pgd", "drop")
    assert np.isfinite([drops["diagonal"], drops["same_network"], drops["cross_backbone"]]).all()
    assert results.strongest("pgd", "defended") == ("pgd", "defended")


def test_defences_change_what_a_target_answers(results: Results) -> None:
    matrix = results.matrix("pgd")
    assert len(set(matrix.loc["net", ["net", "defended", "smoothed"]])) == 3


def test_page_has_a_column_for_the_group(results: Results) -> None:
    page = draw_page(results)
    assert page.count("Same network, other defences") >= 2


def test_manifest_names_networks_without_defences_only_where_there_are_defences(
    results: Results,
) -> None:
    stored = results.manifest.stored()
    own = stored["models"]["net"]["fingerprint"]
    assert "undefended" not in stored["models"]["net"]
    assert stored["models"]["defended"]["undefended"] == [own]
    assert Manifest.model_validate(json.loads(json.dumps(stored))).models == results.manifest.models
