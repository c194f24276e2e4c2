"""How long users wait for the command: lists, a plan, and a run with nothing to compute.

    python infra/benchmarks/waits.py --rounds 5

Each round runs every command once, in turn, after `python -c "import torch"`, whose time is the
unit of the ratios. The first round fills the stores of two folders. `run quickstart` is measured
twice: from an empty store, with the seconds until the first line and until the first progress with
a computed task, and again with all results stored. Medians over the rounds are printed, as Markdown
and, with --out, as JSON.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SEGTRANSFER = [sys.executable, "-m", "segtransfer"]
UNIT = "import torch"
COMMANDS = {
    UNIT: [sys.executable, "-c", "import torch"],
    "attacks": [*SEGTRANSFER, "attacks"],
    "models": [*SEGTRANSFER, "models"],
    "plan quickstart": [*SEGTRANSFER, "plan", "quickstart"],
    "run quickstart, again": [*SEGTRANSFER, "run", "quickstart"],
}
FIRST_RUN = "run quickstart, first"
COMPUTED = re.compile(r"\b([1-9][\d,]*)/[\d,]+ tasks\b")  # in a line of progress


@dataclass(frozen=True)
class Waited:
    """The seconds of a command.

    Attributes:
        wall: From the start to the exit.
        cpu: Of the process and its children.
        first_line: From the start to the first line of output.
        first_number: From the start to the first progress with a computed task; None without it.
    """

    wall: float
    cpu: float
    first_line: float
    first_number: float | None = None


def wait_for(command: list[str], folder: Path) -> Waited:
    """Run a command in a folder, and measure it.

    Args:
        command: The program and its arguments.
        folder: The working folder.

    Raises:
        RuntimeError: The command fails.
    """
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    first_line = first_number = None
    lines = []
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            now = time.perf_counter() - begun
            lines.append(line)
            first_line = now if first_line is None else first_line
            if first_number is None and COMPUTED.search(line):
                first_number = now
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{''.join(lines)}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Waited(wall, cpu, wall if first_line is None else first_line, first_number)


def medians(rounds: list[Waited]) -> Waited:
    """Return the median of each field; None if a round lacks the field."""
    columns: dict[str, list[Any]] = {
        name: [asdict(waited)[name] for waited in rounds] for name in asdict(rounds[0])
    }
    found: dict[str, Any] = {
        name: None if None in values else statistics.median(values)
        for name, values in columns.items()
    }
    return Waited(**found)


def shown(value: float | None) -> str:
    """Return seconds with two decimals; a dash for None."""
    return "–" if value is None else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--firsts", type=int, default=1, help="rounds of the first run")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    options = parser.parse_args()
    measured: dict[str, list[Waited]] = {name: [] for name in [FIRST_RUN, *COMMANDS]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(options.firsts):
            shutil.rmtree(folder / "segtransfer-store", ignore_errors=True)
            measured[FIRST_RUN].append(wait_for(COMMANDS["run quickstart, again"], folder))
        for _ in range(options.rounds):
            for command, arguments in COMMANDS.items():
                measured[command].append(wait_for(arguments, folder))
    found = {command: medians(rounds) for command, rounds in measured.items()}
    print(f"{os.cpu_count()} cores, medians of {options.rounds}, in seconds\n")
    print("| command | wall | of import torch | CPU | first line | first number |")
    print("|---|---|---|---|---|---|")
    for command, row in found.items():
        ratio = row.wall / found[UNIT].wall
        cells = [shown(v) for v in (row.wall, ratio, row.cpu, row.first_line, row.first_number)]
        print(f"| {command} | {' | '.join(cells)} |")
    if options.out:
        options.out.write_text(json.dumps({k: asdict(v) for k, v in found.items()}, indent=2))


if __name__ == "__main__":
    main()
