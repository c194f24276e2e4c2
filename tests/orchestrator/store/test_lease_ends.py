"""A lease ends with its process; a compaction and a removal exclude each other."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from segtransfer.store import Store
from segtransfer.store.maintenance import compact, find_garbage, leases, remove_garbage, verify
from segtransfer.store.maintenance.leases import in_use, removing, users
from segtransfer.store.rows import CommitRow
from tests.orchestrator.stores import commit_attack, make_shard

KILLED = """
import os, signal, sys
from segtransfer.store import Store
from segtransfer.store.maintenance.leases import in_use, removing
with {held}(Store(sys.argv[1]), "{who}"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def rewrite(store: Store, **changes: Any) -> None:
    """Change fields of the only lease; None removes a field."""
    (path,) = store.files.names("leases")
    holder = json.loads(store.files.read(path) or b"") | changes
    kept = {name: value for name, value in holder.items() if value is not None}
    store.files.write(path, json.dumps(kept).encode())


def killed(store: Store, held: str, who: str) -> None:
    """Leave the lease of a process that was killed."""
    program = KILLED.format(held=held, who=who)
    subprocess.run([sys.executable, "-c", program, store.location], check=False, timeout=60)
    assert len(store.files.names("leases")) == 1


def test_a_lease_of_a_killed_process_of_this_machine_has_ended(store: Store) -> None:
    killed(store, "removing", "store gc")
    begun = time.monotonic()
    with in_use(store, "run r"):
        assert time.monotonic() - begun < 5


def test_lease_of_a_killed_run_of_this_machine_is_ignored(store: Store) -> None:
    killed(store, "in_use", "run r")
    assert users(store) == ""


@pytest.mark.parametrize("machine", ["another boot", None])
def test_lease_of_another_machine_names_its_latest_end(store: Store, machine: str | None) -> None:
    """The id of its process says nothing here, also from a version that wrote no machine."""
    killed(store, "in_use", "run r")
    rewrite(store, host="b", pid=7, machine=machine)
    assert users(store) == (
        "run r (process 7 on b; if it was killed, its lease ends in 10 min at the latest)"
    )


@pytest.mark.parametrize("pid", [0, -1, 2**40, "7", True, [7]])
def test_a_lease_with_a_foreign_process_id_holds(store: Store, pid: Any) -> None:
    with in_use(store, "run r"):
        rewrite(store, pid=pid)
        assert users(store).startswith("run r (process ")


def test_lease_of_a_live_process_of_this_machine_names_no_end(store: Store) -> None:
    with in_use(store, "run r"):
        assert users(store).endswith(f"(process {os.getpid()} on {leases.socket.gethostname()})")


def test_a_removal_beside_a_compaction_keeps_all_rows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = make_shard(tmp_path)
    store.put_shard(shard)
    keys = {commit_attack(store, shard, number) for number in range(3)}
    module = sys.modules[compact.__module__]
    original = module.write_compacted

    def write(of: Store, rows: list[CommitRow]) -> str:
        later = time.time() + 7200
        monkeypatch.setattr(module, "write_compacted", original)
        remove_garbage(store, find_garbage(store, unreferenced=True, now=later).garbage)
        return original(of, rows)

    monkeypatch.setattr(module, "write_compacted", write)
    compact(store)
    assert store.keys() == keys
    assert verify(store).sound, verify(store).findings


def test_a_compaction_waits_for_a_removal(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "PAUSE", 0.01)
    shard = make_shard(tmp_path)
    commit_attack(store, shard, 1)
    with caplog.at_level(logging.WARNING), removing(store, "store gc"):
        thread = threading.Thread(target=compact, args=(store,))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert store.files.names("compacted") == []
    thread.join(30)
    assert len(store.files.names("compacted")) == 1
    assert "waiting for store gc (process" in caplog.text
