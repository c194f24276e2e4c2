"""What three real jobs take on fleets of GPUs: the tables of infra/README.md.

    PYTHONPATH=. python infra/benchmarks/sizing.py
    PYTHONPATH=. python infra/benchmarks/sizing.py --times 10 --gpus 512
    PYTHONPATH=. python infra/benchmarks/sizing.py --times 10 --gpus 512 --job VOC --shard-size 64

The scheduler itself on a clock. Models take from half to twice the seconds a pixel that
``segtransfer plan`` assumes of a GPU where nobody measured them: not measured on one. Attacks are
20 steps; 60 s to start a worker, 15 s to load a model, 1 % of the GPUs dying every hour.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulator import made_up_tasks

from segtransfer.forecast.cost_model import FORWARD_SECONDS_PER_PIXEL
from segtransfer.forecast.forecast import (
    AE_RATIO,
    CALL_OVERHEAD,
    SCORE_RATIO,
    lower_bound,
    uniform_fleet,
)
from segtransfer.runtime.simulator import SimulationSettings, simulate

FLEETS = (8, 64, 512)
GIB = 2**30
CONDITIONS = SimulationSettings(
    startup=60, switch=15, call=CALL_OVERHEAD, deaths_per_hour=0.01, restart=90, in_flight_bytes=0
)


@dataclass(frozen=True)
class Job:
    """``models`` attacked and scored, all on all, by ``attacks`` of 20 steps."""

    name: str
    images: int
    pixels: int
    models: int
    attacks: int
    shard: int
    classes: int


JOBS = (
    Job("VOC val: 1449 images of 512 x 512, 8 models, 6 attacks", 1449, 512**2, 8, 6, 16, 21),
    Job("Cityscapes val: 500 of 1024 x 2048, 8 models, 6 attacks", 500, 2 * 1024**2, 8, 6, 4, 19),
    Job("ADE20K val: 2000 of 512 x 683, 20 models, 12 attacks", 2000, 512 * 683, 20, 12, 32, 150),
)


def show(job: Job, fleets: Sequence[int]) -> None:
    typical = job.pixels * FORWARD_SECONDS_PER_PIXEL["cuda"]
    forward = [typical / 2 * 4 ** (n / (job.models - 1)) for n in range(job.models)]
    shards = -(-job.images // job.shard)
    tasks = made_up_tasks(
        forward,
        sources=range(job.models),
        attacks=job.attacks,
        shards=shards,
        images=job.images / shards,
        pixels=job.pixels,
    )
    aes = job.models * job.attacks * job.images
    scored = (aes + job.images) * job.models
    stored = AE_RATIO * 3 * job.pixels * aes
    stored += SCORE_RATIO * (job.pixels + 8 * job.classes**2) * scored
    work = sum(task.cost for task in tasks.values()) / 3600
    print(f"\n**{job.name}**: {len(tasks):,} tasks, {work:,.0f} GPU hours of calls, ", end="")
    print(f"{stored / GIB:,.0f} GiB in the store.\n")
    print(
        "| GPUs | hours | bound, h | GPU hours paid | in calls | GiB moved | tasks/s | loads "
        "| lost calls |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for count in fleets:
        slots = uniform_fleet(count)
        conditions = SimulationSettings(**{**vars(CONDITIONS), "in_flight_bytes": count * 2 * GIB})
        began = time.process_time()
        found = simulate(tasks, slots, conditions)
        took = time.process_time() - began
        bound = lower_bound(tasks.values(), slots, conditions) / 3600
        hours = found.makespan / 3600
        print(
            f"| {count} | {hours:.2f} | {bound:.2f} | {count * hours:,.0f} | "
            f"{found.utilisation:.2f} | {found.moved / GIB:,.0f} | "
            f"{len(tasks) / found.makespan:.0f} | {found.loads:,} | "
            f"{found.calls_lost} |",
            flush=True,
        )
        decisions = found.calls + found.loads
        print(f"<!-- {1e6 * took / decisions:.0f} us a decision -->")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--job", default="", help="only jobs whose name begins so")
    parser.add_argument("--gpus", type=int, nargs="+", default=FLEETS)
    parser.add_argument("--times", type=int, default=1, help="so many times the images")
    parser.add_argument("--shard-size", type=int, help="images a shard, in place of the job's own")
    options = parser.parse_args()
    for job in JOBS:
        if job.name.startswith(options.job):
            shard = options.shard_size or job.shard
            name = f"{options.times} x {job.name}" if options.times > 1 else job.name
            images = job.images * options.times
            show(replace(job, name=name, images=images, shard=shard), options.gpus)


if __name__ == "__main__":
    main()
