"""The memory of the process: freed memory, the peak of a call, and the free memory."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

log = logging.getLogger(__name__)
CGROUP = Path("/sys/fs/cgroup")
PROCESS_GROUPS = Path("/proc/self/cgroup")

# glibc's numbers of the parameters of mallopt(3), and the largest value of the second.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20
TRIM_THRESHOLD = 512 * 2**20


def keep_freed_memory() -> None:
    """Keep up to 512 MiB of freed memory in this process for its next allocations.

    Every step of an attack allocates and frees the same activations. By default glibc returns large
    blocks to the kernel, which maps and zeroes them again by page faults: a tenth of a step's time
    on a CPU. No result changes. Without glibc the call does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
    libc.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)


def return_freed_memory() -> None:
    """Return the freed memory of this process to the system; without glibc do nothing."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def start_of_peak(device: str) -> int:
    """Reset the peak of memory, and return the bytes held now.

    Args:
        device: ``cuda``, or ``cpu`` for this process's memory.

    Returns:
        Bytes; -1 if the peak cannot be measured on this system.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_reserved()
    return_freed_memory()  # memory that an earlier model freed must not count as held
    try:
        # This resets the high-water mark to the memory held now.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        log.info("the peak of memory cannot be measured: /proc/self/clear_refs is not writable")
        return -1
    return _resident("VmRSS")


def peak_since(base: int, device: str) -> int | None:
    """Return the growth of memory since ``start_of_peak``.

    Args:
        base: The result of ``start_of_peak``.
        device: ``cuda`` or ``cpu``.

    Returns:
        Bytes at the peak over ``base``; None if the peak cannot be measured.
    """
    if device == "cuda":
        return torch.cuda.max_memory_reserved() - base
    return _resident("VmHWM") - base if base >= 0 else None


def room(device: str) -> int:
    """Return the free memory for this process.

    Args:
        device: ``cuda``, or ``cpu`` for the machine's memory and the limits of control groups.

    Returns:
        Bytes. On a CPU, the share of this process by its threads among the usable cores, because
        processes of other slots use the rest.
    """
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    free = min([free, *_left_in_groups()])
    return free * torch.get_num_threads() // max(len(os.sched_getaffinity(0)), 1)


def _left_in_groups() -> Iterator[int]:
    """Yield the free bytes of each control group around this process, caches of files included."""
    names = "memory.max", "memory.current", "inactive_file"
    old_names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    try:
        lines = PROCESS_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CGROUP / "memory" if controllers else CGROUP
        limit, used, cached = old_names if controllers else names
        own = root / path.lstrip("/")
        for group in (own, *own.parents):
            try:
                stat = dict(row.split() for row in (group / "memory.stat").read_text().splitlines())
                most, now = (int((group / name).read_text()) for name in (limit, used))
                yield most - now + int(stat.get(cached, 0))
            except (OSError, ValueError):  # no such group, or "max", no limit
                pass
            if group == root:
                break


def _resident(field: str) -> int:
    """Return a field of this process's memory status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])
