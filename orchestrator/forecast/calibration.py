"""What models cost, measured here and kept in the store, and read from there."""

import ctypes
import gc
import json
import logging
import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from segtransfer.errors import InputError
from segtransfer.experiment.keys import key_of
from segtransfer.experiment.plan import FORWARD_AND_BACKWARD, Plan
from segtransfer.forecast.cost_model import (
    NOTHING_GIVEN,
    STARTUP_SECONDS,
    GivenRates,
    LinearCost,
    ModelRates,
    Rates,
    assumed,
    image_size,
    with_forward,
)
from segtransfer.store import Store
from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.memory import keep_freed_memory
from segtransfer.tasks.models import adapters as models

log = logging.getLogger(__name__)
Made = TypeVar("Made")

Kind = tuple[str, str, str]  # model key, kind of task, "cpu" or "cuda"

VERSION = 2  # of the kept files; raise when their meaning changes
FOLDER = "calibration"
ROUNDS = 2  # of each measurement at the data's size, taken in turns
STEPS = 3  # of the longer attack of each
# Scales below and above one, none of which is fed twice: one image of the first and a micro-batch
# of the second are the ends of what attacks feed.
SMALL, LARGE = {"low": 0.5, "width": 0.3}, {"low": 1.2, "width": 0.3}
LARGEST = {"low": 1.5, "width": 0.0}


def calibrate(plan: Plan, store: Store, tell: Callable[[str], None] = lambda name: None) -> None:
    """Measure every model of a plan on one micro-batch, in this process, and keep it in the store.

    Each model is loaded once, the first one twice: what adapters import is no part of a load.
    ``tell`` is called with its name before. On a CPU: one torch thread, and that thread's CPU time,
    so that neighbours do not count. Raises InputError for a model that cannot be measured.
    """
    shard = max(plan.shards.values(), key=lambda shard: len(shard.image_ids))
    shard = _first(shard, plan.experiment.runtime.micro_batch)
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
            except Exception as error:  # the code of a model is anybody's
                raise InputError(f"model '{spec.name}' cannot be measured: {error}") from error
            content = {"version": VERSION, "of": _subject(plan, key), "rates": asdict(rates)}
            store.files.write(_path(plan, key), json.dumps(content, indent=1).encode())
    finally:
        torch.set_num_threads(threads)


def read_rates(plan: Plan, store: Store, given: GivenRates = NOTHING_GIVEN) -> Rates:
    """The rates of a plan's models: given by hand, else measured here earlier, else assumed."""
    measured: dict[str, ModelRates] = {}
    for key in plan.models:
        found = _read(store.files.read(_path(plan, key)))
        if found is not None:
            measured[key] = found
    height, width = image_size(plan)
    unknown = assumed(height * width, _device())
    rates = {key: measured.get(key, unknown) for key in plan.models}
    if given.forward is not None:
        measured = {}
        rates = {key: with_forward(r, given.forward) for key, r in rates.items()}
    if given.switch is not None:
        rates = {key: replace(r, load=given.switch) for key, r in rates.items()}
    startup = STARTUP_SECONDS if given.startup is None else given.startup
    return Rates(rates, startup, device_name(), frozenset(measured), given)


def peaks_on_gpus(
    store: Store, models: Iterable[str], shard: Shard | None, micro_batch: int
) -> tuple[int, ...]:
    """Bytes that each of these models took on a GPU of whatever kind, for images of the shard's
    size; empty unless all were measured. Needs no GPU here: a driver may live where there is none.
    """
    if shard is None:
        return ()
    peaks: dict[str, int] = {}
    for model, device, rates in _kept(store, shard, micro_batch):
        if device == "cuda" and rates.peak_bytes is not None:
            peaks[model] = max(rates.peak_bytes, peaks.get(model, 0))
    wanted = set(models)
    return tuple(peaks[model] for model in wanted) if wanted <= peaks.keys() else ()


def measured_paces(store: Store, shard: Shard, micro_batch: int) -> dict[Kind, float]:
    """Seconds a unit of a task's cost, for images of the shard's size, by model key, kind of task,
    and "cpu" or "cuda": the slowest that was measured of such, for images one by one."""
    paces: dict[Kind, float] = {}
    for model, device, rates in _kept(store, shard, micro_batch):
        step = max(rates.step.seconds(1, 1), rates.scaled.seconds(1, 1)) + rates.finish
        for kind, pace in (
            ("evaluate", rates.forward.seconds(1, 1)),
            ("attack", step / FORWARD_AND_BACKWARD),
        ):
            key = model, kind, device
            paces[key] = max(pace, paces.get(key, 0.0))
    return paces


def _kept(store: Store, shard: Shard, micro_batch: int) -> Iterator[tuple[str, str, ModelRates]]:
    """All that was measured, on whatever device, with images of the shard's size: the model's key,
    "cpu" or "cuda", and the rates."""
    for path in store.files.names(FOLDER):
        content = store.files.read(path)
        rates = _read(content)
        if content is None or rates is None:
            continue
        of = json.loads(content)["of"]
        if (of["size"], of["micro_batch"]) == (list(shard.images.shape[2:]), micro_batch):
            yield of["model"], of["type"], rates


@cache
def device_name() -> str:
    """The GPU's name, else the CPU's and that one of its threads is meant."""
    if _device() == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, one thread"


def _measure(plan: Plan, key: str, shard: Shard) -> ModelRates:
    spec, micro_batch = plan.models[key], plan.experiment.runtime.micro_batch
    base = _start_of_peak()
    load, model = _timed(lambda: models.load(spec, _device(), plan.experiment.numerics))
    native = model.pixels_seen(*shard.images.shape[-2:])

    def make(part: Shard, steps: int, scales: Mapping[str, float] | None = None) -> float:
        """Seconds of an attack."""
        fields = {"preset": "pgd", "steps": steps, "transforms": [{"ds": scales}] if scales else []}
        run = partial(attack, model, AttackSpec.model_validate(fields), seed=0, group=part.group)
        run = partial(run, part.images, part.labels, part.image_ids, micro_batch=micro_batch)
        return _timed(run)[0]

    def score(part: Shard) -> float:
        run = partial(evaluate, model, part.images, part.labels, micro_batch=micro_batch)
        return _timed(partial(run, num_classes=len(plan.dataset.classes)))[0]

    parts = [_first(shard, 1), shard][: len(shard.image_ids)]
    for part in parts:
        score(part)  # refuses a model of other classes
        make(part, 1)  # kernels are chosen
    make(parts[-1], 1, LARGEST)  # memory is mapped once, however large the images of later steps
    rounds = [
        [(score(part), make(part, 1), make(part, STEPS)) for part in parts] for _ in range(ROUNDS)
    ]
    # Of each part; axes: round, part, measurement.
    forward, one, several = np.mean(rounds, axis=0).T
    step = np.maximum((several - one) / (STEPS - 1), forward)
    counts = [len(part.image_ids) for part in parts]
    finish = max(0.0, float(one[-1] - step[-1]) / counts[-1])
    scaled = []
    for part, scales in ((parts[0], SMALL), (parts[-1], LARGE)):
        before, count = model.cost.pixels, len(part.image_ids)
        seconds = make(part, STEPS, scales) - count * finish
        scaled.append(((model.cost.pixels - before) / native / STEPS, seconds / STEPS))
    return ModelRates(
        load,
        forward=line_through(list(zip(counts, forward.tolist(), strict=True))),
        step=line_through(list(zip(counts, step.tolist(), strict=True))),
        scaled=line_through(scaled),
        finish=finish,
        peak_bytes=_peak_since(base),
    )


def line_through(points: Sequence[tuple[float, float]]) -> LinearCost:
    """The line through the first and last of (images, seconds), neither part below zero; through
    the origin where there is one point."""
    (few, quick), (many, slow) = points[0], points[-1]
    slope = (slow - quick) / (many - few) if many > few else math.inf
    slope = min(max(slope, 0.0), slow / many)
    return LinearCost(call=slow - slope * many, image=slope)


def _timed(call: Callable[[], Made]) -> tuple[float, Made]:
    cuda = _device() == "cuda"
    clock = time.perf_counter if cuda else time.thread_time
    if cuda:
        torch.cuda.synchronize()
    began = clock()
    made = call()
    if cuda:
        torch.cuda.synchronize()
    return clock() - began, made


def _start_of_peak() -> int:
    """Begin to watch the peak of memory; returns what is held now."""
    gc.collect()
    if _device() == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_reserved()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # what an earlier model freed does not count as held
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is held
    except OSError:
        log.info("the peak of memory cannot be measured here")
        return -1
    return _resident("VmRSS")


def _peak_since(base: int) -> int | None:
    if _device() == "cuda":
        return torch.cuda.max_memory_reserved() - base
    return _resident("VmHWM") - base if base >= 0 else None


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def _first(shard: Shard, count: int) -> Shard:
    return replace(
        shard,
        image_ids=shard.image_ids[:count],
        sequences=shard.sequences[:count],
        images=np.ascontiguousarray(shard.images[:count]),
        labels=np.ascontiguousarray(shard.labels[:count]),
    )


def _subject(plan: Plan, key: str) -> dict[str, Any]:
    """What was measured: the model key holds the fingerprint and the numerics."""
    return {
        "model": key,
        "numerics": plan.experiment.numerics.identity(),
        "size": list(image_size(plan)),
        "micro_batch": plan.experiment.runtime.micro_batch,
        "type": _device(),
        "device": device_name(),
        "torch": torch.__version__,
    }


def _path(plan: Plan, key: str) -> str:
    return f"{FOLDER}/{key_of(_subject(plan, key))}.json"


def _read(content: bytes | None) -> ModelRates | None:
    """Kept rates; None where they are missing, torn, or of another version."""
    try:
        found = json.loads(content or b"{}")
        if found["version"] != VERSION:
            return None
        rates = found["rates"]
        lines = {name: LinearCost(**rates[name]) for name in ("forward", "step", "scaled")}
        return ModelRates(**{**rates, **lines})
    except (ValueError, KeyError, TypeError):
        return None


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
