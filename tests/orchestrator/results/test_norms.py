"""The norm at 99 % fooled pixels, from what is stored to the page and the tables of a paper."""

from pathlib import Path

import numpy as np
import pytest

from segtransfer.experiment.spec_warnings import spec_warnings
from segtransfer.reporting.html.page import draw_page
from segtransfer.reporting.surfaces import charts
from segtransfer.results import Results
from segtransfer.results.norms import summarise_norms
from segtransfer.results.views import attack_summary
from tests.orchestrator.toy_experiments import run_toy, toy_experiment

ATTACKS = [
    {"preset": "dag", "steps": 300, "step_size": 0.008},
    {"preset": "dag", "name": "short", "steps": 3},
    {"preset": "alma-prox", "steps": 60, "step_size": 0.02},
    {"preset": "dag", "name": "towards", "steps": 3, "target": {"every": 1}},
    {"preset": "pgd", "eps": "8/255", "steps": 2},
]
SEEKING = ("dag", "short", "alma-prox")
TITLE = "Images with 99 % fooled pixels at a norm of at most eps"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_toy(tmp_path_factory.mktemp("norms"), attacks=ATTACKS)


def stored_norms(results: Results, attack: str, source: str) -> dict[str, float]:
    """The norm of each image from its stored pixels and predictions; infinite if not reached."""
    found = {}
    for cell in results.manifest.cells:
        if (cell.attack, cell.source, cell.target) == (attack, source, source):
            images = results.store.attack_images(cell.attack_key)
            shard, scored = results.store.shard(cell.shard_id), results.store.evaluation(cell.key)
            for i, name in enumerate(shard.image_ids):
                counted = shard.labels[i] != 255
                wrong = (scored.predictions[i] != shard.labels[i])[counted].mean()
                norm = np.abs(images[0][i].astype(int) - shard.images[i]).max()
                found[name] = float(norm) if wrong >= 0.99 else np.inf
    return found


@pytest.mark.parametrize("attack", [*SEEKING, "pgd"])
def test_norms_are_those_of_the_stored_images(results: Results, attack: str) -> None:
    norms = results.norms(attack)
    assert list(norms.columns) == results.sources
    for source in results.sources:
        assert norms[source].to_dict() == stored_norms(results, attack, source)


def test_an_image_that_is_not_reached_has_an_infinite_norm_and_is_counted(results: Results) -> None:
    assert np.isinf(results.norms("short")).all(axis=None)
    assert summarise_norms(results, "short").median == np.inf
    assert summarise_norms(results, "short").reached == 0
    norms = results.norms("dag").to_numpy()
    assert summarise_norms(results, "dag").median == np.median(norms)
    assert summarise_norms(results, "dag").reached == 100 * np.isfinite(norms).mean() > 0


def test_other_attacks_have_no_norm(results: Results) -> None:
    assert results.norms("towards").isna().all(axis=None)
    for attack in ("towards", "pgd"):
        assert np.isnan(attack_summary(results, attack).norm)


def test_page_and_paper_show_norms_and_a_curve(results: Results) -> None:
    page = draw_page(results)
    assert "median over images of the L-infinity norm at 99 % fooled pixels" in page
    assert TITLE in page
    points = charts(results, "miou")[TITLE].to_dict()["datasets"]["points"]
    norms = results.norms("dag").to_numpy().ravel()
    curve = {p["norm"]: p["share"] for p in points if p["attack"] == "dag"}
    assert curve == {n: 100 * (norms <= n).mean() for n in [0, *norms[np.isfinite(norms)]]}
    assert {p["attack"] for p in points} == set(SEEKING)
    shown = {
        line.split("|")[1].strip(): line
        for line in results.to_markdown().splitlines()
        if "|" in line
    }
    assert "| norm" in shown["attack"]
    assert "∞" in shown["short"]
    assert r"$\infty$" in results.to_latex()


def test_results_without_such_an_attack_show_no_norms(tmp_path: Path) -> None:
    results = run_toy(tmp_path)
    assert TITLE not in draw_page(results)
    assert "reached" not in results.to_markdown()


def test_a_largest_norm_of_1_is_no_mistake(tmp_path: Path) -> None:
    assert not spec_warnings(toy_experiment(tmp_path, attacks=ATTACKS[:4]))
