"""A team's MLflow, with users: stopped and started, slow, hanging, refusing; no run ends for it."""

import http.client
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner, Result

from segtransfer import open_results
from segtransfer.cli import app
from segtransfer.reporting.progress import ProgressView
from segtransfer.runtime.sessions import Notice
from tests.orchestrator.servers import ADMIN, KEY, PASSWORD, MlflowServer, Proxy, free_port
from tests.orchestrator.toy_experiments import toy_spec

runner = CliRunner()
WRONG = "hunter3-of-somebody"


@pytest.fixture(autouse=True)
def longer(no_test_hangs: None) -> None:
    """A server's first start makes its database; each request checks a password."""
    signal.alarm(900)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("team") / "mlflow")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def spec(
    tmp_path: Path, server: MlflowServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> str:
    """An experiment under a name of its own, in a folder to work in, and the way to the server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    content = toy_spec(tmp_path, name=tmp_path.name, attacks=["fgsm"])
    content["runtime"] = {"executor": "inline", "store": "store"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    return "mine.yaml"


def run(spec: str) -> Result:
    """The command, which comes to its end whatever MLflow does, with all results in the store."""
    answer = runner.invoke(app, ["run", spec])
    assert answer.exit_code == 0, answer.output
    assert not open_results("store")[0].missing
    check_secrets(answer.output)
    return answer


def check_secrets(output: str) -> None:
    """No secret is in what is printed, nor in any file of the folder that people work in."""
    written = b"".join(path.read_bytes() for path in Path().rglob("*") if path.is_file())
    for secret in (PASSWORD, KEY, WRONG):
        assert secret not in output
        assert secret.encode() not in written


def is_one_warning(answer: Result) -> bool:
    """Whether one sentence says what is wrong, and a second one what to do about it."""
    lines = [line for line in answer.stderr.splitlines() if line.strip()]
    return (
        len(lines) == 2
        and lines[0].startswith("MLflow at http://")
        and lines[1].startswith("To log later: segtransfer report")
    )


def catch_up() -> None:
    """``report --log`` logs what is missing; done again it changes nothing."""
    for _ in range(2):
        answer = runner.invoke(app, ["report", "store", "--log"])
        assert answer.exit_code == 0, answer.output
        check_secrets(answer.output)
        check_logged()


def check_logged() -> None:
    """A parent and a child, finished, each metric written once, with artefacts and no secret."""
    (results,) = open_results("store")
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    runs = runs_of(client, results.name)
    assert set(runs) == {"parent", "fgsm"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    metrics = runs["fgsm"].data.metrics
    for source in results.sources:
        for target in results.targets:
            value = float(results.matrix("fgsm").loc[source, target])
            assert metrics[f"miou/{source}/{target}"] == value
    history = client.get_metric_history(runs["fgsm"].info.run_id, "miou/a/b")
    assert len(history) == 1
    files = {item.path for item in client.list_artifacts(runs["fgsm"].info.run_id)}
    assert "matrix.json" in files
    shown = "".join(str(run.data.tags | run.data.params) for run in runs.values())
    assert not any(secret in shown for secret in (PASSWORD, KEY, WRONG))


def runs_of(client: MlflowClient, name: str) -> dict[str, Run]:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    named = {run.data.tags.get("segtransfer.attack", "parent"): run for run in runs}
    assert len(named) == len(runs), "a run was made twice"
    return named


def test_server_with_users_gets_all_runs(spec: str, server: MlflowServer) -> None:
    answer = run(spec)
    assert answer.stderr == ""
    check_logged()
    assert PASSWORD not in server.commands()
    assert KEY not in server.commands()
    assert "basic-auth" in server.commands()


def test_server_without_a_password_refuses(server: MlflowServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/api/2.0/mlflow/experiments/search?max_results=1")
    assert connection.getresponse().status == 401


@pytest.mark.slow
def test_server_restarted_during_a_run_gets_all_runs(
    spec: str, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, restarted = ProgressView.notice, []

    def notice(view: ProgressView, notice: Notice) -> None:
        heard(view, notice)
        if notice.kind == "done" and not restarted:
            server.stop()
            server.start()
            restarted.append(notice.key)

    monkeypatch.setattr(ProgressView, "notice", notice)
    answer = run(spec)
    assert restarted
    assert answer.stderr == ""
    check_logged()


def test_server_stopped_during_logging_gets_all_runs_later(
    spec: str, server: MlflowServer, proxy: Proxy
) -> None:
    def go_away(number: int) -> None:
        if number == 12:
            server.stop()

    proxy.before = go_away
    answer = run(spec)
    assert proxy.requests >= 12, "it was in the middle"
    assert is_one_warning(answer), answer.stderr
    down = runner.invoke(app, ["report", "store", "--log"])
    assert down.exit_code == 1
    assert is_one_warning(down), down.stderr
    server.start()
    catch_up()


@pytest.mark.slow
def test_slow_server_gets_all_runs(spec: str, proxy: Proxy) -> None:
    proxy.before = lambda number: time.sleep(0.5)
    assert run(spec).stderr == ""
    check_logged()


@pytest.mark.slow
def test_hanging_server_is_a_warning(
    spec: str, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    server.signal(signal.SIGSTOP)
    try:
        answer = run(spec)
    finally:
        server.signal(signal.SIGCONT)
    assert is_one_warning(answer), answer.stderr
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    catch_up()


def test_wrong_credentials_are_a_warning(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", WRONG)
    answer = run(spec)
    assert is_one_warning(answer), answer.stderr
    assert "401" in answer.stderr
    refused = runner.invoke(app, ["report", "store", "--log"])
    assert refused.exit_code == 1
    check_secrets(refused.output)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    catch_up()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """PostgreSQL with a password, on loopback; its address without one."""
    pytest.importorskip("psycopg2", reason="no driver of PostgreSQL: pip install psycopg2-binary")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [
        Path(path) for path in [shutil.which("initdb")] if path
    ]
    if not found:
        pytest.skip("no PostgreSQL is installed: apt-get install postgresql")
    commands, folder = found[-1].parent, tmp_path_factory.mktemp("postgres")
    # It refuses to run as root, and then has a user of its own.
    owner = "postgres" if os.getuid() == 0 else None
    if owner:
        for path in (folder, *folder.parents[:3]):
            path.chmod(path.stat().st_mode | 0o055)
        shutil.chown(folder, owner)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    port, data = free_port(), folder / "data"
    subprocess.run(
        [str(commands / "initdb"), "--pgdata", str(data), "--auth=scram-sha-256",
         "--username=mlflow", f"--pwfile={folder / 'password'}", "--no-sync"],
        user=owner, cwd="/", check=True, capture_output=True,
    )  # fmt: skip
    server = subprocess.Popen(
        [str(commands / "postgres"), "-D", str(data), "-p", str(port), "-k", "",
         "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
        user=owner, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)
    server.wait(timeout=60)


@pytest.mark.slow
def test_postgresql_behind_the_server(
    spec: str, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = MlflowServer(tmp_path.parent / "with-postgres", postgres, postgres)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    give_up = time.monotonic() + 60
    import psycopg2

    while time.monotonic() < give_up:
        try:
            psycopg2.connect(postgres.replace("+psycopg2", "")).close()
            break
        except psycopg2.OperationalError:
            time.sleep(0.2)
    team.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", team.address)
    try:
        assert run(spec).stderr == ""
        check_logged()
        assert PASSWORD not in team.commands()
        team.stop()
        (tmp_path / "store" / "reports").rename(tmp_path / "moved")
        changed = runner.invoke(app, ["run", spec, "seed=1", "name=second"])
        assert changed.exit_code == 0
        assert is_one_warning(changed)
        team.start()
        answer = runner.invoke(app, ["report", "store", "--log"])
        assert answer.exit_code == 0, answer.output
        client = MlflowClient(tracking_uri=team.address)
        for name in (tmp_path.name, "second"):
            assert {r.info.status for r in runs_of(client, name).values()} == {"FINISHED"}
    finally:
        team.stop()
