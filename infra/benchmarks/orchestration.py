"""What orchestration costs: a transfer matrix on Ray against a plain loop over the same calls.

    python infra/benchmarks/orchestration.py --rounds 5
    python infra/benchmarks/orchestration.py --rounds 5 --images 8 --groups 2

Six sources, six targets, two attacks. `plain` is one process that makes the same calls one after
the other with all of torch's threads, and stores nothing. Each round runs it, then the fleet from
an empty store with `reference` and with `fast` numerics. Wall time counts from all models being
loaded to the last result; `share` is the CPU seconds of threads inside forwards and input
gradients, over cores x wall; `overhead` is the rest of that product, a task.
"""

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import torch

from segtransfer import run
from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.experiment.reading import read_experiment
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.perform import TaskInputs, perform
from segtransfer.runtime.sessions import Notice
from segtransfer.store import Store
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.memory import keep_freed_memory
from segtransfer.tasks.models import adapters as models

MODELS = ["fcn-r18", "pspnet-r18", "deeplabv3-r18", "fcn-mnv2", "pspnet-mnv2", "segformer-mit"]
MICRO_BATCH = 4


def experiment(images: int, groups: int, store: str, numerics: str) -> dict[str, Any]:
    return {
        "name": "orchestration",
        "data": {"sample": "camvid", "images": images},
        "models": MODELS,
        "schedule_groups": groups,
        "attacks": [{"preset": p, "eps": "4/255", "steps": 10} for p in ("pgd", "ds-mi")],
        "numerics": numerics,
        "runtime": {"store": store, "micro_batch": MICRO_BATCH},
    }


@dataclass
class Clock(Listener):
    """Listens for the start, the end, and the seconds inside models."""

    ready: float = 0.0
    finished: float = 0.0
    model_seconds: float = 0.0
    tasks: int = 0

    def planned(self, plan: Plan) -> None:
        self.tasks = len(plan.missing)

    def notice(self, notice: Notice) -> None:
        if notice.kind == "ready":
            self.ready = notice.time
        elif notice.kind == "done":
            self.model_seconds += notice.model_seconds
            self.finished = notice.time


@dataclass(frozen=True)
class Measured:
    """Seconds of wall and inside models, and how many tasks that was."""

    wall: float
    model_seconds: float
    tasks: int

    def share(self, cores: int) -> float:
        return self.model_seconds / (cores * self.wall)

    def overhead(self, cores: int) -> float:
        """Milliseconds of core time a task that were not spent inside models."""
        return 1000 * (cores * self.wall - self.model_seconds) / self.tasks


def fleet(images: int, groups: int, numerics: str) -> Measured:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        run(experiment(images, groups, folder, numerics), listener=clock)
    return Measured(clock.finished - clock.ready, clock.model_seconds, clock.tasks)


def plain(images: int, groups: int, cores: int) -> Measured:
    torch.set_num_threads(cores)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        content = experiment(images, groups, folder, "reference")
        shards: list[Shard] = []
        plan = make_plan(read_experiment(content), Store(folder), shards.append)
    loaded = {name: models.load(spec, "cpu") for name, spec in plan.models.items()}
    by_id = {shard.shard_id: shard for shard in shards}
    made: dict[str, Any] = {}
    begun, inside = time.perf_counter(), 0.0
    # Attacks stand before what scores them nowhere but in their dependencies.
    for task in sorted(plan.tasks.values(), key=lambda t: t.depends_on is not None):
        shard = by_id[task.shard_id]
        images_in = shard.images if task.depends_on is None else made[task.depends_on]
        model = loaded[str(task.model)]
        inputs = TaskInputs(shard.image_ids, shard.group, images_in, shard.labels)
        output = perform(model, task, inputs, MICRO_BATCH)
        if task.attack is not None:
            made[task.key] = output.images
        inside += (output.report or {}).get("cost", {}).get("seconds", 0.0)
    return Measured(time.perf_counter() - begun, inside, len(plan.tasks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--groups", type=int, default=8, help="of images with one schedule")
    options = parser.parse_args()
    if "OMP_NUM_THREADS" in os.environ:
        raise SystemExit("OMP_NUM_THREADS would bind the plain loop to fewer threads: unset it")
    cores = len(os.sched_getaffinity(0))
    rounds: dict[str, list[Measured]] = {"plain": [], "reference": [], "fast": []}
    for number in range(1, options.rounds + 1):
        rounds["plain"].append(plain(options.images, options.groups, cores))
        for numerics in ("reference", "fast"):
            rounds[numerics].append(fleet(options.images, options.groups, numerics))
        for name, measured in rounds.items():
            last = measured[-1]
            ratio = last.wall / rounds["plain"][-1].wall
            print(
                f"round {number}: {name:9} {last.tasks} tasks, wall {last.wall:6.1f} s, "
                f"{ratio:.3f} of plain, share {last.share(cores):.3f}, "
                f"overhead {last.overhead(cores):.1f} ms a task",
                flush=True,
            )
    for name, measured in rounds.items():
        ratios = [m.wall / p.wall for m, p in zip(measured, rounds["plain"], strict=True)]
        print(
            f"median {name:9} {statistics.median(ratios):.3f} of plain, share "
            f"{statistics.median(m.share(cores) for m in measured):.3f}, overhead "
            f"{statistics.median(m.overhead(cores) for m in measured):.1f} ms a task"
        )


if __name__ == "__main__":
    main()
