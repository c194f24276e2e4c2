"""What an experiment will take on this machine and on fleets of any size."""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from segtransfer.errors import InputError
from segtransfer.experiment.plan import Plan
from segtransfer.experiment.task import Task
from segtransfer.forecast.calibration import peaks_on_gpus
from segtransfer.forecast.cost_model import Rates, image_size, in_seconds
from segtransfer.forecast.simulator import Conditions, Simulation, simulate
from segtransfer.runtime.executors.slot_sizing import (
    WORKER_BYTES,
    pick_slots_per_gpu,
    slots_on_cores,
    smallest_gpu,
)
from segtransfer.runtime.scheduler import Slot
from segtransfer.statistics.power import Power, power_of
from segtransfer.store import Store

FLEETS = (1, 8, 64, 512, 1024)
# More tasks than this are simulated on a part of their shards: a fleet takes some two seconds.
EXACT_TASKS = 50_000
CALL_SECONDS = 0.01  # what a call costs beside its work, as measured here: driver and store
# The same in core seconds, where the driver, Ray's daemons and the client take them from the cores
# that the workers compute on.
SHARED_CORES_CALL_SECONDS = 0.03
THESE_CORES = "machine"  # the device of slots that share the cores of this machine
IN_FLIGHT_BYTES = 2 * 2**30  # a slot, where the spec leaves it to the cluster

# Bytes in the store over raw bytes, zstd, as measured on the camvid sample: AEs of eps 8/255, and
# confusions with predictions (a byte a pixel).
AE_RATIO, SCORE_RATIO = 0.86, 0.053


@dataclass(frozen=True)
class FleetForecast:
    """One fleet: ``makespan`` and its lower ``bound`` in seconds, ``devices`` that are paid for."""

    name: str
    slots: int
    devices: int
    makespan: float
    bound: float
    simulation: Simulation

    @property
    def device_hours(self) -> float:
        """Hours of all devices from first to last, idle ones too."""
        return self.devices * self.makespan / 3600


@dataclass(frozen=True)
class Forecast:
    """All that a plan's page says beyond its tasks; the first fleet is this machine's.

    ``part``: one shard in so many was simulated, the rest extrapolated. ``work`` in device
    seconds. ``images_bytes`` and ``scores_bytes`` are what the store will grow by, ``moved_bytes``
    of AEs reach devices other than their own on the largest fleet.
    """

    rates: Rates
    fleets: tuple[FleetForecast, ...]
    work: float
    part: int
    images_bytes: float
    scores_bytes: float
    moved_bytes: float
    power: Power


def forecast(plan: Plan, store: Store, rates: Rates, counts: Sequence[int] = FLEETS) -> Forecast:
    """Simulate what is missing on this machine and on fleets of ``counts`` devices like it."""
    tasks = in_seconds(plan, rates)
    fleets = [here(plan, store), *((f"{count:,}", fleet_of(count)) for count in counts)]
    thinned = _thinned(plan, tasks, -(-len(plan.missing) // EXACT_TASKS))
    part = round(len(plan.missing) / max(1, sum(key not in plan.stored for key in thinned)))
    predicted = []
    for name, slots in fleets:
        conditions = conditions_of(plan, rates, slots)
        bound = lower_bound(tasks.values(), slots, conditions, stored=plan.stored)
        found = simulate(thinned, slots, conditions, stored=plan.stored)
        makespan = found.makespan
        if part > 1:
            # What a fleet loses at its start and end does not grow with the number of shards.
            makespan += bound - lower_bound(thinned.values(), slots, conditions, stored=plan.stored)
        devices = len({slot.device for slot in slots})
        predicted.append(FleetForecast(name, len(slots), devices, makespan, bound, found))
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
    """Sizes of fleets from "1,8,64"; raises InputError where one is no number from 1 to 65536."""
    counts = tuple(int(part) if part.strip().isdigit() else 0 for part in text.split(","))
    if not all(1 <= count <= 65536 for count in counts):
        raise InputError(f"--slots '{text}' is no list of numbers from 1 to 65536, as 1,8,64")
    return counts


def lower_bound(
    tasks: Iterable[Task],
    slots: Sequence[Slot],
    conditions: Conditions,
    *,
    stored: Collection[str] = frozenset(),
) -> float:
    """Seconds below which no order of the calls can end, start-up and loading included.

    With W the work of the calls, L the loading of every model once, l the least of them, C the
    capacity (``width`` slots a device at full speed, at most), it is the start-up and the largest
    of (W + L) / C; W / C + l, as a slot must load before it works; and the longest chain: the
    loading of a source, an attack, and the longest evaluation of it. Deaths only add to it.
    """
    load, call = conditions.load_seconds, conditions.call
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
        return conditions.startup if models else 0.0
    loads = [load(model) for model in models]
    chain = max((time + longest[key] for key, time in chains.items()), default=0.0)
    return conditions.startup + max(
        (work + sum(loads)) / capacity,
        hosted / capacity + min(loads, default=0.0),
        alone,
        chain,
    )


def conditions_of(plan: Plan, rates: Rates, slots: Sequence[Slot]) -> Conditions:
    """The conditions of a plan's run on a fleet of these slots."""
    runtime = plan.experiment.runtime
    budget = runtime.in_flight_mib
    ray = runtime.executor == "ray"
    shared = ray and any(slot.device == THESE_CORES for slot in slots)
    return Conditions(
        startup=rates.startup if ray else 0.0,
        loading={key: model.load for key, model in rates.models.items()},
        call=SHARED_CORES_CALL_SECONDS if shared else CALL_SECONDS,
        window=runtime.window,
        attempts=runtime.attempts,
        in_flight_bytes=len(slots) * IN_FLIGHT_BYTES if budget == "auto" else budget * 2**20,
    )


def fleet_of(count: int) -> list[Slot]:
    """``count`` devices of one slot each."""
    return [Slot(f"slot-{i}", f"device-{i}") for i in range(count)]


def here(plan: Plan, store: Store) -> tuple[str, list[Slot]]:
    """What this machine gives the plan's executor: a name, and slots."""
    needed = {task.model for task in plan.missing if task.model is not None}
    models = len(needed)
    fleet, gpus = plan.experiment.runtime.fleet, torch.cuda.device_count()
    if plan.experiment.runtime.executor == "inline":
        return "this process", [Slot(f"slot-{i}", "process") for i in range(max(1, models))]
    if gpus:
        shard = next(iter(plan.shards.values()))
        peaks = peaks_on_gpus(store, needed, shard, plan.experiment.runtime.micro_batch)
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
    slots = [Slot(f"slot-{i}", THESE_CORES, width=cores) for i in range(count)]
    return f"this machine, {cores} cores", slots


def stored_bytes(plan: Plan) -> tuple[float, float]:
    """Bytes that the missing AEs, and the missing scores, will take in the store."""
    height, width = image_size(plan)
    per_image = height * width + 8 * len(plan.dataset.classes) ** 2
    raw = {"attack": 0, "evaluate": 0}
    for task in plan.missing:
        images = len(plan.shards[task.shard_id].image_ids)
        raw[task.kind] += task.nbytes if task.attack is not None else images * per_image
    return AE_RATIO * raw["attack"], SCORE_RATIO * raw["evaluate"]


def _thinned(plan: Plan, tasks: Mapping[str, Task], part: int) -> dict[str, Task]:
    """The tasks of one shard in ``part``."""
    if part <= 1:
        return dict(tasks)
    kept = set(list(plan.shards)[::part])
    return {key: task for key, task in tasks.items() if task.shard_id in kept}
