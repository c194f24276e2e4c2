"""A torn experiment is named by every verb and hides no sound experiment."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli import app
from segtransfer.comparison import compare
from segtransfer.errors import InputError
from segtransfer.results import load_results
from segtransfer.results.lookup import experiment_of
from segtransfer.store import Store
from tests.orchestrator.toy_experiments import run_toy

TORN = "beef" * 16
CANNOT = rf"experiments/{TORN}\.json of store .* cannot be read: run its experiment again, or "


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(run_toy(tmp_path_factory.mktemp("torn"), attacks=["noise"]).store.location)


@pytest.fixture
def store(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path / "store")
    (tmp_path / "store" / "experiments" / f"{TORN}.json").write_text('{"format": 2, "cel')
    return Store(str(tmp_path / "store"))


def test_results_of_a_store_with_a_torn_experiment_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match=CANNOT):
        open_results(store.location)
    with pytest.raises(InputError, match=CANNOT):
        load_results(store, TORN)
    (sound,) = store.descriptions()
    assert load_results(store, sound).attacks == ["noise"]


def test_report_names_the_torn_experiment_after_the_sound_experiment(store: Store) -> None:
    told = CliRunner().invoke(app, ["report", store.location])
    assert told.exit_code == 2
    assert "any source" in told.stdout
    said = "".join(told.stderr.split())  # lines break inside of the path
    assert f"experiments/{TORN}.jsonofstore" in said
    assert "cannotberead" in said


def test_store_of_two_experiments_needs_a_name_and_lists_the_torn_experiment(store: Store) -> None:
    with pytest.raises(InputError, match=r"2 experiments\. .* beefbeefbeef \(damaged\)"):
        experiment_of(store)
    assert experiment_of(store, "beef")[0] == TORN
    (sound,) = store.descriptions()
    assert experiment_of(store, sound[:12])[0] == sound


def test_comparison_with_a_torn_experiment_is_refused_with_the_reason(store: Store) -> None:
    (sound,) = store.descriptions()
    with pytest.raises(InputError, match=CANNOT):
        compare(sound[:12], "beef", store=store.location)


def test_gc_deletes_a_torn_experiment_by_its_identity(store: Store) -> None:
    gc = ["store", "gc", store.location, "--yes"]
    assert CliRunner().invoke(app, [*gc, "--experiments", "beefbeef"]).exit_code == 0
    assert TORN not in "".join(store.files.names("experiments"))
    assert CliRunner().invoke(app, ["report", store.location]).exit_code == 0
