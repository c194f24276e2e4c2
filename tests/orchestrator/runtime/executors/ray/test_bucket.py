"""A run on Ray whose store is a bucket, from the spec to the matrices."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segtransfer.results import load_results
from tests.conftest import ROOT
from tests.orchestrator.runtime.executors.fleets import CLIENT
from tests.orchestrator.stores import bucket_server, new_store
from tests.orchestrator.toy_experiments import assert_same_bits, run_toy, toy_spec


@pytest.mark.slow
def test_arrays_written_by_workers_to_a_bucket_equal_those_in_a_folder(tmp_path: Path) -> None:
    """On a cluster of its own: its processes have the bucket's credentials from the environment, as
    nodes do."""
    signal.alarm(300)
    oracle = run_toy(tmp_path)
    with bucket_server() as query:
        store = new_store("bucket", tmp_path, query)
        runtime = {"store": store.location, "executor": "ray", "fleet": {"slots": 1}}
        spec = json.dumps(toy_spec(tmp_path, runtime=runtime))
        command = [sys.executable, "-c", CLIENT, spec]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        results = load_results(store, oracle.identity)
        assert not results.missing
        assert_same_bits(results, oracle)
