"""Follow a page in a new folder, and compare the outputs with those shown.

A block ``console`` has commands after ``$`` and, below each, lines of its output. A line ``...`` is
any number of lines, and `` ...`` ends a line that is cut. Numbers, hashes and the working folder
may differ; nothing else may.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\S+)\n(.*)", re.DOTALL)
MASKS = (
    (r"/home/me/\w+", "FOLDER"),
    (r"\b(?=\w*\d)[0-9a-f]{8,}\b", "HASH"),
    (r"[+−-]?\d[\d,]*(\.\d+)?", "0"),
    (r"[━─]+", "─"),
    (r"\s+", " "),
)


@dataclass(frozen=True)
class File:
    """A block of a page whose first line names the file to write."""

    name: str
    content: str


@dataclass(frozen=True)
class Command:
    """A command of a page with the lines that it prints, by the page."""

    line: str
    shown: tuple[str, ...]


def steps(page: Path) -> Iterator[File | Command]:
    """Yield the files and the commands of a page in their order."""
    for language, block in BLOCKS.findall(page.read_text()):
        if language == "console":
            first, *parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
            assert not first, f"{page}: a console block begins with a command, not with {first!r}"
            for part in parts:
                line, _, shown = part.replace("\\\n", "").partition("\n")
                yield Command(line, tuple(shown.splitlines()))
        elif named := FILE.fullmatch(block):
            yield File(*named.groups())


def masked(line: str) -> str:
    """Return a line without the parts in which two runs may differ."""
    for pattern, name in MASKS:
        line = re.sub(pattern, name, line)
    return line.strip()


def missing_line(shown: tuple[str, ...], printed: str) -> str | None:
    """Return the first shown line that the output lacks at its place, or None."""
    lines = [masked(line) for line in printed.splitlines()]
    at, anywhere = 0, False
    for line in shown:
        if line == "...":
            anywhere = True
            continue
        begins = line.endswith(" ...")
        wanted = masked(line.removesuffix(" ..."))
        rest = lines[at:] if anywhere else lines[at : at + 1]
        places = (
            n for n, found in enumerate(rest) if found[: len(wanted) if begins else None] == wanted
        )
        place = next(places, None)
        if place is None:
            return line
        at, anywhere = at + place + 1, False
    return None


def follow(page: Path, folder: Path, given: Callable[[str], str] = str) -> None:
    """Write every file and run every command of a page, in their order.

    Args:
        page: The page.
        folder: The folder of the first command. ``cd`` of a command holds for the next ones.
        given: Returns the line to run in the place of a page's line, for example with overrides
            that make a run smaller.
    """
    home = folder.with_name(f"{folder.name}-home")
    home.mkdir()
    python = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([python, os.environ["PATH"]]),
        "HOME": str(home),
        "COLUMNS": "100",
    }
    here, after = folder, home / "folder"
    for command in steps(page):
        if isinstance(command, File):
            (here / command.name).write_text(command.content)
            continue
        line = f"{given(command.line)}\ncode=$?\npwd > {shlex.quote(str(after))}\nexit $code"
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=here,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{command.line}: {done.returncode}\n{done.stdout}"
        printed = done.stdout.replace(str(folder), "FOLDER")
        lacks = missing_line(command.shown, printed)
        assert lacks is None, f"{command.line} does not print {lacks!r}, but:\n{printed}"
        here = Path(after.read_text().strip())


def small_and_inline(*changes: str) -> Callable[[str], str]:
    """Return a function that appends overrides to each line that reads an experiment.

    Args:
        changes: Overrides besides those that choose the inline executor.
    """
    more = " ".join(["runtime.executor=inline", *map(shlex.quote, changes)])

    def given(line: str) -> str:
        return f"{line} {more}" if re.match(r"segtransfer (run|plan) ", line) else line

    return given


def clone(folder: Path) -> Path:
    """Make a folder with the examples of a clone, and return it."""
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder
