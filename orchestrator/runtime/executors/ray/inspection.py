"""Inspection of a Ray cluster by a worker on each node: code, packages, memory and disk."""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from segtransfer.experiment.provenance import code_hash, versions
from segtransfer.experiment.shadowing import own_file

ANSWER_TIMEOUT = 15.0  # seconds for a worker to start and answer


@dataclass(frozen=True)
class Surroundings:
    """Code and packages of a process, and the memory and disk of its machine.

    Attributes:
        versions: Installed versions, by package.
        python: Python's version.
        code: Hash of the code of segtransfer.
        root: Folder of the imported package segtransfer.
        modules: Names of the Python files in the user's working folder, or None if the process does
            not import from it.
        memory: Free bytes of memory, or None if unknown.
        shared_memory: Free bytes of /dev/shm, or None if there is none.
        disk: Free bytes of the temporary folder.
    """

    versions: dict[str, str] = field(default_factory=dict)
    python: str = ""
    code: str = ""
    root: str = ""
    modules: frozenset[str] | None = None
    memory: int | None = None
    shared_memory: int | None = None
    disk: int = 0


def look_around(folder: str) -> Surroundings:
    """Return the surroundings of this process.

    Args:
        folder: The user's working folder, an absolute path.
    """
    place, importable = Path(folder), folder in {str(Path(p or ".").absolute()) for p in sys.path}
    modules = None
    if importable and os.access(place, os.R_OK | os.X_OK):
        modules = frozenset(path.name for path in place.glob("*.py"))
    shared = Path("/dev/shm")
    return Surroundings(
        versions=versions(),
        python=".".join(map(str, sys.version_info[:3])),
        code=code_hash(),
        root=str(own_file().parent),
        modules=modules,
        memory=free_memory(),
        shared_memory=shutil.disk_usage(shared).free if shared.is_dir() else None,
        disk=shutil.disk_usage(tempfile.gettempdir()).free,
    )


def free_memory() -> int | None:
    """Return the memory that is free for new processes.

    Returns:
        Bytes, or None if the machine has no /proc/meminfo.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    facts = dict(line.split(":", 1) for line in lines)
    return 1024 * int(facts["MemAvailable"].split()[0])


def look_from_workers(folder: str) -> dict[str, Surroundings | str]:
    """Return the surroundings of a worker on every node; the cluster must be joined.

    Blocks until all workers have answered, for at most ``ANSWER_TIMEOUT`` seconds.

    Args:
        folder: The user's working folder, an absolute path.

    Returns:
        The surroundings by the node's address and id, or the reason why there are none.
    """
    looks: dict[str, Any] = {}
    for node in ray.nodes():
        if node["Alive"]:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": here}
            name = f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
            looks[name] = ray.remote(look_around).options(**options).remote(folder)
    ray.wait(list(looks.values()), num_returns=len(looks), timeout=ANSWER_TIMEOUT)
    return {name: _answer(look) for name, look in looks.items()}


def _answer(look: Any) -> Surroundings | str:
    try:
        return ray.get(look, timeout=0)
    except GetTimeoutError:
        return f"no answer within {ANSWER_TIMEOUT:.0f} s"
    except Exception as error:  # for example an import that fails on the node
        return (str(error).strip().splitlines() or [type(error).__name__])[-1]
