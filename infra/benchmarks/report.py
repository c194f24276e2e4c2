"""Seconds and bytes of the report of many models, from stored results.

    PYTHONPATH=. python infra/benchmarks/report.py --side 64 --store /tmp/wide

Toys of no size attack each other: SIDE sources, SIDE targets, four attacks, six images in two
schedule groups. The first call computes the results (some ten minutes at 64), a later call with the
same store only reads them. CPU seconds are printed for reading, terminal, page and whole report.
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from segtransfer import run
from segtransfer.reporting.folder import write_report
from segtransfer.reporting.places import PAGE
from segtransfer.reporting.terminal import print_results
from segtransfer.results import load_results

CLASSES = ["road", "sky", "tree"]
IMAGES, PER_BACKBONE = 6, 8


def write_data(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for kind, shape, values in (("images", (24, 32, 3), 256), ("labels", (24, 32), 3)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(IMAGES):
            pixels = generator.integers(0, values, shape, np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")


def experiment(folder: Path, side: int) -> dict[str, object]:
    toy = "tests.toys:convolutional"
    return {
        "name": "wide",
        "data": {"folder": str(folder / "data"), "classes": CLASSES},
        "models": [
            {
                "name": f"net-{number:02d}",
                "torch": {"callable": toy, "arguments": {"seed": number}},
                "backbone": f"backbone-{number // PER_BACKBONE}",
            }
            for number in range(side)
        ],
        "attacks": [
            {"preset": preset, "eps": 8 / 255, "steps": 2}
            for preset in ("pgd", "mi", "ds", "ds-mi")
        ],
        "schedule_groups": 2,
        "shard_size": 12,
        "runtime": {"store": str(folder / "store"), "executor": "inline", "tracking": False},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=64, help="number of sources and of targets")
    parser.add_argument("--store", type=Path, required=True, help="a folder for data and results")
    options = parser.parse_args()
    write_data(options.store / "data")
    results = run(experiment(options.store, options.side))
    seconds = {}
    began = time.process_time()
    results = load_results(results.store, results.identity)
    seconds["read"] = time.process_time() - began
    began = time.process_time()
    print_results(results, Console(file=io.StringIO(), width=120))
    seconds["terminal"] = time.process_time() - began
    began = time.process_time()
    folder = write_report(results)
    seconds["report"] = time.process_time() - began
    told = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    size = (folder / PAGE).stat().st_size / 1e6
    print(f"{options.side} x {options.side} x 4: {told}; page {size:.1f} MB")


if __name__ == "__main__":
    main()
