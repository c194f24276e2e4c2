"""What a decision costs the scheduler, and how well it fills the slots.

    python infra/benchmarks/scheduler.py --tasks 100000 --slots 8 64 1024 --rounds 3

Runs a plan of several sources, targets and attacks on a clock: CPU microseconds a decision in
``decide`` and in events, medians of the rounds; bytes a task that the scheduler takes; the number
of loads of a model, and the share of the slots' time that is spent on tasks. The last two depend on
nothing but the plan.
"""

import argparse
import heapq
import statistics
import time
import tracemalloc
from dataclasses import dataclass

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler import Host, Scheduler, Slot
from segtransfer.tasks.attacks.spec import AttackSpec

SHARD = 64.0  # images
STEPS = 25.0  # forwards an image that the shortest attack costs
LOAD = 500.0  # image forwards that a change of models takes
PGD = AttackSpec.model_validate("pgd")


@dataclass
class Round:
    decide: float = 0.0  # seconds
    events: float = 0.0
    decisions: int = 0
    loads: int = 0
    makespan: float = 0.0


def make_plan(sources: int, targets: int, attacks: int, shards: int) -> dict[str, Task]:
    """Clean scores, attacks, and their scores on every target."""
    tasks: dict[str, Task] = {}
    for shard in range(shards):
        where = f"shard{shard}"
        for target in range(targets):
            key = f"clean-{target}-{shard}"
            tasks[key] = Task(key, f"m{target}", where, SHARD, 0)
        for source in range(sources):
            for kind in range(attacks):
                made = f"make-{source}-{kind}-{shard}"
                cost = SHARD * STEPS * (1 + 0.3 * (kind % 3))
                tasks[made] = Task(made, f"m{source}", where, cost, 1, attack=PGD)
                for target in range(targets):
                    key = f"score-{source}-{kind}-{target}-{shard}"
                    tasks[key] = Task(key, f"m{target}", where, SHARD, 0, depends_on=made)
    return tasks


def make_scheduler(slots: int) -> Scheduler:
    scheduler = Scheduler(window=2, attempts=4, in_flight_bytes=10**12, switch_cost=LOAD)
    for number in range(slots):
        scheduler.add_slot(Slot(f"slot{number}", f"device{number}"))
    return scheduler


def cost_of_clock() -> float:
    """Seconds that reading the clock adds to what is measured with it."""
    reads = [time.process_time() for _ in range(1001)]
    return (reads[-1] - reads[0]) / 1000


def run(tasks: dict[str, Task], slots: int) -> Round:
    """Carry a plan out on a clock."""
    scheduler, found = make_scheduler(slots), Round()
    scheduler.submit("client", tasks, frozenset())
    events: list[tuple[float, int, str, str | None]] = []
    busy_until: dict[str, float] = {}
    now, cpu = 0.0, time.process_time
    clock, reads = cost_of_clock(), 0
    while True:
        began = cpu()
        decisions = scheduler.decide(now)
        found.decide += cpu() - began
        reads += 1
        for decision in decisions:
            found.decisions += 1
            slot_id = decision.slot_id
            if isinstance(decision, Host):
                found.loads += 1
                cost, name, model = LOAD, slot_id, decision.model
            else:
                cost, name, model = decision.task.cost, decision.task.key, None
            end = busy_until[slot_id] = max(now, busy_until.get(slot_id, 0.0)) + cost
            heapq.heappush(events, (end, found.decisions, name, model))
        if not events:
            break
        now, _, name, model = heapq.heappop(events)
        began = cpu()
        if model is not None:
            scheduler.hosted(name, model)
        else:
            scheduler.done(name)
        found.events += cpu() - began
    if len(tasks) != scheduler.counts()["done"]:
        raise SystemExit("the scheduler left tasks undone")
    found.makespan = now
    found.decide -= reads * clock
    found.events -= reads * clock
    return found


def bytes_a_task(tasks: dict[str, Task]) -> float:
    """Return the bytes of the scheduler per submitted task."""
    scheduler = make_scheduler(1)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    scheduler.submit("client", tasks, frozenset())
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return taken / len(tasks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--slots", type=int, nargs="+", default=[8, 64, 1024])
    parser.add_argument("--sources", type=int, default=8)
    parser.add_argument("--targets", type=int, default=8)
    parser.add_argument("--attacks", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shape = options.sources, options.targets, options.attacks
    a_shard = options.targets + options.sources * options.attacks * (1 + options.targets)
    tasks = make_plan(*shape, max(1, round(options.tasks / a_shard)))
    cost = sum(task.cost for task in tasks.values())
    print(f"{len(tasks)} tasks, {bytes_a_task(tasks):.0f} bytes each")
    print("| slots | decide, us | events, us | together, us | loads | share of time on tasks |")
    print("|---|---|---|---|---|---|")
    for slots in options.slots:
        rounds = [run(tasks, slots) for _ in range(options.rounds)]
        decide, events, both = (
            statistics.median(
                1e6 * seconds / r.decisions for seconds, r in zip(part, rounds, strict=True)
            )
            for part in (
                [r.decide for r in rounds],
                [r.events for r in rounds],
                [r.decide + r.events for r in rounds],
            )
        )
        share = cost / slots / rounds[0].makespan
        figures = f"{decide:.1f} | {events:.1f} | {both:.1f} | {rounds[0].loads} | {share:.3f}"
        print(f"| {slots} | {figures} |")


if __name__ == "__main__":
    main()
