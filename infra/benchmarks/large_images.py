"""Peak memory and seconds of a step on large images, against a plain loop of PyTorch.

    python infra/benchmarks/large_images.py                    # all cases
    python infra/benchmarks/large_images.py --case sliding     # one of whole, sliding

``whole`` takes one PGD step on two images of 512 x 1024 with networks of mmseg's own configs and
random weights; the plain loop feeds one image at a time. ``sliding`` takes the gradient over
windows of one image of 1024 x 2048; the plain loop is mmseg's own ``slide_inference``, which keeps
the activations of every window. Each figure is of a process of its own, and is the growth of its
largest resident size over the loaded network.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from random_networks import data, network

from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.memory import keep_freed_memory, peak_since, start_of_peak
from segtransfer.tasks.models.base import Segmenter

WHOLE, SLIDING = (512, 1024), (1024, 2048)
WINDOWS = {"mode": "slide", "crop": [512, 1024], "stride": [341, 683]}
CASES = {
    "whole": ["pspnet-r50", "deeplabv3-r101", "upernet-swin-t"],
    "sliding": ["fcn-mnv2", "pspnet-r50"],
}
ROUNDS = 3
# What the plain loop holds, in GiB; it is left out on a machine that has less.
PLAIN_NEEDS = {("sliding", "pspnet-r50"): 40}


def ours(model: Segmenter, images: np.ndarray, labels: np.ndarray) -> None:
    """Take one step of PGD through the attack task, micro-batches of four as by default."""
    spec = AttackSpec.model_validate({"preset": "pgd", "steps": 1})
    names = [str(number) for number in range(len(images))]
    attack(model, spec, images, labels, names, seed=0, group=0, micro_batch=4)


def plain(model: Any, images: np.ndarray, labels: np.ndarray) -> None:
    """Take one step on an image after the other, without segtransfer around the network."""
    for image, label in zip(images, labels, strict=True):
        x = (torch.tensor(image)[None].float() / 255).requires_grad_(True)
        logits = model.network.inference((x.flip(1) * 255 - model.mean) / model.std, [meta(x)])
        loss = F.cross_entropy(logits, torch.tensor(label)[None].long())
        (gradient,) = torch.autograd.grad(loss, x)
        (x.detach() + gradient.sign() / 255).clamp(0, 1)


def meta(x: torch.Tensor) -> dict[str, Any]:
    """Return what mmseg's decode heads read of an image."""
    return {"ori_shape": x.shape[2:], "img_shape": x.shape[2:], "padding_size": [0] * 4}


def measure(case: str, name: str, way: str, folder: Path) -> None:
    """Print the seconds and the peak of one way, as JSON."""
    torch.set_num_threads(1)
    keep_freed_memory()
    model = network(name, folder, WINDOWS if case == "sliding" else None)
    images, labels = data(2, WHOLE) if case == "whole" else data(1, SLIDING)
    step: Callable[..., None] = ours if way == "ours" else plain
    base = start_of_peak("cpu")
    began = time.thread_time()
    step(model, images, labels)
    seconds = time.thread_time() - began
    print(json.dumps({"seconds": seconds, "peak": peak_since(base, "cpu")}))


def main() -> None:
    """Print a line per network: peak and seconds of both ways, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--network")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        case, name, way, folder = options.one
        measure(case, name, way, Path(folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        for case in [options.case] if options.case else CASES:
            for name in [options.network] if options.network else CASES[case]:
                compare(case, name, folder, options.rounds)


def compare(case: str, name: str, folder: str, rounds: int) -> None:
    """Run both ways in turns, and print their medians."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if PLAIN_NEEDS.get((case, name), 0) > gibibytes:
        del found["plain"]
    for _ in range(rounds):
        for way, results in found.items():
            command = [sys.executable, __file__, "--one", case, name, way, folder]
            answer = subprocess.run(command, capture_output=True, text=True)
            if answer.returncode:
                print(f"{case} {name} {way}: exit code {answer.returncode}", flush=True)
                continue
            results.append(json.loads(answer.stdout.splitlines()[-1]))
    line = f"{case:8} {name:16}"
    for way, results in found.items():
        if results:
            peak = median(r["peak"] for r in results) / 2**20
            line += f"  {way} {peak:6.0f} MiB {median(r['seconds'] for r in results):6.1f} s"
    pairs = zip(found["ours"], found.get("plain", []), strict=False)
    ratios = [one["seconds"] / other["seconds"] for one, other in pairs]
    print(line + (f"  ratio {median(ratios):.2f}" if ratios else ""), flush=True)


if __name__ == "__main__":
    main()
