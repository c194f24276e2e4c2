"""SIGTERM, as clusters send it: a run stops, keeps and logs what is done, and can go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli import app
from segtransfer.experiment.reading import read_experiment
from segtransfer.runtime.interrupts import Terminated, kept_handler, terminable, was_terminated
from segtransfer.runtime.runner import carry_out
from segtransfer.store import Store
from tests.conftest import ROOT
from tests.orchestrator.runtime.executors.test_contract import Log
from tests.orchestrator.runtime.test_kill import processes_of, ray_folder, slow_spec
from tests.orchestrator.toy_experiments import assert_same_bits, row_files, toy_experiment

__all__ = ["ray_folder"]

runner = CliRunner()


@pytest.fixture
def longer(no_test_hangs: None) -> None:
    """Two commands, a new MLflow database and, with Ray, a cluster of its own."""
    signal.alarm(300)


@pytest.fixture
def handler() -> Iterator[None]:
    """SIGTERM means what it means in a new process, and afterwards what it meant before."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def terminate(content: dict[str, Any], spec: Path, folder: Path, *options: str) -> None:
    """Run it in a process of its own, and send that SIGTERM in the middle."""
    spec.write_text(yaml.safe_dump(content))
    environment = os.environ | {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "PYTHONPATH": str(ROOT),
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "segtransfer", "run", str(spec), *options],
        cwd=spec.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    store = Store(content["runtime"]["store"])
    while len(store.keys()) < 6:
        assert child.poll() is None, child.communicate()[0]
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=200)
    assert child.returncode == 143, output
    assert "Run the same command again to resume" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param("inline", marks=pytest.mark.slow),
        pytest.param("ray", marks=pytest.mark.pages),
    ],
)
def test_terminated_run_keeps_committed_results(
    executor: str, tmp_path: Path, ray_folder: Path, longer: None
) -> None:
    content = slow_spec(tmp_path, executor, "terminated")
    terminate(content, tmp_path / "mine.yaml", ray_folder, "--no-tracking")
    rows, log = row_files(Store(content["runtime"]["store"])), Log()
    results = carry_out(read_experiment(slow_spec(tmp_path, "inline", "terminated")), log)
    assert 6 <= len(rows) < len(log.plans[0].tasks), "it was terminated in the middle"
    assert log.plans[0].stored == rows.keys()
    whole = carry_out(read_experiment(slow_spec(tmp_path, "inline", "uninterrupted")))
    assert_same_bits(results, whole)
    assert processes_of(ray_folder) == [], "its cluster ended with it"


@pytest.mark.slow
def test_terminated_run_is_killed_in_mlflow_until_complete(
    tmp_path: Path, ray_folder: Path, longer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    content = slow_spec(tmp_path, "inline", "terminated")
    content["runtime"]["tracking"] = True
    spec = tmp_path / "mine.yaml"
    terminate(content, spec, ray_folder)
    before = logged(tmp_path)
    assert {name for name, run in before.items() if run.info.status == "KILLED"} == {
        name for name, run in before.items() if "PARTIAL" in run.data.tags["mlflow.note.content"]
    }
    assert {"parent", "ds-mi"} <= {n for n, run in before.items() if run.info.status == "KILLED"}

    report = runner.invoke(app, ["report", "terminated", "--log"])
    assert report.exit_code == 0, report.output
    assert {n: r.info.status for n, r in logged(tmp_path).items()} == {
        n: r.info.status for n, r in before.items()
    }, "the store is no more complete than it was"

    run = runner.invoke(app, ["run", str(spec)])
    assert run.exit_code == 0, run.output
    after = logged(tmp_path)
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert not any("PARTIAL" in run.data.tags["mlflow.note.content"] for run in after.values())
    ids = {name: run.info.run_id for name, run in before.items()}
    assert {name: run.info.run_id for name, run in after.items()} == ids
    (results,) = open_results("terminated")
    for source in results.sources:
        for target in results.targets:
            value = results.matrix("ds-mi").loc[source, target]
            assert after["ds-mi"].data.metrics[f"miou/{source}/{target}"] == value
    assert after["ds-mi"].data.metrics["cost/forwards"] == results.cost("ds-mi")["forwards"]


def logged(folder: Path) -> dict[str, Run]:
    """The runs of the folder's MLflow, by attack."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = {
        run.data.tags.get("segtransfer.attack", "parent"): run
        for run in client.search_runs(experiments)
    }
    assert set(runs) == {"parent", "noise", "pgd", "ds-mi"}
    return runs


def receive() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def library_handler(number: int, frame: object) -> None:
    """What Ray puts in place where it is initialised."""
    sys.exit(number)


def test_sigterm_is_raised_once_and_then_ignored(handler: None) -> None:
    with terminable():
        with pytest.raises(Terminated):
            receive()
        receive()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_is_distinguished_from_ctrl_c_inside_a_ray_wait(handler: None) -> None:
    with terminable():
        assert not was_terminated(KeyboardInterrupt())
        with pytest.raises(Terminated) as raised:
            receive()
        assert was_terminated(raised.value)
        assert was_terminated(KeyboardInterrupt())
    assert not was_terminated(KeyboardInterrupt())


@pytest.mark.parametrize("sent", [True, False], ids=["SIGTERM", "Ctrl-C"])
def test_run_waiting_in_ray_keeps_results_on_sigterm(
    sent: bool, handler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*arguments: object) -> None:
        if sent:
            with suppress(Terminated):
                receive()
        raise KeyboardInterrupt

    monkeypatch.setattr("segtransfer.runtime.runner.ExperimentRun.compute", wait)
    with terminable():
        if sent:
            assert carry_out(toy_experiment(tmp_path)).stopped == "terminated"
        else:
            with pytest.raises(KeyboardInterrupt):
                carry_out(toy_experiment(tmp_path))


def test_terminated_is_not_caught_as_an_exception() -> None:
    assert not issubclass(Terminated, Exception)


def test_commands_sigterm_handler_survives_a_library(handler: None) -> None:
    with terminable():
        with kept_handler():
            signal.signal(signal.SIGTERM, library_handler)
        with pytest.raises(Terminated):
            receive()


def test_sigterm_during_a_librarys_start_reaches_the_command(handler: None) -> None:
    def starting() -> None:
        with kept_handler():
            signal.signal(signal.SIGTERM, library_handler)
            receive()

    with terminable(), pytest.raises(Terminated):
        starting()


def test_users_program_keeps_the_librarys_handler(handler: None) -> None:
    with kept_handler():
        signal.signal(signal.SIGTERM, library_handler)
    assert signal.getsignal(signal.SIGTERM) is library_handler
