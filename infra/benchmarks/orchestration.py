"""How little orchestration costs: share of the machine's time that is spent inside models.

    python infra/benchmarks/orchestration.py --rounds 5

Runs a 3 x 3 matrix over the 32 sample images on Ray, from an empty store each round, and prints
thread CPU seconds inside model calls / (cores x wall seconds from all actors being warm to the
last task committed).
"""

import argparse
import os
import statistics
import tempfile
from dataclasses import dataclass

from orchestrator import run
from orchestrator.driver import Notice
from orchestrator.plan import Plan

EXPERIMENT = {
    "name": "orchestration",
    "data": {"sample": "camvid"},
    "models": ["fcn-r18", "pspnet-r18", "deeplabv3-r18"],
    "attacks": [{"preset": p, "eps": "4/255", "steps": 10} for p in ("pgd", "ds-mi")],
}


@dataclass
class Clock:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--executor", choices=("ray", "inline"), default="ray")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if options.executor == "ray" else 1
    shares = []
    for round_number in range(1, options.rounds + 1):
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            runtime = {"store": folder, "executor": options.executor}
            run({**EXPERIMENT, "runtime": runtime}, listener=clock)
        wall = clock.finished - clock.ready
        shares.append(clock.model_seconds / (cores * wall))
        print(
            f"round {round_number}: {clock.tasks} tasks, wall {wall:.1f} s, inside models "
            f"{clock.model_seconds:.1f} CPU s, share {shares[-1]:.3f}",
            flush=True,
        )
    print(f"median share of {cores} cores x wall: {statistics.median(shares):.3f}")


if __name__ == "__main__":
    main()
