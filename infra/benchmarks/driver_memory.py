"""The driver's memory over many small tasks: it must not grow with what is through.

    python infra/benchmarks/driver_memory.py --tasks 50000

Clients come one after another, each with a thousand tasks that an executor answers at once with
small arrays, into a store on disk; every five clients the memory of the process is printed.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.experiment.task import Task
from segtransfer.runtime.driver import Driver
from segtransfer.runtime.executors.base import Event, Finished, Hosted, Output, Served, SlotUp
from segtransfer.runtime.scheduler import Slot
from segtransfer.runtime.sessions import Submission
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import Shard, shard_of
from segtransfer.tasks.models.spec import ModelSpec

A_CLIENT = 1000  # tasks
TARGETS = 9  # evaluations an attack
PGD = AttackSpec.model_validate("pgd")


class Instant:
    """An executor whose calls are done as soon as they begin."""

    interruptible = True

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._opened = False

    def open(self, models: int, sources: int = 0, peaks: Sequence[int] = ()) -> None:
        if not self._opened:
            self._events += [SlotUp(Slot(f"slot-{n}", "device", 8)) for n in range(8)]
        self._opened = True

    def starting(self) -> bool:
        return False

    def awaited(self) -> str:
        return ""

    def budget(self) -> int:
        return 2**30

    def host(self, slot_id: str, model: str, served: Served) -> None:
        self._events.append(Hosted(slot_id, model, 0.0))

    def put(self, array: np.ndarray) -> np.ndarray:
        return array

    def fetch(self, handle: Any) -> np.ndarray:
        return handle

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        count = len(shard.image_ids)
        if task.attack is not None:
            output = Output(images=shard.images[None].copy(), report={})
        else:
            confusions = np.zeros((count, 3, 3), np.int64)
            output = Output(None, confusions, shard.labels, {})
        self._events.append(Finished(task.key, output))

    def wait(self, timeout: float) -> list[Event]:
        events, self._events = self._events, []
        return events

    def cancel(self, key: str) -> None: ...

    def recreate(self, slot_id: str) -> None: ...

    def close(self) -> None: ...


def key_of(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def tasks_of(client: int, shard_id: str) -> dict[str, Task]:
    """Attacks of one model, and evaluations of each on the same model."""
    tasks: dict[str, Task] = {}
    for number in range(A_CLIENT // (1 + TARGETS)):
        made = key_of(client, number)
        tasks[made] = Task(made, "model", shard_id, 25.0, 3 * 64, attack=PGD)
        for target in range(TARGETS):
            key = key_of(client, number, target)
            tasks[key] = Task(key, "model", shard_id, 1.0, 0, depends_on=made, num_classes=3)
    return tasks


def memory() -> float:
    """MiB of this process that are resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=50_000)
    options = parser.parse_args()
    images = np.zeros((1, 3, 8, 8), np.uint8)
    shard = shard_of(("image",), ("sequence",), images, np.zeros((1, 8, 8), np.uint8), group=0)
    spec = ModelSpec.model_validate({"name": "toy", "torch": {"callable": "toys:toy"}})
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.put_shard(shard)
        driver = Driver(Instant(), store, Runtime(store=folder))
        begun = time.perf_counter()
        for client in range(options.tasks // A_CLIENT):
            tasks = tasks_of(client, shard.shard_id)
            served = {"model": Served(spec, "model")}
            name = driver.submit(Submission(tasks, served, frozenset()))
            heard = 0
            while True:
                driver.step(0.0)
                notices = driver.events(name, heard)
                heard += len(notices)
                if notices and notices[-1].kind == "finished":
                    break
            driver.cancel(name)
            if client % 5 == 4:
                done = (client + 1) * A_CLIENT
                each = 1000 * (time.perf_counter() - begun) / done
                print(f"{done:6} tasks: {memory():6.1f} MiB, {each:.2f} ms a task", flush=True)


if __name__ == "__main__":
    main()
