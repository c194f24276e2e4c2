"""A run that is killed, with -9 and at any moment, goes on where it was."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segtransfer.experiment.reading import read_experiment
from segtransfer.runtime.runner import carry_out
from segtransfer.store import Store
from tests.conftest import ROOT
from tests.orchestrator.runtime.executors.test_contract import Log
from tests.orchestrator.toy_experiments import assert_same_bits, row_files, toy, toy_spec

PROGRAM = """
import json, sys
from segtransfer.experiment.reading import read_experiment
from segtransfer.runtime.runner import carry_out
carry_out(read_experiment(json.loads(sys.argv[1])))
"""


def slow_spec(folder: Path, executor: str, store: str) -> dict[str, Any]:
    """About three seconds of waiting in forwards, on one core."""
    weights = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    return toy_spec(
        folder,
        models=[toy("slow", "linear", weights=weights, delay=0.1), toy("b", seed=2)],
        runtime={"store": str(folder / store), "executor": executor},
    )


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A short folder that is in the environment of all of one cluster's processes, and of no
    others: they are found by it, and whatever the test did, none is left."""
    folder = Path(tempfile.mkdtemp(prefix="st-kill-", dir="/tmp"))
    (folder / "token").write_text(secrets.token_hex(32))
    yield folder
    kill_all_of(folder)
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(folder: Path) -> list[int]:
    """Ids of the processes that carry this folder's name in their environment or command."""
    name, found = str(folder).encode(), []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            except OSError:
                continue
            if name in text:
                found.append(int(process.name))
    return found


def kill_all_of(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while (found := processes_of(folder)) and time.monotonic() < deadline:
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    assert not processes_of(folder)


def start(spec: dict[str, Any], folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(spec)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_killed_run_resumes_from_its_committed_results(
    executor: str, tmp_path: Path, ray_folder: Path
) -> None:
    spec = slow_spec(tmp_path, executor, "killed")
    store = Store(spec["runtime"]["store"])
    child = start(spec, ray_folder)
    while len(store.keys()) < 6:
        assert child.poll() is None, child.stderr.read().decode()  # type: ignore[union-attr]
        time.sleep(0.02)
    child.kill()
    kill_all_of(ray_folder)
    child.communicate()

    # What a killed cluster left is taken up inline: the executor is no part of any key.
    rows = row_files(store)
    log = Log()
    results = carry_out(read_experiment(slow_spec(tmp_path, "inline", "killed")), log)
    plan = log.plans[0]
    assert 6 <= len(rows) < len(plan.tasks), "it was killed in the middle"
    assert plan.stored == rows.keys()
    assert set(log.keys("done")) == plan.tasks.keys() - rows.keys()
    assert {k: row for k, row in row_files(store).items() if k in rows} == rows
    assert not results.failures
    assert_same_bits(
        results, carry_out(read_experiment(slow_spec(tmp_path, "inline", "uninterrupted")))
    )
