import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from segtransfer.tasks import memory
from segtransfer.tasks.memory import peak_since, room, start_of_peak
from tests.conftest import ROOT

PROGRAM = """
import resource, sys
from segtransfer.tasks.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()

def work():  # as activations of one step: several at once, each below glibc's largest threshold
    [b"x" * 4_000_000 for _ in range(8)]

for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_asking_the_kernel() -> None:
    assert page_faults("keep") < page_faults("default") / 10


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    from segtransfer.tasks import memory

    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    asked: list[object] = []
    monkeypatch.setattr(memory.ctypes, "CDLL", asked.append)
    memory.keep_freed_memory()
    memory.return_freed_memory()
    assert asked == [], "no library was asked for"


def test_peak_of_a_call_is_its_largest_memory() -> None:
    base = start_of_peak("cpu")
    held = np.ones(64 * 2**20, np.uint8)
    del held
    peak = peak_since(base, "cpu")
    assert peak is None or 60 * 2**20 < peak < 128 * 2**20


def write_group(folder: Path, limit: str, used: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups of version 2, in the innermost of which this process is."""
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "PROCESS_GROUPS", tmp_path / "self")
    (tmp_path / "self").write_text("0::/job/step\n")
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    return tmp_path


def test_processes_side_by_side_share_the_room_as_they_share_the_cores(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = room("cpu")
    write_group(groups / "job/step", "1000000", 400000)
    assert room("cpu") == 600000 < whole
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert room("cpu") == 600000 // len(os.sched_getaffinity(0))


def test_the_narrowest_group_bounds_the_room_and_cached_files_count_as_room(groups: Path) -> None:
    write_group(groups / "job/step", "max", 0)
    assert room("cpu") > 900000
    write_group(groups / "job", "1000000", 900000, cached=300000)
    assert room("cpu") == 400000


def test_groups_of_version_1_bound_the_room_too(groups: Path) -> None:
    (groups / "self").write_text("5:cpu:/x\n4:cpuset,memory:/slurm/job\n")
    folder = groups / "memory/slurm/job"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("1000000")
    (folder / "memory.usage_in_bytes").write_text("700000")
    (folder / "memory.stat").write_text("total_inactive_file 100000\n")
    assert room("cpu") == 400000
