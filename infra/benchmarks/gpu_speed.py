"""Times and memory of the GPU benchmark: steps of an attack and evaluation, per network."""

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from contenders import (
    DEVICE,
    Batch,
    batch_of,
    has_torchattacks,
    numerics_of,
    our_steps,
    plain_steps,
    sample,
    seconds,
    their_steps,
)
from gpu_rows import MEASURED, Budget, Figure, Row, Settings
from random_networks import CONFIGS, data, network

from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.memory import peak_since, start_of_peak
from segtransfer.tasks.models.applied_numerics import with_numerics
from segtransfer.tasks.models.base import Segmenter

TIMED = ("reference", "fold + channels_last", "fast")
THEIRS = "torchattacks"
LOADING = 20  # seconds that a large network may need before the first timed call
Calls = dict[tuple[str, str], Callable[[], object]]


def network_rows(name: str, folder: Path, settings: Settings, budget: Budget) -> list[Row]:
    """Return a row per way of a step and per way of an evaluation.

    Raises:
        OverBudgetError: If the rounds, by the time of a first pass, need more than the time left.
    """
    budget.need(LOADING)
    reference = network(name, folder, device=DEVICE)
    models = {v: with_numerics(copy.deepcopy(reference), numerics_of(v)) for v in TIMED}
    batch, steps = _batch(name, reference, settings)
    calls = prepare(models, batch, steps)
    for call in calls.values():
        call()  # kernels are loaded
    began = time.monotonic()
    peaks = {key: peak_figures(call) for key, call in calls.items()}
    budget.need(settings.rounds * (time.monotonic() - began))
    taken = alternate(calls, settings.rounds)
    count, size = len(batch.images), " x ".join(map(str, batch.images.shape[2:]))
    rows = []
    for way, kind in calls:
        if kind == "short":
            continue
        figures = peaks[way, kind]
        if kind == "long":
            what, figures = "step", step_figures(taken, way, steps, count) + figures
        else:
            rate = count / statistics.median(taken[way, kind])
            what, figures = "evaluation", (Figure("rate", rate, "images per s"), *figures)
        figures += sign_figures(models[way]) if way in models else ()
        note = options_of(models[way]) if way in models else ""
        rows.append(Row(f"{name}, {count} of {size}: {what}, {way}", MEASURED, figures, note))
    return rows


def prepare(models: dict[str, Segmenter], batch: Batch, steps: int) -> Calls:
    """Return the calls to time, by way and kind.

    An attack of ours also uploads, rounds and measures its images. So a ``short`` call of one step
    is subtracted from the ``long`` call, and the rest is the time of steps alone.
    """
    ways: dict[str, Callable[[int], Callable[[], object]]] = {
        "plain": partial(plain_steps, models["reference"], batch),
        **{way: partial(our_steps, model, batch) for way, model in models.items()},
    }
    if has_torchattacks():
        ways[THEIRS] = partial(their_steps, models["reference"], batch)
    calls: Calls = {}
    for way, made in ways.items():
        calls[way, "long"], calls[way, "short"] = made(steps), made(1)
    for way in ("reference", "fast"):
        calls[way, "evaluation"] = partial(
            evaluate,
            models[way],
            batch.images,
            batch.classes,
            num_classes=models[way].num_classes,
            micro_batch=len(batch.images),
        )
    return calls


def alternate(calls: Calls, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of each call per round; a round makes each call once."""
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, call in calls.items():
            taken[key].append(seconds(call, threads=1))
    return taken


def step_figures(
    taken: dict[tuple[str, str], list[float]], way: str, steps: int, images: int
) -> tuple[Figure, ...]:
    """Return the figures of a way: medians over rounds, of times and of ratios in a round.

    Args:
        taken: Seconds per round of a call of ``steps`` steps (``long``) and of one (``short``).
        way: The way.
        steps: Steps of a long call, 2 or more.
        images: Images of a call.
    """

    def alone(way: str) -> list[float]:
        pairs = zip(taken[way, "long"], taken[way, "short"], strict=True)
        return [(long - short) / (steps - 1) for long, short in pairs]

    figures = [Figure("step", 1000 * statistics.median(alone(way)), "ms")]
    for other in ("plain", THEIRS):
        if (other, "long") in taken:
            ratios = [a / b for a, b in zip(alone(way), alone(other), strict=True)]
            figures.append(Figure(f"step / {other}", statistics.median(ratios), "of its time"))
    whole = statistics.median(taken[way, "long"])
    figures.append(Figure("whole call per step", 1000 * whole / steps, "ms"))
    figures.append(Figure("rate", images * steps / whole, "image steps per s"))
    return tuple(figures)


def peak_figures(call: Callable[[], object]) -> tuple[Figure, ...]:
    """Return the growth of memory in a call; no figure if the system has no such measure.

    On a GPU the measure is of allocated memory, on a CPU of this process's resident memory.
    """
    base = start_of_peak(DEVICE)
    held = torch.cuda.memory_allocated() if DEVICE == "cuda" else 0
    call()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        peak: int | None = torch.cuda.max_memory_allocated() - held
    else:
        peak = peak_since(base, DEVICE)
    return () if peak is None else (Figure("peak", peak / 2**20, "MiB"),)


def sign_figures(model: Segmenter) -> tuple[Figure, ...]:
    """Return the share of equal gradient signs per tried option, by the check at load."""
    shares = model.numerics.equal_signs.items()
    return tuple(Figure(f"signs under {option}", 100 * share, "%") for option, share in shares)


def options_of(model: Segmenter) -> str:
    """Return the active options and the refused ones, with a reason where an error was met."""
    numerics = model.numerics
    tried = [
        *numerics.equal_signs,
        *(o for o in numerics.left_off if o not in numerics.equal_signs),
    ]
    told = []
    for option in tried:
        reason = numerics.left_off.get(option)
        state = "on" if getattr(numerics, option) else "off"
        told.append(f"{option} {state}" + (f" ({reason})" if reason else ""))
    return ", ".join(told)


def _batch(name: str, model: Segmenter, settings: Settings) -> tuple[Batch, int]:
    """Return the images of a network and its steps."""
    if name in CONFIGS:
        images, labels = data(1, settings.large_size)
        return batch_of(images, labels, ("0",), model), settings.large_steps
    shard = sample(settings.images, settings.size)
    return batch_of(shard.images, shard.labels, shard.image_ids, model), settings.steps
