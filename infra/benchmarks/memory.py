"""Peak memory of the commands against the number of images and targets.

    python infra/benchmarks/memory.py                  # all parts, some minutes
    python infra/benchmarks/memory.py --part plan      # one of plan, run, stored, read, classes

Models are 1 x 1 convolutions and images compress well, so memory is that of segtransfer itself.
Each command runs in a process of its own, whose largest resident size is printed. ``run`` carries
out two small experiments on Ray, and the growth of its client and of its driver is extrapolated.
The results that ``report``, ``compare`` and ``export`` read are written into the store without
models.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from segtransfer.experiment.manifest import describe
from segtransfer.experiment.plan import make_plan
from segtransfer.experiment.reading import read_experiment
from segtransfer.store import Store
from segtransfer.tasks import metrics, perturbation
from segtransfer.tasks.data.shards import Shard

LARGE, MEDIUM, TINY = (1024, 2048), (512, 1024), (16, 16)
RUN_IMAGES = (36, 52)  # of the two runs whose difference is extrapolated
RUN_TARGETS = 2
STORED_IMAGES = (64, 192)  # equal peaks of both show that memory does not grow with the images
DRIVER = b"ray::DriverActor"
NETWORK = '''"""A 1 x 1 convolution."""

import torch
from torch import nn


class Flat(nn.Module):
    def __init__(self, num_classes, seed):
        super().__init__()
        self.num_classes = num_classes
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, num_classes, 1)

    def forward(self, images):
        return self.layer(images)


def flat(num_classes, seed):
    return Flat(num_classes, seed)
'''


@dataclass(frozen=True)
class Peak:
    """The largest resident size of a command, MiB, and its wall seconds."""

    command: str
    mebibytes: float
    seconds: float


def make_folder(
    folder: Path, images: int, size: tuple[int, int], classes: int, sources: int, targets: int
) -> Path:
    """Write images, labels, the network and a spec; return the spec."""
    height, width = size
    for kind in ("images", "labels"):
        (folder / "data" / kind).mkdir(parents=True)
    rows = np.linspace(0, classes, height, endpoint=False).astype(np.uint8)
    label = Image.fromarray(np.broadcast_to(rows[:, None], size).copy())
    for number in range(images):
        colour = (number * 7 % 256, number * 13 % 256, number * 29 % 256)
        image = Image.new("RGB", (width, height), colour)
        image.save(folder / "data/images" / f"{number:05}.png", compress_level=1)
        label.save(folder / "data/labels" / f"{number:05}.png", compress_level=1)
    (folder / "flat.py").write_text(NETWORK)
    names = [f"net-{number}" for number in range(max(sources, targets))]
    arguments = [{"num_classes": classes, "seed": number} for number in range(len(names))]
    spec = {
        "data": {"folder": "data", "classes": [f"class-{k}" for k in range(classes)]},
        "models": [
            {"name": name, "torch": {"callable": "flat:flat", "arguments": given}}
            for name, given in zip(names, arguments, strict=True)
        ],
        "sources": names[:sources],
        "targets": names[:targets],
        "attacks": ["fgsm", {"preset": "pgd", "steps": 2}],
        "runtime": {"store": "store", "executor": "inline", "tracking": False},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return folder / "spec.yaml"


def peak_of(folder: Path, *command: str) -> Peak:
    """Run a command of segtransfer in a folder, and return its peak memory.

    Raises:
        SystemExit: The command failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    begun = time.perf_counter()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "segtransfer", *command],
            cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command)} failed:\n{(folder / 'output.txt').read_text()}")
    seconds = time.perf_counter() - begun
    return Peak(" ".join(command), usage.ru_maxrss / 1024, seconds)


def write_results(spec: Path) -> None:
    """Store results of every task of an experiment: labels as predictions, slightly changed AEs."""
    os.chdir(spec.parent)
    sys.path.insert(0, str(spec.parent))
    experiment = read_experiment("spec.yaml")
    store = Store("store")
    plan = make_plan(experiment, store, store.put_shard)
    store.save_experiment(plan.identity, describe(plan).stored())
    numerics = {"fold": False, "channels_last": False, "bf16": False}
    cost = {
        "forwards": 1,
        "backwards": 1,
        "pixels": 1,
        "seconds": 0.1,
        "forward_equivalents": [1.0],
    }
    shard: Shard | None = None
    for task in sorted(plan.tasks.values(), key=lambda task: task.shard_id):
        if shard is None or shard.shard_id != task.shard_id:
            shard = store.shard(task.shard_id)
            assert shard is not None
            made = np.clip(shard.images, 1, 255)
            changes = perturbation.statistics(made, shard.images, 8 / 255)
            confusions = metrics.confusion(shard.labels, shard.labels, len(plan.dataset.classes))
        if task.attack is not None:
            report = {"perturbation": [changes], "cost": cost, "numerics": numerics}
            store.commit_attack(task, shard, made[None], report)
        else:
            store.commit_evaluation(task, shard, confusions, shard.labels, {"numerics": numerics})


def planning(folder: Path) -> Iterator[Peak]:
    """Plan 500 large images, and 5,000 of medium size."""
    for images, size, targets in ((500, LARGE, 8), (5000, MEDIUM, 8)):
        here = folder / f"plan-{images}"
        make_folder(here, images, size, 19, 1, targets)
        peak = peak_of(here, "plan", "spec.yaml")
        yield Peak(f"plan, {images} images of {size[0]} x {size[1]}", peak.mebibytes, peak.seconds)


def running(folder: Path) -> Iterator[Peak]:
    """Carry out two runs of large images, and extrapolate to 500 images and eight targets."""
    peaks: dict[str, list[float]] = {"client": [], "driver": []}
    for images in RUN_IMAGES:
        here = folder / f"run-{images}"
        make_folder(here, images, LARGE, 19, 1, RUN_TARGETS)
        driver = DriverWatch()
        client = peak_of(
            here, "run", "spec.yaml", "--executor", "ray", "runtime.fleet.slots=1", "shard_size=1",
            "runtime.micro_batch=1", "attacks=[fgsm]",
        )  # fmt: skip
        peaks["client"].append(client.mebibytes)
        peaks["driver"].append(driver.close())
        yield Peak(f"client of a run, {images} images", peaks["client"][-1], client.seconds)
        yield Peak(f"driver of a run, {images} images", peaks["driver"][-1], client.seconds)
    for process, (small, large) in peaks.items():
        growth = max(0.0, large - small) / (RUN_IMAGES[1] - RUN_IMAGES[0])
        whole = large + growth * 8 / RUN_TARGETS * (500 - RUN_IMAGES[1])
        label = f"{process} of a run, 500 images and 8 targets, by extrapolation"
        yield Peak(f"{label} ({growth:+.2f} MiB an image)", whole, 0.0)


class DriverWatch(threading.Thread):
    """Looks for the driver of a run of this user, and notes its largest private memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._before = set(self._drivers())
        self._peak, self._ended = 0.0, threading.Event()
        self.start()

    def close(self) -> float:
        """Return the peak in MiB."""
        self._ended.set()
        self.join()
        return self._peak

    def run(self) -> None:
        while not self._ended.wait(0.2):
            for process in set(self._drivers()) - self._before:
                with suppress(OSError, IndexError):
                    status = (process / "status").read_text()
                    # Without Ray's object store, which is in the memory of each of its readers.
                    kibibytes = int(status.split("RssAnon:")[1].split()[0])
                    self._peak = max(self._peak, kibibytes / 1024)

    @staticmethod
    def _drivers() -> Iterator[Path]:
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                if process.name.isdigit() and (process / "cmdline").read_bytes().startswith(DRIVER):
                    yield process


def stored(folder: Path) -> Iterator[Peak]:
    """Run an experiment whose results are all stored, and verify its store."""
    for images in STORED_IMAGES:
        here = folder / f"stored-{images}"
        spec = make_folder(here, images, LARGE, 19, 1, 8)
        in_a_process(write_results, spec)
        for label, command in (
            ("second run", ("run", "spec.yaml")),
            ("store verify", ("store", "verify", "store")),
        ):
            peak = peak_of(here, *command)
            yield Peak(f"{label}, {images} images, 8 targets", peak.mebibytes, peak.seconds)


def reading(folder: Path) -> Iterator[Peak]:
    """Report, compare and export 500 large images with eight targets."""
    here = folder / "read"
    spec = make_folder(here, 500, LARGE, 19, 1, 8)
    in_a_process(write_results, spec)
    for command in (
        ("report", "store"),
        ("compare", "spec:fgsm", "spec:pgd", "--store", "store", "--no-tracking"),
        ("export", "store", "tables"),
    ):
        peak = peak_of(here, *command)
        yield Peak(f"{command[0]}, 500 images, 8 targets", peak.mebibytes, peak.seconds)


def classes(folder: Path) -> Iterator[Peak]:
    """Report 150 classes, 500 images and 64 pairs of models."""
    here = folder / "classes"
    spec = make_folder(here, 500, TINY, 150, 8, 8)
    content = yaml.safe_load(spec.read_text())
    spec.write_text(yaml.safe_dump({**content, "attacks": ["fgsm"]}))
    in_a_process(write_results, spec)
    for command in (("report", "store"), ("export", "store", "tables")):
        peak = peak_of(here, *command)
        yield Peak(f"{command[0]}, 150 classes, 500 images, 64 pairs", peak.mebibytes, peak.seconds)


def in_a_process(work: Callable[[Path], Any], argument: Path) -> None:
    """Do work in a forked process, so that its memory and its working folder are its own.

    Raises:
        SystemExit: The work failed.
    """
    child = os.fork()
    if child == 0:
        try:
            work(argument)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"{work.__name__} failed")


PARTS = {"plan": planning, "run": running, "stored": stored, "read": reading, "classes": classes}


def main() -> None:
    """Measure the parts, and print a line per command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="Default: all.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="st-memory-") as folder:
        for part in options.part or PARTS:
            for peak in PARTS[part](Path(folder)):
                print(
                    f"{peak.mebibytes:8.0f} MiB {peak.seconds:7.0f} s  {peak.command}", flush=True
                )


if __name__ == "__main__":
    main()
