"""Correctness on a GPU: the CPU's results, ``fast``, TF32 flags, poisoned contexts, lack of memory.

Checks that change their process run this file as a process of its own (``in_child``).
"""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from contenders import DEVICE, Batch, batch_of, our_steps, sample
from contenders import load as load_anew
from gpu_rows import (
    FAILS,
    HOLDS,
    NEEDS_CUDA,
    SETTINGS,
    Budget,
    Figure,
    OverBudgetError,
    Row,
    Settings,
)
from gpu_speed import options_of, sign_figures

from segtransfer.tasks import batching
from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.device_errors import is_poisoned
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.metrics import miou
from segtransfer.tasks.models.base import Segmenter

MODELS = ("fcn-r18", "segformer-mit")
PRESETS = ("pgd", "ds-mi")
# Bounds between devices, and between numerics. Networks with ReLUs amplify rounding: with the code
# of others on the same CPU, 88 to 99.9 % of the values are equal.
LEAST_EQUAL = 85.0  # % of 8-bit values
LARGEST_MIOU_DIFFERENCE = 1.0  # points
# Attacks on a GPU need not repeat, because sums of a backward are in any order. A setting that
# changes no computation changes no more than a repetition does.
TIMES_A_REPETITION = 2.0
load = cache(load_anew)


def zoo_batch(settings: Settings) -> Batch:
    """Return sample images, with labels by the CPU's reference where a pixel has none."""
    shard = sample(settings.images, settings.size)
    return batch_of(shard.images, shard.labels, shard.image_ids, load(MODELS[0], device="cpu"))


def devices_agree(name: str, preset: str, settings: Settings) -> Row:
    """Compare reference on this device with reference on the CPU; on a CPU with itself."""
    batch = zoo_batch(settings)
    made = [craft(load(name, device=device), batch, preset, settings) for device in ("cpu", DEVICE)]
    scored = [
        scores([load(target, device=device) for target in MODELS], images, batch.classes)
        for device, images in zip(("cpu", DEVICE), made, strict=True)
    ]
    equal, difference = equal_share(*made), largest(scored)
    least, most = (100.0, 0.0) if DEVICE == "cpu" else (LEAST_EQUAL, LARGEST_MIOU_DIFFERENCE)
    return Row(
        f"{name}, {preset}: reference on {DEVICE} against reference on cpu",
        HOLDS if equal >= least and difference <= most else FAILS,
        (_values(equal), _miou(difference)),
        f"bounds {least:g} %, {most:g} points",
    )


def fast_agrees(name: str, settings: Settings) -> Row:
    """Compare ``fast`` with reference, both on this device."""
    batch, made, scored = zoo_batch(settings), [], []
    for variant in ("reference", "fast"):
        made.append(craft(load(name, variant), batch, "pgd", settings))
        targets = [load(target, variant) for target in MODELS]
        scored.append(scores(targets, made[-1], batch.classes))
    model, difference = load(name, "fast"), largest(scored)
    return Row(
        f"{name}, pgd: fast against reference on {DEVICE}",
        HOLDS if difference <= LARGEST_MIOU_DIFFERENCE else FAILS,
        (*sign_figures(model), _values(equal_share(*made)), _miou(difference)),
        f"bound {LARGEST_MIOU_DIFFERENCE:g} points; {options_of(model)}",
    )


def craft(model: Segmenter, batch: Batch, preset: str, settings: Settings) -> np.ndarray:
    """Return the AEs of a preset, uint8 N x 3 x H x W."""
    return our_steps(model, batch, settings.steps, preset)().images[0]


def scores(targets: Sequence[Segmenter], images: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return the mIoU of images on each target, in percent."""
    results = [
        evaluate(t, images, labels, num_classes=t.num_classes, micro_batch=len(images))
        for t in targets
    ]
    return [float(miou(result.confusions.sum(0))) for result in results]


def equal_share(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of equal values, in percent."""
    return 100 * float((one == other).mean())


def largest(scored: Sequence[Sequence[float]]) -> float:
    """Return the largest absolute difference between two lists of scores."""
    one, other = scored
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _values(equal: float) -> Figure:
    return Figure("equal 8-bit values", equal, "%")


def _miou(difference: float) -> Figure:
    return Figure("largest mIoU difference", difference, "points")


# TF32


def flags() -> None:
    """Allow TF32 in cuBLAS and cuDNN by the flags of all supported versions of torch."""
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def precision() -> None:
    """Allow TF32 by the setting of torch 2.9 and later, which stands above the flags."""
    settings: Any = torch.backends  # whose new setting mypy does not know
    settings.fp32_precision = "tf32"


def tf32_rows(way: str, allow: Callable[[], None], settings: Settings) -> list[Row]:
    """Compare reference before and after TF32 is allowed: AEs and logits of each model."""
    batch = zoo_batch(settings)
    before = {name: _computed(name, batch, settings) for name in MODELS}
    again = {name: _computed(name, batch, settings) for name in MODELS}
    after = {name: _computed(name, batch, settings, allow) for name in MODELS}
    case = f"pgd: reference after {way}"
    rows = [tf32_row(f"{n}, {case}", before[n], again[n], after[n]) for n in MODELS]
    return [replace(row, note=f"{row.note}; in the end {precisions()}") for row in rows]


def precisions() -> str:
    """Return the settings of TF32 as a forward leaves them."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    if hasattr(torch.backends, "fp32_precision"):
        return f"cuda.matmul {matmul.fp32_precision}, cudnn.conv {cudnn.conv.fp32_precision}"
    return f"allow_tf32 of cuda.matmul {matmul.allow_tf32}, of cudnn {cudnn.allow_tf32}"


Computed = tuple[np.ndarray, np.ndarray]


def _computed(
    name: str, batch: Batch, settings: Settings, allow: Callable[[], None] = lambda: None
) -> Computed:
    """Return AEs and logits of reference, each computed right after ``allow``."""
    model = load(name)
    allow()
    images = craft(model, batch, "pgd", settings)
    allow()
    with torch.no_grad():
        return images, model(batch.pixels.to(DEVICE)).cpu().numpy()


def tf32_row(case: str, before: Computed, again: Computed, after: Computed) -> Row:
    """Judge results after a setting by the results of a mere repetition."""

    def unlike(other: Computed) -> tuple[float, float]:
        change = float(np.abs(other[1] - before[1]).max() / np.abs(before[1]).max())
        return 100 - equal_share(before[0], other[0]), change

    repeated, allowed = unlike(again), unlike(after)
    unchanged = all(a <= TIMES_A_REPETITION * r for a, r in zip(allowed, repeated, strict=True))
    return Row(
        case,
        HOLDS if unchanged else FAILS,
        (
            Figure("unequal 8-bit values", allowed[0], "%"),
            Figure("of a repetition", repeated[0], "%"),
            Figure("largest change of a logit", allowed[1], "of the largest logit"),
            Figure("of a repetition", repeated[1], "of the largest logit"),
        ),
        f"bound: {TIMES_A_REPETITION:g} times a repetition",
    )


# Poisoned context


def poisoned_rows(settings: Settings) -> list[Row]:
    """Fail an assertion on the device; then evaluate through the package on the lost context."""
    model, batch = load(MODELS[0]), zoo_batch(settings)
    index = torch.tensor([9], device=DEVICE)

    def assertion() -> None:
        torch.zeros(1, device=DEVICE)[index].cpu()

    return [
        recognised("device-side assert", assertion),
        recognised(
            "evaluation on the lost context",
            lambda: scores([model], batch.images, batch.classes),
        ),
    ]


def recognised(case: str, call: Callable[[], object]) -> Row:
    """Tell whether ``is_poisoned`` recognises the error of a call."""
    case = f"poisoned context: {case}"
    try:
        call()
    except Exception as error:
        told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return Row(case, HOLDS if is_poisoned(error) else FAILS, note=told)
    return Row(case, FAILS, note="no error was raised")


# Lack of memory


def halving_rows(settings: Settings) -> list[Row]:
    """Attack with too little memory for all images, and with half of them per forward."""
    batch, model = zoo_batch(settings), load(MODELS[0])
    count = len(batch.images)
    fields = {"preset": "pgd", "steps": 2}

    def attacked(micro_batch: int) -> np.ndarray:
        spec = AttackSpec.model_validate(fields)
        arguments = (model, spec, batch.images, batch.classes, batch.image_ids)
        return attack(*arguments, seed=0, group=0, micro_batch=micro_batch).images[0]

    half, whole = (peak_of(partial(attacked, size)) for size in (count // 2, count))
    small, again = attacked(count // 2), attacked(count // 2)
    limit_memory(half + (whole - half) // 4)
    return [halved_row(attacked, count, small, again)]


def peak_of(call: Callable[[], object]) -> int:
    """Return the bytes that the allocator reserves at the peak of a call's second run."""
    call()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_reserved()


def limit_memory(most: int) -> None:
    """Limit this process's allocator to ``most`` bytes of the device."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(most / total)


def halved_row(
    attacked: Callable[[int], np.ndarray], count: int, small: np.ndarray, again: np.ndarray
) -> Row:
    """Judge an attack on ``count`` images without enough memory for one micro-batch.

    Args:
        attacked: A function from a micro-batch to AEs, under the limit.
        count: The number of images.
        small: AEs with half the micro-batch, without a limit.
        again: ``small`` computed again.
    """
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    batching.log.addHandler(handler)
    try:
        limited = attacked(count)
    finally:
        batching.log.removeHandler(handler)
    unequal, repeated = 100 - equal_share(small, limited), 100 - equal_share(small, again)
    wanted = f"out of memory with {count} images per forward; trying {count // 2} per forward"
    return Row(
        "out of memory: micro-batch halved",
        HOLDS if messages == [wanted] and unequal <= TIMES_A_REPETITION * repeated else FAILS,
        (
            Figure("values unequal to the small micro-batch's", unequal, "%"),
            Figure("of a repetition", repeated, "%"),
        ),
        "; ".join(messages) or "no lack of memory was met",
    )


CHILDREN: dict[str, Callable[[Settings], list[Row]]] = {
    "TF32 flags": partial(tf32_rows, "allow_tf32 = True of cuda.matmul and cudnn", flags),
    "poisoned context": poisoned_rows,
    "halving on out-of-memory": halving_rows,
}
if hasattr(torch.backends, "fp32_precision"):
    CHILDREN["TF32 precision"] = partial(tf32_rows, "backends.fp32_precision = tf32", precision)


def in_child(name: str, budget: Budget) -> list[Row]:
    """Return the rows of a check that changes its process.

    Raises:
        OverBudgetError: If the time is spent.
    """
    if DEVICE == "cpu":
        return [Row(name, NEEDS_CUDA)]
    budget.need(0)
    command = [sys.executable, __file__, name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=budget.left())
        answer = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise OverBudgetError("was stopped at the end of the time") from None
    except (IndexError, ValueError):
        told = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [Row(name, FAILS, note=f"exit code {done.returncode}: {told}")]
    return [Row.read(record) for record in answer]


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = CHILDREN[sys.argv[1]](SETTINGS[DEVICE])
    # A lost context may end the process in its destructors, so the answer is written before.
    print(json.dumps([row.record() for row in rows]), flush=True)
