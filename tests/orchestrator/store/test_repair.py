"""Damaged results are computed again by a run, or removed by a repair; sound results stay."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.results import Results, load_results
from segtransfer.store import Store
from segtransfer.store.maintenance import compact, find_damage, remove_damage, verify
from segtransfer.store.rows import encode_rows, row_path
from segtransfer.store.store import shard_path
from tests.orchestrator.toy_experiments import (
    arrays,
    assert_same_bits,
    blob_of,
    damage,
    row_files,
    run_toy,
)

runner = CliRunner()
ATTACKS = [{"preset": "pgd", "eps": "8/255", "steps": 1}]


def run(folder: Path) -> Results:
    return run_toy(folder, attacks=ATTACKS)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(tmp_path_factory.mktemp("oracle"))


def copied(oracle: Results, folder: Path) -> Results:
    """The oracle's results in a store and with data of their own."""
    shutil.copytree(Path(oracle.store.location).parent, folder, dirs_exist_ok=True)
    return load_results(Store(str(folder / "store")), oracle.identity)


def attack_of(results: Results) -> str:
    return next(cell[5] for cell in results.manifest.rows if cell[5])


def blob_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def full_folder(path: Path) -> None:
    blob_folder(path)
    (path / "mine.txt").write_text("of a user")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


HARMS: list[Callable[[Path], object]] = [
    damage, truncated, Path.unlink, blob_folder, full_folder, pipe, dangling,
]  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("part", ["blob", "row"])
def test_damaged_aes_with_stored_scores_are_computed_again_by_a_run(
    tmp_path: Path, oracle: Results, harm: Callable[[Path], object], part: str
) -> None:
    first = copied(oracle, tmp_path)
    key = attack_of(first)
    path = blob_of(first.store, key)
    harm(path if part == "blob" else Path(first.store.location, row_path(key)))
    again = run(tmp_path)
    assert again.computed == 1
    assert_same_bits(again, oracle)
    report = verify(again.store)
    assert report.sound, report.findings
    assert run(tmp_path).computed == 0


def test_run_computes_compacted_damage_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    compact(first.store)
    damage(blob_of(first.store, attack_of(first)))
    again = run(tmp_path)
    assert again.computed == 1
    assert verify(again.store).sound


def test_scores_of_changed_aes_are_computed_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    key = attack_of(first)
    row = first.store.row(key)
    assert row is not None
    # As if another machine had made the images: they are lost, and the hash is not reached again.
    other = first.store.put_attack(("x",), first.store.attack_images(key)[:, :1] ^ 1)  # type: ignore[index]
    lost = type(row)(**{**vars(row), "blob": other.path, "sha256": other.sha256})
    first.store.files.write(row_path(key), encode_rows([lost]))
    first.store.files.delete(other.path)
    targets = sum(cell[5] == key for cell in first.manifest.rows)
    assert run(tmp_path).computed == 1 + targets


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("part", ["blob", "row", "shard"])
@pytest.mark.parametrize("compacted", [False, True])
def test_repair_removes_damaged_files_only(
    tmp_path: Path, oracle: Results, harm: Callable[[Path], object], part: str, compacted: bool
) -> None:
    first = copied(oracle, tmp_path)
    store, key = first.store, attack_of(first)
    blob = blob_of(store, key)
    if compacted:
        compact(store)
    paths = {"blob": blob, "row": Path(store.location, row_path(key))}
    shard = Path(store.location, shard_path(first.manifest.shards[0]))
    path = {**paths, "shard": shard}[part]
    if part == "row" and compacted:
        (path,) = Path(store.location, "compacted").iterdir()
    harm(path)
    before = {name: store.row(name) for name in store.keys() - {key}}
    damages = find_damage(store)
    # A file that is gone leaves no trace, and a bit of compacted rows may mean nothing.
    assert damages or harm is Path.unlink or (part == "row" and compacted)
    remove_damage(store, damages)
    assert find_damage(store) == ()
    assert verify(store).sound, verify(store).findings
    kept = {name: store.row(name) for name in before}
    assert (part == "row" and compacted) or kept == before
    assert_same_bits(run(tmp_path), oracle)
    if harm is full_folder and path.parent.exists():
        assert [p.read_text() for p in path.parent.rglob("mine.txt")] == ["of a user"]


def test_the_command_lists_asks_and_repairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path)
    store, key = first.store, attack_of(first)
    damage(blob_of(store, key))
    assert runner.invoke(app, ["store", "verify", store.location]).exit_code == 1
    unasked = runner.invoke(app, ["store", "repair", store.location])
    assert unasked.exit_code == 2
    assert "add --yes" in unasked.stderr
    monkeypatch.setattr("segtransfer.cli.store.is_interactive", lambda: True)
    refused = runner.invoke(app, ["store", "repair", store.location], input="n\n")
    assert row_path(key) in refused.output.replace("\n", "")
    assert store.row(key) is not None
    repaired = runner.invoke(app, ["store", "repair", store.location], input="y\n")
    assert repaired.exit_code == 0, repaired.output
    assert store.row(key) is None
    assert runner.invoke(app, ["store", "verify", store.location]).exit_code == 0
    rows = row_files(store)
    assert run(tmp_path).computed == 1
    assert rows.items() <= row_files(store).items()
    arrays(run(tmp_path))


def test_repair_keeps_results_computed_since_the_listing(tmp_path: Path) -> None:
    first = run(tmp_path)
    damage(blob_of(first.store, attack_of(first)))
    damages = find_damage(first.store)
    run(tmp_path)
    assert remove_damage(first.store, damages) == 0
    assert run(tmp_path).computed == 0


def test_truncated_description_is_removed_and_written_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    path = Path(first.store.location, "experiments", f"{first.identity}.json")
    for text in ("{", "[]", '{"cells": 7, "shards": []}', "[" * 100_000, ""):
        path.write_text(text)
        assert [d.path for d in find_damage(first.store)] == [f"experiments/{path.name}"]
    remove_damage(first.store, find_damage(first.store))
    assert not path.exists()
    assert run(tmp_path).computed == 0
    assert Store(first.store.location).descriptions().keys() == {first.identity}
