"""The report folder: what it holds, and that its pictures show the numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from segtransfer.experiment.reading import read_experiment
from segtransfer.reporting.folder import write_report
from segtransfer.reporting.heatmaps import draw_matrix
from segtransfer.reporting.panels import draw_panel, gamma_of
from segtransfer.reporting.places import is_current
from segtransfer.results import Results, load_results
from segtransfer.store.rows import row_path
from tests.orchestrator.toy_experiments import run_toy


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_toy(tmp_path_factory.mktemp("report"))


def test_the_folder_holds_pictures_tables_and_the_spec(results: Results) -> None:
    folder = write_report(results)
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "matrices.png", "matrix-noise.png", "matrix-pgd.png", "matrix-ds-mi.png",
        "panel-a.png", "panel-b.png", "results.csv", "summary.md", "experiment.yaml",
    }  # fmt: skip
    with Image.open(folder / "matrices.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_the_table_holds_the_matrices(results: Results) -> None:
    table = pd.read_csv(write_report(results) / "results.csv")
    row = table[(table.attack == "pgd") & (table.source == "a") & (table.target == "b")].iloc[0]
    assert row.miou == pytest.approx(results.matrix("pgd").loc["a", "b"], abs=1e-4)
    assert row["drop"] == pytest.approx(results.clean()["b"] - row.miou, abs=1e-3)


def test_written_spec_reads_as_same_experiment(results: Results) -> None:
    folder = write_report(results)
    again = read_experiment(yaml.safe_load((folder / "experiment.yaml").read_text()))
    assert again.model_dump(mode="json", exclude={"runtime"}) == results.manifest.spec


def test_removed_report_is_not_current(results: Results) -> None:
    folder = write_report(results)
    assert is_current(results)
    (folder / "complete").unlink()
    assert not is_current(results)


def test_a_report_without_an_attacks_cost_is_outdated_once_the_attack_is_stored(
    tmp_path: Path,
) -> None:
    whole = run_toy(tmp_path, attacks=["fgsm"])
    key = next(cell.attack_key for cell in whole.manifest.cells if cell.attack_key)
    row = Path(whole.store.location, row_path(key))
    content = row.read_bytes()
    row.unlink()
    partial = load_results(whole.store, whole.identity)
    assert partial.missing == frozenset()  # all scores are stored
    write_report(partial)
    assert is_current(partial)
    row.write_bytes(content)
    again = load_results(whole.store, whole.identity)
    assert not is_current(again)
    write_report(again)
    assert is_current(whole)


def test_every_number_of_a_matrix_is_written_in_its_picture(results: Results) -> None:
    figure = draw_matrix(results, "pgd")
    written = {text.get_text() for text in figure.axes[0].texts}
    for value in results.matrix("pgd").to_numpy().ravel():
        assert f"{value:.1f}" in written
    for value in results.clean():
        assert f"{value:.1f}" in written


def test_a_panel_shows_the_stored_adversarial_image(results: Results) -> None:
    figure = draw_panel(results, "a")
    assert figure is not None
    clean, noise, pgd, ds_mi = np.reshape(figure.axes, (4, 4)).tolist()
    shard_id = results.manifest.shards[0]
    keys = {(c[0], c[1], c[3]): c[5] for c in results.manifest.rows}
    stored = results.store.attack_images(keys["pgd", "a", shard_id])
    assert stored is not None
    assert pgd[0].get_xlabel() == "adversarial image"
    shown = np.asarray(pgd[0].images[0].get_array())
    assert np.array_equal(shown, stored[0, 0].transpose(1, 2, 0))
    assert [axes.get_xlabel().split(" ", 1)[1] for axes in pgd[2:]] == 2 * ["% correct"]
    framed = [[axes.spines["top"].get_visible() for axes in row] for row in (clean, noise, pgd)]
    assert framed == [4 * [False], 4 * [False], [False, False, True, False]]
    assert not ds_mi[3].spines["top"].get_visible()


def test_a_dark_image_is_brightened_and_a_bright_one_is_not() -> None:
    dark, bright = (np.full((3, 2, 2), level, np.uint8) for level in (60, 120))
    assert 0.5 < gamma_of(dark) < 1
    assert gamma_of(bright) == gamma_of(np.zeros_like(dark)) == 1


def test_report_folder_is_inside_store(results: Results) -> None:
    assert write_report(results).is_relative_to(Path(results.store.location))
