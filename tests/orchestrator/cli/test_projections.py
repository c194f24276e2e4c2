"""Complete results exit with 0 even if their report or MLflow fails."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.store import Store
from segtransfer.store.unlogged import unlogged
from tests.orchestrator.toy_experiments import run_toy, toy_spec

runner = CliRunner()
ATTACKS = ["noise"]


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(toy_spec(tmp_path, attacks=ATTACKS)))
    return path


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a colour")])
def test_report_failure_prints_a_warning(
    spec: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("segtransfer.reporting.folder.write_page", failing)
    done = runner.invoke(app, ["run", str(spec)])
    assert done.exit_code == 0, done.output
    told = done.stderr.replace("\n", " ")
    assert f"the report could not be written ({type(error).__name__}: {error})" in told
    (kept,) = Path("segtransfer-reports").glob("error-*.txt")
    assert "in failing" in kept.read_text()
    assert "".join(str(kept).split()) in "".join(done.stderr.split())
    assert runner.invoke(app, ["run", str(spec), "--require-tracking"]).exit_code == 1
    assert runner.invoke(app, ["report", "store"]).exit_code == 0
    monkeypatch.undo()
    os.chdir(spec.parent)
    assert runner.invoke(app, ["run", str(spec), "--require-tracking"]).exit_code == 0


def test_run_with_failed_report_is_noted_and_logged_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: object) -> None:
        raise ValueError("a colour")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    runtime = {"tracking": True}
    spec = tmp_path / "mine.yaml"
    spec.write_text(yaml.safe_dump(toy_spec(tmp_path, attacks=ATTACKS, runtime=runtime)))
    with monkeypatch.context() as broken:
        broken.setattr("segtransfer.reporting.folder.write_page", failing)
        assert runner.invoke(app, ["run", str(spec)]).exit_code == 0
    (store,) = {path.parent for path in tmp_path.glob("store/experiments")}
    (run,) = unlogged(Store(str(store)))
    assert run.cause == "its report could not be written"
    assert runner.invoke(app, ["report", "store", "--log"]).exit_code == 0
    assert unlogged(Store(str(store))) == []


def test_read_only_store_is_reported_compared_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replace the system's answer on write access, because root may write everything."""
    results = run_toy(tmp_path / "there")
    store = results.store.location
    shutil.rmtree(Path(store, "reports"), ignore_errors=True)
    before = sorted(path for path in Path(store).rglob("*"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("segtransfer.store.files.replace_file", refusing)
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).startswith(store) and real(path, mode)
    )
    reported = runner.invoke(app, ["report", store])
    assert reported.exit_code == 0, reported.output
    assert (here / "segtransfer-reports").is_dir()
    compared = runner.invoke(app, ["compare", "pgd", "ds-mi", "--store", store, "--no-tracking"])
    assert compared.exit_code == 0, compared.output
    exported = runner.invoke(app, ["export", store, "tables"])
    assert exported.exit_code == 0, exported.output
    assert runner.invoke(app, ["store", "verify", store]).exit_code == 0
    listed = runner.invoke(app, ["store", "gc", store, "--unreferenced"])
    assert listed.exit_code == 0, listed.output
    assert sorted(path for path in Path(store).rglob("*")) == before


def refusing(path: Path, content: bytes) -> None:
    raise OSError(30, "Read-only file system", str(path))
