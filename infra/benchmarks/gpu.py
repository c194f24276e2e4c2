"""Check segtransfer on a GPU and measure steps, evaluation and memory: one command, one table.

    python infra/benchmarks/gpu.py --out gpu.json

Needs no network, no Ray and no MLflow. On a CPU the same rows are computed on small images, and
the checks of a GPU's own traits are "needs CUDA". The command ends within ``--minutes``: the last
rows are left out if time is short, each with the reason. Exit code 1 if a check fails.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from contenders import DEVICE, has_torchattacks
from gpu_checks import CHILDREN, MODELS, PRESETS, devices_agree, fast_agrees, in_child
from gpu_rows import FAILS, LEFT_OUT, SETTINGS, Budget, OverBudgetError, Row, Settings
from gpu_speed import network_rows

from segtransfer.tasks.memory import keep_freed_memory

PACKAGES = ("segtransfer", "torch", "torchattacks", "onedl-mmsegmentation", "onedl-mmcv", "numpy")
Part = Callable[[Budget], list[Row]]


def alone(check: Callable[[], Row]) -> Part:
    """Return a part of a single row, which has no use for the budget."""

    def part(budget: Budget) -> list[Row]:
        return [check()]

    return part


def parts(settings: Settings, folder: Path) -> Iterator[tuple[str, Part]]:
    """Yield the parts of the benchmark by name, the most wanted first."""
    for name in MODELS:
        for preset in PRESETS:
            check = partial(devices_agree, name, preset, settings)
            yield f"{name}, {preset}: reference on {DEVICE} against cpu", alone(check)
        fast = partial(fast_agrees, name, settings)
        yield f"{name}: fast against reference", alone(fast)
    for child in CHILDREN:
        yield child, partial(in_child, child)
    for name in (*settings.small, *settings.large):
        yield f"{name}: steps and evaluation", partial(network_rows, name, folder, settings)


def measured(todo: Iterator[tuple[str, Part]], budget: Budget) -> Iterator[Row]:
    """Yield the rows of all parts; once the time is short, all later parts are left out."""
    short = ""
    for name, part in todo:
        try:
            if short:
                raise OverBudgetError(short)
            budget.need(0)
            yield from part(budget)
        except OverBudgetError as error:
            short = "an earlier row met the end of the time"
            yield Row(name, LEFT_OUT, note=str(error))
        except Exception as error:  # the other parts are measured all the same
            traceback.print_exc()
            yield Row(name, FAILS, note=f"{type(error).__name__}: {error}")


def about() -> dict[str, str]:
    """Return the versions and the device."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    found["CUDA"], found["cuDNN"], found["driver"] = "none", "none", driver()
    if DEVICE == "cpu":
        return found | {"device": f"CPU, {processor()}"}
    properties = torch.cuda.get_device_properties(0)
    found["CUDA"] = str(torch.version.cuda)
    found["cuDNN"] = str(torch.backends.cudnn.version())
    memory = f"{properties.total_memory / 2**30:.1f} GiB"
    capability = f"compute capability {properties.major}.{properties.minor}"
    return found | {"device": f"{properties.name}, {memory}, {capability}"}


def driver() -> str:
    """Return the version of NVIDIA's driver, or "none"."""
    if shutil.which("nvidia-smi") is None:
        return "none"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 else "none"


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def line(row: Row) -> str:
    """Return a row of the Markdown table."""
    cells = (row.case, row.outcome, "; ".join(map(str, row.figures)), row.note)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="of the command (default 8)")
    parser.add_argument("--out", type=Path, help="a JSON file of all rows; none by default")
    options = parser.parse_args()
    budget, settings, rows = Budget(options.minutes), SETTINGS[DEVICE], []
    torch.set_num_threads(1)
    keep_freed_memory()
    facts = about()
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    if not has_torchattacks():
        print("torchattacks is missing (infra/oracles.txt), so no step is compared with its PGD.")
    print("\n| case | outcome | figures | note |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for row in measured(parts(settings, Path(folder)), budget):
            rows.append(row)
            print(line(row), flush=True)
    left_out = [row.case for row in rows if row.outcome == LEFT_OUT]
    print(f"\nLeft out for lack of time: {'; '.join(left_out) or 'nothing'}.")
    if options.out:
        content: dict[str, Any] = {
            "about": facts,
            "settings": asdict(settings),
            "left_out": left_out,
        }
        content["rows"] = [row.record() for row in rows]
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return int(any(row.outcome == FAILS for row in rows))


if __name__ == "__main__":
    sys.exit(main())
