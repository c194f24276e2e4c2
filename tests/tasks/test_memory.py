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
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("it asked for a library"))
    memory.keep_freed_memory()


def test_the_peak_of_a_call_is_what_it_held_at_most() -> None:
    base = start_of_peak("cpu")
    held = np.ones(64 * 2**20, np.uint8)
    del held
    peak = peak_since(base, "cpu")
    assert peak is None or 60 * 2**20 < peak < 128 * 2**20


def test_processes_side_by_side_share_the_room_as_they_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    whole = room("cpu")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert room("cpu") == 600000 < whole
    (tmp_path / "memory.max").write_text("max\n")
    assert room("cpu") > 600000
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    (tmp_path / "memory.max").write_text("1000000\n")
    assert room("cpu") == 600000 // cores
