"""What models cost in seconds: measured here and kept in the store, given by hand, or assumed."""

import ctypes
import gc
import json
import logging
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from orchestrator.identity import key_of
from orchestrator.plan import FORWARD_AND_BACKWARD, Plan, Task
from orchestrator.store import Store
from tasks import models
from tasks.attack import attack
from tasks.attacks.spec import AttackSpec
from tasks.data.shards import Shard
from tasks.errors import InputError
from tasks.evaluate import evaluate
from tasks.memory import keep_freed_memory

log = logging.getLogger(__name__)
Made = TypeVar("Made")

VERSION = 1  # of the kept files; raise when their meaning changes
FOLDER = "calibration"
RESCALING = frozenset({"ds", "di", "rdi"})  # transforms that change the size of what goes in
SCALED_STEPS = 4

# Assumed where nothing was measured or given: a half-width ResNet-18 takes 0.45 s a megapixel on
# one thread of the CPU here, a ResNet-50 ten times that; a data-centre GPU is some 20 times faster.
FORWARD_SECONDS_PER_PIXEL = {"cpu": 1e-6, "cuda": 5e-8}
STARTUP_SECONDS = 12.0  # a worker that imports mmseg, as measured here
SWITCH_SECONDS = 2.0
# Rounding, checks and statistics of an image that no step accounts for.
FINISH_SECONDS_PER_PIXEL = 2e-7


@dataclass(frozen=True)
class ModelRates:
    """What one model takes on one device, in seconds.

    ``load`` it; then an image each: ``forward`` to score it, ``step`` for one step of PGD,
    ``finish`` for what an attack does beside its steps. ``peak_bytes`` is what memory grew by,
    None where that is not known. ``scaled`` is what a pixel of a rescaled image takes over one of
    a native one: sizes that change find no memory and no kernel ready.
    """

    load: float
    forward: float
    step: float
    finish: float
    peak_bytes: int | None = None
    scaled: float = 1.0


@dataclass(frozen=True)
class Given:
    """Rates given by hand, in seconds; they win over measured ones."""

    forward: float | None = None
    startup: float | None = None
    switch: float | None = None


@dataclass(frozen=True)
class Rates:
    """What every model of a plan takes, by model key; ``startup`` is a worker's, without a model.

    ``measured`` names the models whose rates were measured, ``given`` those fields given by hand;
    what is neither is assumed.
    """

    models: Mapping[str, ModelRates]
    startup: float
    device: str
    measured: frozenset[str] = frozenset()
    given: Given = Given()


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


def read_rates(plan: Plan, store: Store, given: Given = Given()) -> Rates:
    """The rates of a plan's models: given by hand, else measured here earlier, else assumed."""
    measured: dict[str, ModelRates] = {}
    for key in plan.models:
        found = _read(store.files.read(_path(plan, key)))
        if found is not None:
            measured[key] = found
    height, width = image_size(plan)
    rates = {key: measured.get(key, assumed(height * width)) for key in plan.models}
    if given.forward is not None:
        measured = {}
        step = given.forward * FORWARD_AND_BACKWARD
        rates = {k: replace(r, forward=given.forward, step=step) for k, r in rates.items()}
    if given.switch is not None:
        rates = {key: replace(r, load=given.switch) for key, r in rates.items()}
    startup = STARTUP_SECONDS if given.startup is None else given.startup
    return Rates(rates, startup, device_name(), frozenset(measured), given)


def assumed(pixels: int) -> ModelRates:
    """Rates of a model that nobody measured, for images of so many pixels."""
    forward = pixels * FORWARD_SECONDS_PER_PIXEL[_device()]
    finish = pixels * FINISH_SECONDS_PER_PIXEL
    return ModelRates(SWITCH_SECONDS, forward, forward * FORWARD_AND_BACKWARD, finish)


def in_seconds(plan: Plan, rates: Rates) -> dict[str, Task]:
    """The plan's tasks with their costs in seconds."""
    steps: dict[str, tuple[float, bool]] = {}
    finish = max((model.finish for model in rates.models.values()), default=0.0)
    costed = {}
    for key, task in plan.tasks.items():
        images = len(plan.shards[task.shard_id].image_ids)
        model = rates.models[task.model] if task.model is not None else None
        if task.attack is None:
            assert model is not None
            seconds = model.forward
        elif model is None:
            seconds = finish
        else:
            name = task.attack.name
            if name not in steps:
                count = task.attack.restarts * task.attack.steps * task.attack.step_cost
                rescales = any(transform.kind in RESCALING for transform in task.attack.transforms)
                steps[name] = count, rescales
            count, rescales = steps[name]
            seconds = count * model.step * (model.scaled if rescales else 1.0) + model.finish
        costed[key] = replace(task, cost=images * seconds)
    return costed


def image_size(plan: Plan) -> tuple[int, int]:
    height, width = next(iter(plan.shards.values())).images.shape[2:]
    return height, width


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

    def make(steps: int, preset: str = "pgd") -> None:
        spec = AttackSpec.model_validate({"preset": preset, "steps": steps})
        arguments = (shard.images, shard.labels, shard.image_ids)
        attack(model, spec, *arguments, seed=0, group=shard.group, micro_batch=micro_batch)

    def score() -> None:
        classes = len(plan.dataset.classes)
        evaluate(model, shard.images, shard.labels, num_classes=classes, micro_batch=micro_batch)

    score()  # refuses a model of other classes
    make(1)  # kernels are chosen, memory is mapped
    forward, one, four = (
        _timed(call)[0] / len(shard.image_ids) for call in (score, lambda: make(1), lambda: make(4))
    )
    step = max((four - one) / 3, forward)
    finish = max(0.0, one - step)
    before = model.cost.pixels
    rescaled = _timed(lambda: make(SCALED_STEPS, "ds"))[0] / len(shard.image_ids) - finish
    pixels = (model.cost.pixels - before) / model.pixels_seen(*shard.images.shape[-2:])
    scaled = max(1.0, rescaled * len(shard.image_ids) / (pixels * step))
    return ModelRates(load, forward, step, finish, _peak_since(base), scaled)


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
        "device": device_name(),
        "torch": torch.__version__,
    }


def _path(plan: Plan, key: str) -> str:
    return f"{FOLDER}/{key_of(_subject(plan, key))}.json"


def _read(content: bytes | None) -> ModelRates | None:
    """Kept rates; None where they are missing, torn, or of another version."""
    try:
        found = json.loads(content or b"{}")
        return ModelRates(**found["rates"]) if found["version"] == VERSION else None
    except (ValueError, KeyError, TypeError):
        return None


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
