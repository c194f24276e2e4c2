"""What one step of our attacks costs, beside the plain gradient and beside torchattacks.

    OMP_NUM_THREADS=1 python infra/benchmarks/attack_step.py --model pspnet-r18 --keep-freed-memory

The same model, images, labels, eps, steps and threads for all, in one process, alternating.
``plain`` is the forward and input gradient of the unfused network and nothing else. Peak memory
is that of a fresh process each. Needs torchattacks
(infra/oracles.txt), which is no dependency of ours.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from contenders import (
    DEVICE,
    EPS,
    VARIANTS,
    batch_of,
    load,
    our_steps,
    plain_steps,
    sample,
    seconds,
    their_steps,
)

from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.memory import keep_freed_memory
from segtransfer.tasks.metrics import miou

ATTACKS = ("pgd", "mi")
CONTENDERS = [
    "plain",
    *(f"{variant}, {preset}" for variant in [*VARIANTS, "torchattacks"] for preset in ATTACKS),
]


@dataclass(frozen=True)
class Case:
    """What every contender is given."""

    model: str
    images: int
    steps: int
    threads: int
    keep: bool


def settle(case: Case) -> None:
    torch.set_num_threads(case.threads)
    if case.keep:
        keep_freed_memory()


def prepare(contender: str, case: Case) -> Callable[[], object]:
    """All steps of one contender on the same images, ready to be called again and again."""
    shard, plain = sample(case.images), load(case.model)
    batch = batch_of(shard.images, shard.labels, shard.image_ids, plain)
    variant, _, preset = contender.partition(", ")
    if contender == "plain":
        return plain_steps(plain, batch, case.steps)
    if variant == "torchattacks":
        return their_steps(plain, batch, case.steps, preset)
    return our_steps(load(case.model, variant), batch, case.steps, preset)


def peak_mib(contender: str, case: Case) -> float:
    """Return the largest growth of memory above the loaded model; call in a process of its own."""
    settle(case)
    prepare(contender, replace(case, images=1, steps=1))()  # libraries and kernels are loaded
    call = prepare(contender, replace(case, steps=2))
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - held / 2**20


def step_table(case: Case, rounds: int) -> None:
    settle(case)
    calls = {contender: prepare(contender, case) for contender in CONTENDERS}
    taken: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for contender, call in calls.items():
            taken[contender].append(seconds(call, case.threads) / case.steps)
    spawn = multiprocessing.get_context("spawn")
    cases = [case] * len(CONTENDERS)
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        peaks = dict(zip(CONTENDERS, pool.map(peak_mib, CONTENDERS, cases), strict=True))

    def ratio(contender: str, other: str) -> str:
        pairs = zip(taken[contender], taken[other], strict=True)
        return f"{statistics.median(a / b for a, b in pairs):.3f}"

    print(
        f"\n{case}\n\n| | ms a step | / plain | / torchattacks | peak, MiB |\n|---|---|---|---|---|"
    )
    for contender in CONTENDERS:
        rival = f"torchattacks, {contender.rpartition(', ')[2]}"
        print(
            f"| {contender} | {1000 * statistics.median(taken[contender]):.0f} | "
            f"{ratio(contender, 'plain')} | "
            f"{ratio(contender, rival) if rival in calls else ''} | {peaks[contender]:.0f} |"
        )


def miou_table(source: str, target: str, images: int) -> None:
    """PGD from ``source``, scored on both, all with one variant's numerics; less reference."""
    shard, pgd = sample(images), AttackSpec.model_validate({"preset": "pgd", "eps": EPS})
    scores: dict[str, dict[str, np.ndarray]] = {}
    print(f"\n| PGD from {source}, {images} images | signs | scored on | mIoU | less reference |")
    print("|---|---|---|---|---|")
    for variant in VARIANTS:
        attacker = load(source, variant)
        signs = min(attacker.numerics.equal_signs.values(), default=1.0)
        made = attack(
            attacker,
            pgd,
            shard.images,
            shard.labels,
            shard.image_ids,
            seed=0,
            group=0,
            micro_batch=4,
        ).images[0]
        scores[variant] = {}
        for name in (source, target):
            model = load(name, variant)
            matrices = evaluate(
                model, made, shard.labels, num_classes=model.num_classes, micro_batch=4
            ).confusions
            scores[variant][name] = matrices
            low, high = paired_interval(matrices, scores["reference"][name])
            print(
                f"| {variant} | {signs:.4f} | {name} | {miou(matrices.sum(0)):.2f} | "
                f"{miou(matrices.sum(0)) - miou(scores['reference'][name].sum(0)):+.2f} "
                f"[{low:+.2f}, {high:+.2f}] |",
                flush=True,
            )


def paired_interval(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval over images of the difference in mIoU."""
    drawn = np.random.default_rng(0).integers(0, len(one), (2000, len(one)))
    differences = [miou(one[rows].sum(0)) - miou(other[rows].sum(0)) for rows in drawn]
    low, high = np.percentile(np.array(differences), (2.5, 97.5))
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="a zoo model; again for more")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep-freed-memory", action="store_true", help="as our executors do")
    parser.add_argument("--miou-images", type=int, default=32, help="0 leaves the comparison out")
    parser.add_argument("--target", default="deeplabv3-r18", help="that AEs are transferred to")
    options = parser.parse_args()
    names = options.model or ["pspnet-r18"]
    for name in names:
        case = Case(name, options.images, options.steps, options.threads, options.keep_freed_memory)
        step_table(case, options.rounds)
    for name in names if options.miou_images else []:
        miou_table(name, options.target, options.miou_images)


if __name__ == "__main__":
    main()
