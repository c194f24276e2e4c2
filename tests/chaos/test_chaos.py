"""Runs under disturbances: the same bits, every key once, and nothing left behind."""

import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.disturbed_run import UNUSED
from tests.chaos.schedules import KINDS, Schedule, deaths_at_writes, schedule
from tests.conftest import ROOT
from tests.orchestrator.runtime.executors.fleets import until
from tests.orchestrator.runtime.test_kill import kill_all_of, processes_of

ORDINARY = [39, 3, 32]  # between them, disturbances of all kinds, on a fleet and without
SLOW = range(100, 134)
START, PLAY, CLOSE = 120.0, 240.0, 60.0  # seconds


class ClusterProcess:
    """The process of the cluster; a process that hangs is replaced."""

    def __init__(self, folder: Path, ray_folder: Path) -> None:
        self._folder, self._ray_folder = folder, ray_folder
        self._number = 0
        self._process: subprocess.Popen[str] | None = None

    def play(self, schedule: Schedule) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(schedule.as_dict()) + "\n")
        return self._answer(PLAY)

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            assert self._answer(CLOSE) == "closed"
            assert self._process.wait(30) == 0

    def _start(self) -> subprocess.Popen[str]:
        folder = self._folder / f"cluster-{self._number}"
        self._number += 1
        folder.mkdir()
        environment = os.environ | {
            "RAY_TMPDIR": str(self._ray_folder),
            "RAY_AUTH_TOKEN_PATH": str(self._ray_folder / "token"),
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.cluster_process", str(folder)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._answer(START) == "ready"
        return self._process

    def _answer(self, seconds: float) -> Any:
        """The next line of the cluster; whole lines come alone, so that none waits in a buffer."""
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self._process.kill()
        self._process.wait()
        self._process = None
        raise AssertionError(
            f"the cluster {'died' if ready else f'gives no answer for {seconds} s'}"
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    folder = Path(tempfile.mkdtemp(prefix="st-chaos-", dir="/tmp"))
    (folder / "token").write_text(secrets.token_hex(32))
    cluster = ClusterProcess(tmp_path_factory.mktemp("chaos"), folder)
    try:
        yield cluster
        cluster.close()
        until("the cluster's processes are gone", lambda: not processes_of(folder), timeout=20)
    finally:
        kill_all_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


def check(cluster: ClusterProcess, schedule: Schedule) -> list[str]:
    """Return the events of a run that went well."""
    played = cluster.play(schedule)
    assert not played["wrong"], json.dumps(played, indent=1)
    return played["events"]


def named(schedule: Schedule) -> str:
    (death,) = schedule.disturbances
    return f"{death.write}-{death.moment}"


@pytest.mark.pages
@pytest.mark.parametrize("seed", ORDINARY)
def test_a_run_survives_a_few_disturbances(cluster: ClusterProcess, seed: int) -> None:
    check(cluster, schedule(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW)
def test_a_run_survives_any_disturbances(cluster: ClusterProcess, seed: int) -> None:
    check(cluster, schedule(seed))


@pytest.mark.slow
@pytest.mark.parametrize("death", deaths_at_writes(), ids=named)
def test_a_run_survives_a_death_at_any_write(cluster: ClusterProcess, death: Schedule) -> None:
    events = check(cluster, death)
    assert not any(UNUSED in line for line in events), events


def test_schedules_repeat_and_cover_every_disturbance() -> None:
    drawn = [d for seed in SLOW for d in schedule(seed).disturbances]
    assert schedule(SLOW[0]) == schedule(SLOW[0])
    assert {d.write for d in drawn} == {"", "blobs", "rows", "failures", "shards", "experiments"}
    for seeds in (ORDINARY, SLOW):
        kinds = {d.kind for seed in seeds for d in schedule(seed).disturbances}
        assert kinds == {*KINDS}
        assert {schedule(seed).fleet for seed in seeds} == {True, False}
