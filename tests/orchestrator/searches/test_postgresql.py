"""A search with its study in PostgreSQL: four trials at once, while optuna-dashboard shows them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from segtransfer.searches import run_search
from segtransfer.searches.optuna_study import Trial, study_name
from tests.orchestrator.runtime.executors.fleets import until
from tests.orchestrator.searches import toys
from tests.orchestrator.searches.searches import RecordingListener, grey_search

TRIALS, CONCURRENCY = 12, 4
DASHBOARD = "from optuna_dashboard._cli import main; main()"


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a database of a cluster of its own, on loopback."""
    programs = {name: shutil.which(name) for name in ("initdb", "pg_ctl")}
    if not all(programs.values()):
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql, initdb on the PATH")
    pytest.importorskip("psycopg", reason="no driver: pip install 'segtransfer[postgresql]'")
    folder = Path(tempfile.mkdtemp(prefix="segtransfer-postgres-"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # which PostgreSQL refuses
        user = {"user": "postgres"}
        shutil.chown(folder, "postgres")
    data, port = str(folder / "data"), free_port()

    def call(name: str, *arguments: str) -> None:
        command = [str(programs[name]), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)

    call("initdb", "-D", data, "-U", "postgres", "--auth", "trust")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    call("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def dashboard(database: str) -> Iterator[str]:
    """The address of optuna-dashboard on the database."""
    pytest.importorskip("optuna_dashboard", reason="pip install 'segtransfer[dashboard]'")
    optuna.storages.RDBStorage(database)  # the dashboard makes no tables
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", DASHBOARD, database, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until("the dashboard answers", lambda: answers(address), timeout=60)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def answers(address: str) -> bool:
    try:
        return bool(shown(f"{address}/api/studies"))
    except OSError:
        return False


def shown(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return dict(json.load(answer))


class Looking(RecordingListener):
    """Looks at the dashboard whenever the search tells of its trials."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address, self.states = address, list[Counter[str]]()

    def trials(self, trials: list[Trial]) -> None:
        super().trials(trials)
        (study,) = shown(f"{self.address}/api/studies")["study_summaries"]
        content = shown(f"{self.address}/api/studies/{study['study_id']}?after=0")
        self.states.append(Counter(trial["state"] for trial in content["trials"]))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_search_on_postgresql_runs_four_trials_at_once_and_the_dashboard_shows_them(
    tmp_path: Path, database: str, dashboard: str
) -> None:
    signal.alarm(900)
    search = grey_search(
        tmp_path,
        models=[
            toys.meeting_place(tmp_path / "journal", clients=CONCURRENCY),
            toys.target(),
            toys.target("new", reach=toys.REACH + 2),
        ],
        search={
            "trials": TRIALS,
            "concurrency": CONCURRENCY,
            "storage": database,
            "pruner": "median",
        },
        runtime={"journal": str(tmp_path / "journal")},
    )
    found = run_search(search, looking := Looking(dashboard))
    assert max(states["Running"] for states in looking.states) == CONCURRENCY
    assert not found.results.missing
    study = optuna.load_study(study_name=study_name(found.context), storage=database)
    assert study.metric_names == ["transfer"]
    states = Counter(trial.state.name for trial in study.get_trials())
    assert states.keys() <= {"COMPLETE", "PRUNED"}
    assert states.total() == TRIALS
