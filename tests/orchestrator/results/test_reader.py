"""The reader of an experiment: AEs of another task under a key, and equal warnings everywhere."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segtransfer.export import export
from segtransfer.reporting.folder import write_report
from segtransfer.reporting.places import report_folder
from segtransfer.results import Results, load_results
from segtransfer.results.published import NEAR, published_scores
from segtransfer.store import Store
from segtransfer.store.rows import encode_rows, row_path
from tests.orchestrator.results.test_warnings import (
    CASES,
    in_markdown,
    mark_random,
    on_the_page,
    sentences,
)
from tests.orchestrator.toy_experiments import run_toy

FOREIGN: dict[str, dict[str, Any]] = {
    "of another source": {"model": "0" * 64},
    "of another shard": {"shard": "0" * 64},
    "of another attack": {"attack": json.dumps({"preset": "pgd", "steps": 99})},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("reader")
    return run_toy(folder, attacks=[{"preset": "pgd", "eps": "8/255", "steps": 2}])


def made_on_a(results: Results) -> str:
    """The key of the AEs of the first shard, made on a."""
    shard = results.manifest.shards[0]
    return next(c.attack_key for c in results.manifest.cells
                if (c.source, c.shard_id) == ("a", shard) and c.attack_key)  # fmt: skip


@pytest.mark.parametrize("fields", FOREIGN.values(), ids=FOREIGN)
def test_aes_of_another_task_under_the_key_count_as_missing(
    results: Results, fields: dict[str, Any], tmp_path: Path
) -> None:
    store, key = Store(results.store.location), made_on_a(results)
    row = store.row(key)
    assert row is not None
    store.files.write(row_path(key), encode_rows([replace(row, **fields)]))
    try:
        found = load_results(store, results.identity)
        made = [source for source, _ in found.attack_reports["pgd"]]
        shards = len(results.manifest.shards)
        assert (made.count("a"), made.count("b")) == (shards - 1, shards)
        reader = found.reader()
        shard_id = results.manifest.shards[0]
        first = [aes.source for aes in reader.adversarial(shard_id, reader.shard(shard_id))]
        assert first == ["b"]
        assert key in reader.missing
        told = export(store.location, tmp_path / "png", "png")
        assert told.notes[0].startswith("PARTIAL: 1 of ")
    finally:
        store.files.write(row_path(key), encode_rows([row]))


def test_a_report_of_fewer_images_than_the_shard_has_is_left_out_of_an_export(
    results: Results, tmp_path: Path
) -> None:
    store, key = Store(results.store.location), made_on_a(results)
    row = store.row(key)
    assert row is not None
    short = [{n: c[:1] for n, c in table.items()} for table in row.report["perturbation"]]
    fewer = replace(row, report={**row.report, "perturbation": short})
    store.files.write(row_path(key), encode_rows([fewer]))
    try:
        told = export(store.location, tmp_path / "tables", "parquet")
        assert told.notes[0].startswith("PARTIAL: 1 of ")
    finally:
        store.files.write(row_path(key), encode_rows([row]))


def test_a_reader_reads_the_wanted_cells_alone(results: Results) -> None:
    reader = results.reader(lambda cell: cell.source in ("a", None))
    scored = [s.cell for shard_id, shard in reader.shards() for s in reader.scored(shard_id, shard)]
    assert {cell.source for cell in scored} == {"a", None}
    assert len(scored) == 4 * len(results.manifest.shards)
    assert {source for _, source, _ in reader.attack_reports()} == {"a"}


# One list of warnings -----------------------------------------------------------------------------


def assert_exports_warn_as_the_page(results: Results, folder: Path) -> None:
    write_report(results)
    shown = {"page": on_the_page((report_folder(results) / "report.html").read_text())}
    for kind in ("parquet", "csv", "hf"):
        made = export(results.store.location, folder / kind, kind).folder  # type: ignore[arg-type]
        shown[kind] = json.loads((made / "experiment.json").read_text())["warnings"]
    card = (folder / "hf" / "README.md").read_text()
    shown["card"] = in_markdown(card[card.index("**Warnings**") :])
    assert sentences(results)
    assert shown == dict.fromkeys(shown, sentences(results))


@pytest.mark.parametrize("name", CASES)
def test_an_export_has_the_warnings_of_the_report_and_the_page(name: str, tmp_path: Path) -> None:
    made = CASES[name][0](tmp_path)
    if name == "random-model":
        mark_random(made)
    assert_exports_warn_as_the_page(load_results(made.store, made.identity), tmp_path)


def test_margin_of_a_published_miou_is_equal_in_export_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtransfer.experiment.manifest.published_miou", lambda *_: 150.0)
    results = run_toy(tmp_path, attacks=[{"preset": "noise", "eps": "8/255"}])
    assert all(score.margin > NEAR for score in published_scores(results))
    assert_exports_warn_as_the_page(results, tmp_path)
