"""How near the scheduler comes to the lower bound on large fleets, and how true the clock is here.

    python infra/benchmarks/simulator.py
    python infra/benchmarks/simulator.py --unequal
    python infra/benchmarks/simulator.py --images 33000 --slots 1024 4096   # ten million tasks
    python infra/benchmarks/simulator.py --measure ray quickstart data.images=32

16 sources x 32 targets x 12 attacks x 3 eps x 2000 images of 512 x 1024, shards of 64, 20 steps an
attack (``--unequal``: from 1 to 60), 0.05 to 0.2 s a forward by model, 20 s to start a worker, 10 s
to load a model, and 1 % of the slots dying every hour. The bound holds start-up and loading, and
no deaths.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from segtransfer.experiment.plan import make_plan
from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.task import FORWARD_AND_BACKWARD, Task
from segtransfer.forecast.calibration import calibrate, read_rates
from segtransfer.forecast.cost_model import GivenRates
from segtransfer.forecast.forecast import forecast, lower_bound, uniform_fleet
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.runner import carry_out
from segtransfer.runtime.sessions import Notice
from segtransfer.runtime.simulator import SimulationSettings, simulate
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec

SOURCES, TARGETS, ATTACKS, SHARD_SIZE = 16, 32, 36, 62.5
STEPS, UNEQUAL = (20,), (1, 5, 10, 20, 40, 60)
CONDITIONS = SimulationSettings(startup=20, switch=10, call=0.005, deaths_per_hour=0.01, restart=30)
PGD = AttackSpec.model_validate("pgd")


def made_up_tasks(
    forward: Sequence[float],
    *,
    sources: Iterable[int],
    attacks: int,
    shards: int,
    images: float,
    pixels: int,
    steps: Sequence[int] = STEPS,
) -> dict[str, Task]:
    """All tasks of an experiment, with costs in seconds, every model a target.

    ``forward``: seconds an image, a model each; ``images`` of so many ``pixels`` a shard; the
    attacks take ``steps`` in turn.
    """
    tasks = {}

    def score(key: str, target: int, shard: str, of: str | None) -> None:
        cost = images * forward[target]
        tasks[key] = Task(key, f"model-{target}", shard, cost, 0, depends_on=of)

    for i in range(shards):
        for target in range(len(forward)):
            score(f"clean {target} {i}", target, f"{i}", None)
    for number in range(attacks):
        for source in sources:
            for i in range(shards):
                key = f"attack {number} {source} {i}"
                each = steps[number % len(steps)] * FORWARD_AND_BACKWARD * forward[source]
                nbytes = int(images) * 3 * pixels
                tasks[key] = Task(key, f"model-{source}", f"{i}", images * each, nbytes, attack=PGD)
                for target in range(len(forward)):
                    score(f"{key} {target}", target, f"{i}", key)
    return tasks


def experiment(steps: Sequence[int], images: int) -> dict[str, Task]:
    """Return the job of the table on the benchmarks' page."""
    shards = round(images / SHARD_SIZE)
    return made_up_tasks(
        [0.05 * 4 ** (model / (TARGETS - 1)) for model in range(TARGETS)],
        sources=range(0, TARGETS, TARGETS // SOURCES),
        attacks=ATTACKS,
        shards=shards,
        images=images / shards,
        pixels=512 * 1024,
        steps=steps,
    )


@dataclass
class Clock(Listener):
    """Listens for the first call and the last commit."""

    began: tuple[float, float] = (0.0, 0.0)
    ended: tuple[float, float] = (0.0, 0.0)

    def notice(self, notice: Notice) -> None:
        if notice.kind == "ready" and not self.began[0]:
            self.began = notice.time, time.process_time()
        elif notice.kind == "done":
            self.ended = notice.time, time.process_time()


def measure(executor: str, spec: list[str]) -> None:
    """Predict one experiment on this machine, then run it."""
    with tempfile.TemporaryDirectory() as folder:
        runtime = [f"runtime.executor={executor}", f"runtime.store={folder}/store"]
        experiment = read_experiment(spec[0], [*spec[1:], *runtime])
        store = Store(f"{folder}/store")
        plan = make_plan(experiment, store)
        calibrate(plan, store)
        rates = read_rates(plan, store, GivenRates(startup=0.0))
        (predicted,) = forecast(plan, store, rates, ()).fleets
        # The clock of a run starts with its first call: one model is loaded by then.
        seconds = predicted.makespan - min(model.load for model in rates.models.values())
        clock = Clock()
        carry_out(experiment, clock)
    wall, cpu = (end - begin for begin, end in zip(clock.began, clock.ended, strict=True))
    print(f"{len(plan.tasks)} tasks on {predicted.name}, {os.getloadavg()[0]:.1f} load average")
    print(f"predicted {seconds:.1f} s, measured {wall:.1f} s: {seconds / wall:.3f}")
    if executor == "inline":
        print(f"measured {cpu:.1f} CPU s: predicted / measured {seconds / cpu:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, nargs="+", default=[64, 512, 1024])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--unequal", action="store_true", help="attacks of 1 to 60 steps")
    parser.add_argument("--gib-a-slot", type=float, default=2.0, help="for AEs in flight")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", choices=("ray", "inline"), help="run an experiment here")
    parser.add_argument("spec", nargs="*", default=["quickstart"], help="and overrides of it")
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure, options.spec)
    tasks = experiment(UNEQUAL if options.unequal else STEPS, options.images)
    print(f"{len(tasks):,} tasks, {sum(t.cost for t in tasks.values()) / 3600:,.0f} device hours\n")
    print(
        "| slots | makespan, h | bound, h | share of bound | in calls | loads | deaths | CPU s | "
        "tasks per s, wanted and decided | peak, GiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for count in options.slots:
        slots, budget = uniform_fleet(count), int(count * options.gib_a_slot * 2**30)
        conditions = SimulationSettings(
            **{**vars(CONDITIONS), "in_flight_bytes": budget, "seed": options.seed}
        )
        began = time.process_time()
        found = simulate(tasks, slots, conditions)
        took = time.process_time() - began
        bound = lower_bound(tasks.values(), slots, conditions)
        print(
            f"| {count} | {found.makespan / 3600:.2f} | {bound / 3600:.2f} | "
            f"{bound / found.makespan:.4f} | {found.utilisation:.4f} | {found.loads:,} | "
            f"{found.deaths} ({found.calls_lost} calls) | {took:.1f} | "
            f"{len(tasks) / found.makespan:.0f} and {len(tasks) / took:,.0f} | "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
