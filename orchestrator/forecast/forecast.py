"""Forecast of an experiment's time and bytes, on this machine and on fleets of any size."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from segtransfer.errors import InputError
from segtransfer.experiment.plan import Plan
from segtransfer.experiment.runtime_spec import EXECUTORS
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.task import Task
from segtransfer.forecast.cost_model import Rates, in_seconds
from segtransfer.runtime.executors.slot_sizing import (
    WORKER_BYTES,
    pick_slots_per_gpu,
    slots_on_cores,
    smallest_gpu,
)
from segtransfer.runtime.scheduler import Slot
from segtransfer.runtime.simulator import Simulation, SimulationSettings, simulate
from segtransfer.statistics.power import Power, power_of
from segtransfer.store import Store
from segtransfer.store.measured_costs import peaks_on_gpus

# A larger plan is simulated on a part of its shards. The simulation takes about 2 s per fleet.
EXACT_TASKS = 50_000
# Seconds per call in the driver and the store, as measured on one machine.
CALL_OVERHEAD = 0.01
# The same in core seconds, if the driver, Ray's daemons and the client share the workers' cores.
SHARED_CORES_CALL_OVERHEAD = 0.03
THIS_MACHINE = "machine"  # the device of slots that share the cores of this machine
BUDGET_PER_SLOT = 2 * 2**30  # bytes in flight, if the spec leaves the budget to the cluster

# Bytes in the store over raw bytes, with zstd, as measured on the camvid sample: AEs at eps 8/255,
# and confusions with predictions (1 byte per pixel).
AE_RATIO, SCORE_RATIO = 0.86, 0.053


@dataclass(frozen=True)
class FleetForecast:
    """Forecast for a fleet.

    Attributes:
        name: Name of the fleet for people.
        slots: Number of slots.
        devices: Number of devices.
        makespan: Seconds until the last result.
        bound: Lower bound on the makespan in seconds.
        simulation: The simulation, of a part of the tasks if the plan is large.
    """

    name: str
    slots: int
    devices: int
    makespan: float
    bound: float
    simulation: Simulation

    @property
    def device_hours(self) -> float:
        """Hours of all devices over the makespan, idle or busy."""
        return self.devices * self.makespan / 3600


@dataclass(frozen=True)
class Forecast:
    """Forecast of a plan on several fleets, of which the first is this machine.

    Attributes:
        rates: Rates of the models.
        fleets: Forecast per fleet.
        work: Cost of the missing tasks, in device seconds.
        part: One shard in ``part`` was simulated; the rest is extrapolated.
        images_bytes: Growth of the store by AEs.
        scores_bytes: Growth of the store by scores.
        moved_bytes: Bytes of AEs that move between devices of the largest fleet.
        power: Differences that the experiment can detect.
    """

    rates: Rates
    fleets: tuple[FleetForecast, ...]
    work: float
    part: int
    images_bytes: float
    scores_bytes: float
    moved_bytes: float
    power: Power


def forecast(
    plan: Plan,
    store: Store,
    rates: Rates,
    counts: Sequence[int] = (),
    tell: Callable[[str], None] = lambda name: None,
) -> Forecast:
    """Simulate the missing tasks on this machine and on larger fleets.

    Plans of more than ``EXACT_TASKS`` missing tasks are simulated on a part of their shards.

    Args:
        plan: The plan.
        store: The store, which may hold measured GPU memory and earlier results.
        rates: The rates of the plan's models.
        counts: Numbers of devices of further fleets, each device like this machine's.
        tell: Called with each fleet's name before its simulation.
    """
    tasks = in_seconds(plan, rates)
    fleets = [slots_here(plan, store), *((f"{count:,}", uniform_fleet(count)) for count in counts)]
    sample = _subsample(plan, tasks, -(-len(plan.missing) // EXACT_TASKS))
    part = round(len(plan.missing) / max(1, sum(key not in plan.stored for key in sample)))
    predicted = []
    for name, slots in fleets:
        tell(name)
        settings = settings_of(plan, rates, slots)
        bound = lower_bound(tasks.values(), slots, settings, stored=plan.stored)
        simulation = simulate(sample, slots, settings, stored=plan.stored)
        makespan = simulation.makespan
        if part > 1:
            # Idle time at the start and the end does not grow with the number of shards.
            makespan += bound - lower_bound(sample.values(), slots, settings, stored=plan.stored)
        devices = len({slot.device for slot in slots})
        predicted.append(FleetForecast(name, len(slots), devices, makespan, bound, simulation))
    images, scores = stored_bytes(plan)
    return Forecast(
        rates=rates,
        fleets=tuple(predicted),
        work=sum(task.cost for key, task in tasks.items() if key not in plan.stored),
        part=part,
        images_bytes=images,
        scores_bytes=scores,
        moved_bytes=part * float(predicted[-1].simulation.moved),
        power=power_of(plan, store),
    )


def read_counts(text: str) -> tuple[int, ...]:
    """Read the sizes of fleets from a text such as "1,8,64".

    Args:
        text: Whole numbers from 1 to 65536, separated by commas.

    Raises:
        InputError: A size is no whole number from 1 to 65536.
    """
    counts = tuple(int(part) if part.strip().isdigit() else 0 for part in text.split(","))
    if not all(1 <= count <= 65536 for count in counts):
        raise InputError(
            f"--slots '{text}' is not a list of numbers from 1 to 65536. Write for example 1,8,64."
        )
    return counts


def fleet_sizes(experiment: Experiment, text: str | None) -> tuple[int, ...]:
    """Return the sizes of fleets in a text, else the number of slots in a spec.

    Args:
        experiment: The spec.
        text: As in ``read_counts``, or None.

    Returns:
        The sizes; empty if the text is None and the spec has ``slots: auto``.

    Raises:
        InputError: A size is no whole number from 1 to 65536.
    """
    asked = experiment.runtime.fleet.slots
    if text is not None:
        return read_counts(text)
    return () if asked == "auto" else (asked,)


def lower_bound(
    tasks: Iterable[Task],
    slots: Sequence[Slot],
    settings: SimulationSettings,
    *,
    stored: Collection[str] = frozenset(),
) -> float:
    """Return a lower bound on the makespan in seconds, start-up and loading included.

    Let W be the work of the calls, L the seconds to load every model once, l the least of these
    loads, and C the capacity (at most ``width`` slots per device at full speed). The bound is the
    start-up plus the largest of (W + L) / C, W / C + l (a slot loads a model before its first call)
    and the longest chain (load of a source, attack, its longest evaluation).

    Args:
        tasks: The tasks, with costs in seconds.
        slots: The slots of the fleet.
        settings: Overheads; deaths are ignored.
        stored: Keys of tasks already done.
    """
    load, call = settings.load_seconds, settings.call
    count = Counter(slot.device for slot in slots)
    capacity = sum(min(slot.width, count.pop(slot.device, 0)) for slot in slots)
    chains: dict[str, float] = {}
    longest: defaultdict[str, float] = defaultdict(float)
    work = hosted = alone = 0.0
    models: dict[str, None] = {}
    for task in tasks:
        if task.key in stored:
            continue
        cost = task.cost + call
        work += cost
        if task.model is not None:
            models[task.model] = None
            hosted += cost
        chain = cost + (load(task.model) if task.model is not None else 0.0)
        if task.attack is not None:
            chains[task.key] = chain
        elif task.depends_on is not None:
            longest[task.depends_on] = max(longest[task.depends_on], cost)
        alone = max(alone, chain)
    if not work:
        return settings.startup if models else 0.0
    loads = [load(model) for model in models]
    chain = max((time + longest[key] for key, time in chains.items()), default=0.0)
    busy, first = (work + sum(loads)) / capacity, hosted / capacity + min(loads, default=0.0)
    return settings.startup + max(busy, first, alone, chain)


def settings_of(plan: Plan, rates: Rates, slots: Sequence[Slot]) -> SimulationSettings:
    """Return the settings that simulate a plan's run on a fleet.

    Args:
        plan: The plan, whose runtime sets window, attempts and byte budget.
        rates: The rates of the plan's models.
        slots: The slots of the fleet. Slots on this machine's cores share the cores with the
            driver, which makes calls dearer.
    """
    runtime = plan.experiment.runtime
    budget = runtime.in_flight_mib
    workers = EXECUTORS[runtime.executor].workers
    shared = workers and any(slot.device == THIS_MACHINE for slot in slots)
    return SimulationSettings(
        startup=rates.startup if workers else 0.0,
        loading={key: model.load for key, model in rates.models.items()},
        call=SHARED_CORES_CALL_OVERHEAD if shared else CALL_OVERHEAD,
        window=runtime.window,
        attempts=runtime.attempts,
        in_flight_bytes=len(slots) * BUDGET_PER_SLOT if budget == "auto" else budget * 2**20,
    )


def uniform_fleet(count: int) -> list[Slot]:
    """Return the slots of a fleet of equal devices with one slot each.

    Args:
        count: Number of devices.
    """
    return [Slot(f"slot-{i}", f"device-{i}") for i in range(count)]


def slots_here(plan: Plan, store: Store) -> tuple[str, list[Slot]]:
    """Return the slots that the plan's executor opens on this machine.

    Args:
        plan: The plan; only models of missing tasks count.
        store: The store, which may hold measured GPU memory.

    Returns:
        A name for this machine, for example "this machine, 16 cores", and the slots.
    """
    needed = {task.model for task in plan.missing if task.model is not None}
    models = len(needed)
    fleet, gpus = plan.experiment.runtime.fleet, torch.cuda.device_count()
    if not EXECUTORS[plan.experiment.runtime.executor].workers:
        return "this process", [Slot(f"slot-{i}", "process") for i in range(max(1, models))]
    if gpus:
        peaks = peaks_on_gpus(store, needed, plan.largest_size, plan.experiment.runtime.micro_batch)
        each = pick_slots_per_gpu(fleet, gpus, models, peaks, smallest_gpu())
        total = gpus * each if fleet.slots == "auto" else fleet.slots
        slots = [Slot(f"slot-{i}", f"gpu-{i % gpus}") for i in range(total)]
        return f"this machine, {gpus} GPUs", slots
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    sources = len({task.model for task in plan.missing if task.attack and task.model})
    wanted = slots_on_cores(cores, models, sources)
    carried = min(wanted, max(1, int(memory / WORKER_BYTES)))
    count = carried if fleet.slots == "auto" else fleet.slots
    slots = [Slot(f"slot-{i}", THIS_MACHINE, width=cores) for i in range(count)]
    return f"this machine, {cores} cores", slots


def stored_bytes(plan: Plan) -> tuple[float, float]:
    """Estimate the growth of the store by the missing tasks.

    Returns:
        Bytes of AEs and bytes of scores, compressed.
    """
    confusion = 8 * len(plan.dataset.classes) ** 2
    raw = {"attack": 0, "evaluate": 0}
    for task in plan.missing:
        shard = plan.shards[task.shard_id]
        scores = len(shard.image_ids) * (math.prod(shard.label_size) + confusion)
        raw[task.kind] += scores if task.attack is None else task.nbytes
    return AE_RATIO * raw["attack"], SCORE_RATIO * raw["evaluate"]


def _subsample(plan: Plan, tasks: Mapping[str, Task], part: int) -> dict[str, Task]:
    """Return the tasks of one shard in ``part``."""
    if part <= 1:
        return dict(tasks)
    kept = set(list(plan.shards)[::part])
    return {key: task for key, task in tasks.items() if task.shard_id in kept}
