"""SSIM and spectra of perturbations in results, and results of earlier versions without them."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from segtransfer.reporting.html.page import draw_page
from segtransfer.results import Results, load_results
from segtransfer.results.views import attack_summary
from segtransfer.store import CommitRow
from segtransfer.store.reports import is_attack_report
from segtransfer.store.rows import encode_rows, row_path
from segtransfer.tasks.appearance import BANDS, SAMPLED, spectrum, ssim
from tests.orchestrator.toy_experiments import run_toy

ATTACKS = [
    {"preset": "noise", "eps": "8/255"},
    {"preset": "pgd", "eps": "8/255", "steps": 2, "scores": ["raw", "eps*sign"]},
]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return run_toy(tmp_path, attacks=ATTACKS)


def sampled(results: Results, attack: str) -> tuple[list[float], list[np.ndarray]]:
    """SSIM and spectra computed again from the stored images."""
    similarity: list[float] = []
    spectra: list[np.ndarray] = []
    reader = results.reader()
    for shard_id, shard in reader.shards():
        assert shard is not None
        for made in reader.adversarial(shard_id, shard):
            if made.attack == attack:
                images = made.images[:SAMPLED], shard.images[:SAMPLED]
                similarity += ssim(*images).tolist()
                spectra += list(spectrum(*images))
    return similarity, spectra


def without_looks(results: Results) -> Results:
    """The same results as a version before looks stored them."""
    for key in {cell.attack_key for cell in results.manifest.cells if cell.attack_key}:
        row = results.store.row(key)
        assert row is not None
        report = {name: part for name, part in row.report.items() if name != "appearance"}
        older = CommitRow(**vars(row) | {"report": report})
        results.store.files.write(row_path(key), encode_rows([older]))
    return load_results(results.store, results.identity)


def test_looks_are_those_of_the_stored_images(results: Results) -> None:
    frame, spectra = results.frame(), results.spectra()
    for attack in results.attacks:
        similarity, powers = sampled(results, attack)
        assert results.perturbation(attack)["ssim"] == pytest.approx(np.mean(similarity))
        assert attack_summary(results, attack).ssim == pytest.approx(np.mean(similarity))
        rows = spectra[spectra["attack"] == attack]
        assert len(rows) == BANDS
        np.testing.assert_allclose(rows["power"], np.mean(powers, 0))
        assert rows["share"].sum() == pytest.approx(100)
        cells = frame[frame["attack"] == attack].drop_duplicates("source")
        assert cells["ssim"].mean() == pytest.approx(np.mean(similarity))
        shares = rows[rows["low"] >= 0.25]["share"].sum()
        assert cells["high_frequency"].mean() == pytest.approx(shares, abs=3)
    noise = spectra[spectra["attack"] == "noise"]
    assert noise["density"].mean() == pytest.approx(1, abs=0.3)
    assert "Radial spectrum of the perturbation" in draw_page(results)


def test_results_of_an_earlier_version_are_read_without_looks(results: Results) -> None:
    older = without_looks(results)
    assert not older.missing
    for attack in older.attacks:
        assert older.matrix(attack).equals(results.matrix(attack))
        known = older.perturbation(attack)
        assert np.isnan(known["ssim"])
        assert known.drop("ssim").equals(results.perturbation(attack).drop("ssim"))
    frame = older.frame()
    assert frame[["ssim", "high_frequency"]].isna().all(axis=None)
    assert older.spectra().empty
    page = draw_page(older)
    assert "Radial spectrum" not in page
    assert "– in results of earlier versions" in page


def test_report_with_wrong_looks_is_invalid(results: Results) -> None:
    key = next(cell.attack_key for cell in results.manifest.cells if cell.attack == "pgd")
    row = results.store.row(str(key))
    assert row is not None
    report = json.loads(json.dumps(row.report))
    assert is_attack_report(report, 2, None)
    for change in (
        lambda looks: looks.pop(),
        lambda looks: looks[0].pop("ssim"),
        lambda looks: looks[0]["ssim"].append(0.5),
        lambda looks: looks[1]["ssim"].__setitem__(0, 1.5),
        lambda looks: looks[1]["spectrum"][0].pop(),
        lambda looks: looks[0]["spectrum"][0].__setitem__(3, -1.0),
        lambda looks: looks[0]["spectrum"][0].__setitem__(3, None),
    ):
        wrong = copy.deepcopy(report)
        change(wrong["appearance"])
        assert not is_attack_report(wrong, 2, None)
