"""Measurement of models' costs on this machine, and the rates for the costs of plans."""

import logging
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from segtransfer.errors import InputError
from segtransfer.experiment.plan import Plan
from segtransfer.forecast.cost_model import (
    NOTHING_GIVEN,
    STARTUP_SECONDS,
    GivenRates,
    Rates,
    assumed_rates,
    with_forward,
)
from segtransfer.store import Store
from segtransfer.store.measured_costs import LinearCost, ModelRates, stored_rates, write_rates
from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import Shard, read_again
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.memory import keep_freed_memory, peak_since, start_of_peak
from segtransfer.tasks.models import adapters as models

log = logging.getLogger(__name__)
Returned = TypeVar("Returned")

ROUNDS = 2  # repetitions of each measurement at the data's size, alternating
TIMED_STEPS = 3  # steps of the longer attack of each round
# Scales below and above 1, each fed once. One image at the small scales and a micro-batch at the
# large scales are the extremes of an attack's inputs.
SMALL_SCALES, LARGE_SCALES = {"low": 0.5, "width": 0.3}, {"low": 1.2, "width": 0.3}
LARGEST_SCALE = {"low": 1.5, "width": 0.0}


def calibrate(plan: Plan, store: Store, tell: Callable[[str], None] = lambda name: None) -> None:
    """Measure every model of a plan on one micro-batch, in this process, and store the rates.

    Each model is loaded once, except the first, which is loaded twice, because the imports of
    adapters are no part of a load. On a CPU the time is the CPU time of one torch thread, so other
    processes do not count.

    Args:
        plan: The plan with the models.
        store: The store for the rates.
        tell: Called with each model's name before its measurement.

    Raises:
        InputError: A model cannot be measured.
    """
    largest = max(plan.shards.values(), key=lambda s: (math.prod(s.size), len(s.image_ids)))
    shard = read_again(plan.dataset, plan.experiment.data, largest)
    most = max(len(outline.image_ids) for outline in plan.shards.values())
    shard = _batch_of(shard, min(plan.experiment.runtime.micro_batch, most))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        for number, (key, spec) in enumerate(plan.models.items()):
            tell(spec.name)
            try:
                if number == 0:
                    models.load(spec, _device(), plan.experiment.numerics)
                rates = _measure(plan, key, shard)
            except Exception as error:  # a model is arbitrary user code
                raise InputError(f"Model '{spec.name}' cannot be measured: {error}") from error
            write_rates(store, _subject(plan, key), rates)
    finally:
        torch.set_num_threads(threads)


def _batch_of(shard: Shard, count: int) -> Shard:
    """Return ``count`` images of a shard.

    A shard of fewer images is repeated, because images of its size may be rare.
    """
    chosen = np.arange(count) % len(shard.image_ids)
    return replace(
        shard,
        image_ids=tuple(f"{shard.image_ids[place]}-{n}" for n, place in enumerate(chosen)),
        sequences=tuple(shard.sequences[place] for place in chosen),
        images=shard.images[chosen],
        labels=shard.labels[chosen],
    )


def read_rates(plan: Plan, store: Store, given: GivenRates = NOTHING_GIVEN) -> Rates:
    """Return the rates of a plan's models: given by hand, else measured here, else assumed.

    Args:
        plan: The plan.
        store: The store of measured rates.
        given: Rates given by hand.
    """
    measured: dict[str, ModelRates] = {}
    for key in plan.models:
        stored = stored_rates(store, _subject(plan, key))
        if stored is not None:
            measured[key] = stored
    height, width = plan.largest_size
    unknown = assumed_rates(height * width, _device())
    rates = {key: measured.get(key, unknown) for key in plan.models}
    if given.forward is not None:
        measured = {}
        rates = {key: with_forward(r, given.forward) for key, r in rates.items()}
    if given.switch is not None:
        rates = {key: replace(r, load=given.switch) for key, r in rates.items()}
    startup = STARTUP_SECONDS if given.startup is None else given.startup
    return Rates(rates, startup, device_name(), frozenset(measured), given)


@cache
def device_name() -> str:
    """Return the GPU's name, else the CPU's name with the number of threads.

    Returns:
        For example "NVIDIA H200" or "AMD EPYC 7763, one thread".
    """
    if _device() == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, one thread"


def _measure(plan: Plan, key: str, shard: Shard) -> ModelRates:
    """Return the rates of a model on this device, measured on a shard of one micro-batch."""
    spec, micro_batch = plan.models[key], plan.experiment.runtime.micro_batch
    base = start_of_peak(_device())
    load, model = _timed(lambda: models.load(spec, _device(), plan.experiment.numerics))
    native = model.pixels_seen(*shard.images.shape[-2:])

    def time_attack(part: Shard, steps: int, scales: Mapping[str, float] | None = None) -> float:
        fields = {"preset": "pgd", "steps": steps, "transforms": [{"ds": scales}] if scales else []}
        run = partial(attack, model, AttackSpec.model_validate(fields), seed=0, group=part.group)
        run = partial(run, part.images, part.labels, part.image_ids, micro_batch=micro_batch)
        return _timed(run)[0]

    def time_evaluation(part: Shard) -> float:
        run = partial(evaluate, model, part.images, part.labels, micro_batch=micro_batch)
        return _timed(partial(run, num_classes=len(plan.dataset.classes)))[0]

    parts = [shard.first(1), shard][: len(shard.image_ids)]
    for part in parts:
        time_evaluation(part)  # refuses a model of other classes
        time_attack(part, 1)  # warm-up: kernels are chosen
    # Memory is mapped once, however large the images of later steps are.
    time_attack(parts[-1], 1, LARGEST_SCALE)
    rounds = [
        [
            (time_evaluation(part), time_attack(part, 1), time_attack(part, TIMED_STEPS))
            for part in parts
        ]
        for _ in range(ROUNDS)
    ]
    # Means over the rounds; axes: round, part, measurement.
    forward, one, several = np.mean(rounds, axis=0).T
    step = np.maximum((several - one) / (TIMED_STEPS - 1), forward)
    counts = [len(part.image_ids) for part in parts]
    finish = max(0.0, float(one[-1] - step[-1]) / counts[-1])
    scaled = []
    for part, scales in ((parts[0], SMALL_SCALES), (parts[-1], LARGE_SCALES)):
        before, count = model.cost.pixels, len(part.image_ids)
        seconds = time_attack(part, TIMED_STEPS, scales) - count * finish
        areas = (model.cost.pixels - before) / native
        scaled.append((areas / TIMED_STEPS, seconds / TIMED_STEPS))
    return ModelRates(
        load,
        forward=line_through(list(zip(counts, forward.tolist(), strict=True))),
        step=line_through(list(zip(counts, step.tolist(), strict=True))),
        scaled=line_through(scaled),
        finish=finish,
        peak_bytes=peak_since(base, _device()),
    )


def line_through(points: Sequence[tuple[float, float]]) -> LinearCost:
    """Return the line through the first and last point, with neither coefficient below zero.

    Args:
        points: Pairs of images and seconds; the line of a single point goes through the origin.

    Returns:
        Seconds per call and seconds per image.
    """
    (few, quick), (many, slow) = points[0], points[-1]
    slope = (slow - quick) / (many - few) if many > few else math.inf
    slope = min(max(slope, 0.0), slow / many)
    return LinearCost(call=slow - slope * many, image=slope)


def _timed(call: Callable[[], Returned]) -> tuple[float, Returned]:
    """Return the seconds of a call, and its result."""
    cuda = _device() == "cuda"
    clock = time.perf_counter if cuda else time.thread_time
    if cuda:
        torch.cuda.synchronize()
    began = clock()
    returned = call()
    if cuda:
        torch.cuda.synchronize()
    return clock() - began, returned


def _subject(plan: Plan, key: str) -> dict[str, Any]:
    """Return the identity of a measurement; the model key holds fingerprint and numerics."""
    return {
        "model": key,
        "numerics": plan.experiment.numerics.identity(),
        "size": list(plan.largest_size),
        "micro_batch": plan.experiment.runtime.micro_batch,
        "type": _device(),
        "device": device_name(),
        "torch": torch.__version__,
    }


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
