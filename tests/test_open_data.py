"""The code of docs/reference/store.md works as written, and agrees with segtransfer itself."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.experiment.task import CLEAN
from segtransfer.results import Results
from segtransfer.tasks import metrics
from tests.conftest import ROOT
from tests.orchestrator.toy_experiments import ATTACKS, run_toy, toy

PAGE = (ROOT / "docs/reference/store.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
COMMANDS = re.findall(r"^    segtransfer (export .*)$", PAGE, flags=re.MULTILINE)
LIBRARIES = ("duckdb", "datasets")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("open")
    store = {"store": str(folder / "segtransfer-store")}
    models = [toy("a", seed=1), toy("b", seed=2), toy("c", seed=3)]
    return run_toy(folder, models=models, sources=["b", "a"], attacks=ATTACKS, runtime=store)


@pytest.fixture(scope="module")
def names(results: Results) -> Iterator[dict[str, Any]]:
    """What the page's code defines, run from top to bottom beside the store and its exports; code
    for libraries that are not installed is left out."""
    folder = Path(results.store.location).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if installed("datasets"):
            patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        for command in COMMANDS:
            answer = CliRunner().invoke(app, shlex.split(command))
            assert answer.exit_code == 0, answer.output
        found: dict[str, Any] = {}
        for block in BLOCKS:
            if all(library not in block or installed(library) for library in LIBRARIES):
                exec(block, found)
        yield found


def installed(library: str) -> bool:
    try:
        __import__(library)
    except ImportError:
        return False
    return True


def test_the_page_exports_in_every_format() -> None:
    formats = [re.search(r"--format (\w+)", command) for command in COMMANDS]
    assert [f[1] if f else "parquet" for f in formats] == ["parquet", "csv", "png", "hf"]


def test_a_matrix_from_the_stores_own_files_is_ours_exactly(
    results: Results, names: dict[str, Any]
) -> None:
    assert np.array_equal(names["matrix"], results.matrix("pgd").to_numpy())
    miou, confusions = names["miou"], names["confusions"]
    assert confusions.keys() == results.counts.keys()
    for (attack, source, target), confusion in confusions.items():
        if attack == CLEAN:
            expected = results.clean()[target]
        else:
            expected = results.matrix(attack).loc[source or "a", target]
        assert miou(confusion) == expected


def test_its_miou_is_ours_for_any_number_of_classes(names: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    for classes in (2, 9, 19, 150):
        matrix = generator.integers(0, 10**9, (classes, classes))
        absent = generator.random(classes) < 0.3
        absent[:2] = False
        matrix[absent], matrix[:, absent] = 0, 0
        assert names["miou"](matrix) == metrics.miou(matrix)


def test_a_matrix_from_the_exported_rows_is_ours_exactly(
    results: Results, names: dict[str, Any]
) -> None:
    for source in results.sources:
        for target in results.targets:
            assert names["again"].loc[source, target] == results.matrix("pgd").loc[source, target]
            expected = results.matrix("pgd", "drop").loc[source, target]
            assert names["drops"].loc[source, target] == expected


def test_an_image_is_read_beside_its_clean_one(names: dict[str, Any]) -> None:
    assert names["image_id"] == names["same_id"]
    assert names["adversarial_pixels"].shape == names["clean_pixels"].shape == (3, 24, 32)
    assert 0 < names["largest"] <= 8


def test_duckdb_reads_the_store_and_the_tables(results: Results, names: dict[str, Any]) -> None:
    pytest.importorskip("duckdb", reason="duckdb is not installed")
    cost = names["cost"].set_index("kind")
    assert cost.loc["evaluate", "tasks"] == len(results.manifest.rows)
    spent = sum(results.cost(attack)["seconds"] for attack in results.attacks)
    assert cost.loc["attack", "seconds"] == pytest.approx(spent)
    accuracy = names["accuracy"].set_index(["attack", "source", "target"])["aacc"]
    matrix = results.matrix("ds-mi", "aacc")
    assert accuracy["ds-mi", "a", "c"] == pytest.approx(matrix.loc["a", "c"])
    source, target, drop = names["largest_drop"]
    drops = results.matrix("pgd", "drop")
    others = [drops.loc[s, t] for s in results.sources for t in results.targets if s != t]
    assert drop == pytest.approx(max(others)) == pytest.approx(drops.loc[source, target])


def test_datasets_reads_the_hub_export(results: Results, names: dict[str, Any]) -> None:
    pytest.importorskip("datasets", reason="datasets is not installed")
    assert names["picture"].size == (32, 24)
    assert names["source"] is None  # noise comes first, and needs none
    pixels = sum(counts[:, 1].sum() for counts in results.counts.values())
    right = sum(counts[:, 0].sum() for counts in results.counts.values())
    assert names["right"] == pytest.approx(right / pixels)


def test_every_path_and_column_that_the_page_names_is_there(results: Results) -> None:
    store = Path(results.store.location)
    row = results.store.row(results.manifest.rows[0][4])
    assert row is not None
    for name in os.listdir(store):
        assert f"| `{name}/" in PAGE
    for name in vars(row):
        assert f"`{name}`" in PAGE
    for name in results.manifest.stored():
        assert f"`{name}`" in PAGE
