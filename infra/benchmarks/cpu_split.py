"""Where the cores' time goes during a transfer matrix on Ray, by the CPU times of all threads.

    python infra/benchmarks/cpu_split.py --images 10 --groups 2
    python infra/benchmarks/cpu_split.py --images 10 --groups 2 --steps 1 --rounds 3   # the driver

The experiment of ``orchestration.py``. Times count from the load of the last model to the last
commit. CPU times come from /proc, of the processes that this process started: the driver, workers
(first threads apart), and Ray's daemons. ``--steps 1`` measures the driver's CPU time per task in a
short run, because this time does not depend on the attack's steps.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestration import Clock, experiment

from segtransfer import run
from segtransfer.runtime.sessions import Notice

TICK = os.sysconf("SC_CLK_TCK")
DAEMONS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::IDLE")
PARTS = ("client", "driver", "workers", "first threads", "daemons")


def cpu_seconds(stat: str) -> tuple[int, float]:
    """Return the parent's id and the CPU seconds of a line of /proc/.../stat."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / TICK


def threads(process: Path) -> Iterator[tuple[int, float]]:
    """Yield the id and the CPU seconds of each thread of a process."""
    with suppress(FileNotFoundError, ProcessLookupError):  # the process or a thread ended meanwhile
        for task in (process / "task").iterdir():
            yield int(task.name), cpu_seconds((task / "stat").read_text())[1]


def snapshot() -> dict[tuple[int, int], tuple[str, float]]:
    """Return the part and the CPU seconds of each thread of this process and its descendants."""
    parents, names = {}, {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                parents[int(process.name)] = cpu_seconds((process / "stat").read_text())[0]
                names[int(process.name)] = (process / "cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):  # the process ended meanwhile
                continue
    found = {}
    for number, name in names.items():
        if os.getpid() in ancestors(number, parents):
            for thread, seconds in threads(Path(f"/proc/{number}")):
                found[number, thread] = part_of(number, name, thread), seconds
    return found


def ancestors(process: int, parents: dict[int, int]) -> set[int]:
    """Return the ids of a process, its parent, and so on."""
    found = set()
    while process and process not in found:
        found.add(process)
        process = parents.get(process, 0)
    return found


def part_of(process: int, name: str, thread: int) -> str:
    """Return the part of a thread; Ray names an actor's process after its class or its call."""
    if process == os.getpid():
        return "client"
    if name.startswith("ray::DriverActor"):
        return "driver"
    if not name.startswith("ray::") or name.startswith(DAEMONS):
        return "daemons"
    return "first threads" if thread == process else "workers"


def used(before: dict, after: dict) -> dict[str, float]:
    """Return the CPU seconds of each part between two snapshots.

    A process counts for its part in the second, because a new worker gets its name late.
    """
    seconds = dict.fromkeys(PARTS, 0.0)
    for thread, (part, total) in after.items():
        seconds[part] += total - before.get(thread, ("", 0.0))[1]
    return seconds


@dataclass
class Split(Clock):
    """Listens for the first task and the last commit, and takes the CPU times."""

    ended: int = 0
    before: dict = field(default_factory=dict)
    parts: dict[str, float] = field(default_factory=dict)

    def notice(self, notice: Notice) -> None:
        super().notice(notice)
        if notice.kind == "ready":
            self.before = snapshot()
        elif notice.kind == "done":
            self.ended += 1
            if self.ended == self.tasks:
                self.parts = used(self.before, snapshot())


def measure(options: argparse.Namespace) -> Split:
    split = Split()
    with tempfile.TemporaryDirectory() as folder:
        content = experiment(options.images, options.groups, folder, "reference")
        for attack in content["attacks"]:
            attack["steps"] = options.steps
        run(content, listener=split)
    if not split.parts:
        raise SystemExit(f"{split.tasks - split.ended} of {split.tasks} tasks failed")
    return split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--groups", type=int, default=2, help="of images with one schedule")
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    driver = []
    for number in range(1, options.rounds + 1):
        split = measure(options)
        wall = split.finished - split.ready
        whole = cores * wall
        shares = {"inside models": split.model_seconds}
        shares["task bodies outside models"] = split.parts["workers"] - split.model_seconds
        shares |= {part: split.parts[part] for part in PARTS if part != "workers"}
        shares["idle, or other work"] = whole - sum(shares.values())
        driver.append(1000 * split.parts["driver"] / split.tasks)
        print(f"round {number}: {split.tasks} tasks, {wall:.1f} s on {cores} cores")
        for part, seconds in shares.items():
            per_task = 1000 * seconds / split.tasks
            print(f"  {part:28} {seconds / whole:6.3f} {per_task:8.1f} ms a task")
    print(f"median driver: {statistics.median(driver):.1f} ms a task")


if __name__ == "__main__":
    main()
