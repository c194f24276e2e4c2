"""``doctor``: each check is a line with what to do, in this process and on workers."""

from dataclasses import replace

import pytest
from rich.console import Console

from segtransfer.reporting import doctor
from segtransfer.runtime.executors.ray.inspection import Surroundings, look_from_workers

HERE = Surroundings(
    versions={"torch": "2.13", "numpy": "2.4"},
    python="3.11.9",
    code="abc",
    root="/site/segtransfer",
    modules=frozenset({"losses.py"}),
    memory=8 * doctor.GB,
    shared_memory=2 * doctor.GB,
    disk=8 * doctor.GB,
)


def lines(there: Surroundings | str) -> list[tuple[str, str]]:
    checks = doctor._compared("a worker", HERE, there)
    return [(check.outcome, check.sentence) for check in checks if check.outcome != "ok"]


def test_equal_worker_passes() -> None:
    assert lines(HERE) == []
    assert lines(replace(HERE, memory=None, shared_memory=None)) == []


@pytest.mark.parametrize(
    ("change", "outcome", "expected"),
    [
        ({"versions": {"torch": "2.12", "numpy": "2.4"}}, "bad", "torch 2.12 instead of 2.13"),
        ({"versions": {"torch": "2.13"}}, "bad", "numpy missing instead of 2.4"),
        ({"python": "3.12.1"}, "bad", "Python 3.12.1 instead of 3.11.9"),
        ({"code": "xyz"}, "bad", "different code of segtransfer (/site/segtransfer)"),
        ({"modules": None}, "note", "cannot import your modules"),
        ({"modules": frozenset()}, "note", "cannot import your modules"),
        ({"memory": doctor.GB}, "note", "lower runtime.fleet.slots"),
        ({"shared_memory": 64 * 2**20}, "note", "--shm-size"),
    ],
)
def test_different_worker_version_prints_action(change: dict, outcome: str, expected: str) -> None:
    ((found, sentence),) = lines(replace(HERE, **change))
    assert found == outcome
    assert expected in sentence


def test_failing_worker_is_bad_with_reason() -> None:
    ((outcome, sentence),) = lines("ModuleNotFoundError: No module named 'segtransfer'")
    assert outcome == "bad"
    assert "No module named 'segtransfer'" in sentence


def test_cluster_worker_reports_same_versions(cluster: None) -> None:
    import os

    (there,) = look_from_workers(os.getcwd()).values()
    assert isinstance(there, Surroundings)
    assert there.code
    assert there.memory


def test_unreachable_cluster_is_bad(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(doctor, "JOIN_TIMEOUT", 1.0)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert not doctor.print_health(Console(width=300), lambda uri: "")
    (bad,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BAD")]
    assert "127.0.0.1:9" in bad


def test_missing_token_file_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")
    assert doctor._token().outcome == "bad"
    assert "/nowhere/token" in doctor._token().sentence


@pytest.mark.parametrize(
    ("trouble", "outcome", "sentence"),
    [
        ("", "ok", "MLflow at http://lab:5000 answers"),
        ("cannot be used", "bad", "MLflow at http://lab:5000 cannot be used"),
    ],
)
def test_mlflow_server_is_a_line_without_credentials(
    trouble: str, outcome: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@lab:5000")
    (check,) = doctor._server(lambda uri: trouble)
    assert (check.outcome, check.sentence) == (outcome, sentence)


def test_local_mlflow_database_has_no_line_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert list(doctor._server(lambda uri: "unused")) == []
