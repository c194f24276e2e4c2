"""Terminals in which a page's commands are given one after another, as by a reader."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from segtransfer.experiment.reading import read_experiment
from tests.conftest import ROOT
from tests.infra.labs import ADDRESSES, AGENT_PORTS, copy_sources
from tests.orchestrator.cli.test_paper_recipes import publish, write_tree
from tests.orchestrator.servers import free_port
from tests.tasks.models.published import Server

NODES = ("node1", "node2")
# The nodes of a block by its first line. A page's nodes after the first are one here.
MARKS = {
    "# node1": ("node1",),
    "# every node": NODES,
    "# node2": ("node2",),
    "# node2, node3, node4": ("node2",),
    "# cloud": (),
}
ARCHIVE = "VOCtrainval_11-May-2012.tar"
DONE = "exit code of the command:"
SMALL = ["data.images=2", "data.fit=resize", "data.size=[96,128]", "schedule_groups=2"]
# In the place of programs that need a network, a screen, or a machine without other users' Ray.
FAKES = {
    "wget": 'cp "$PAGE_FOLDER/archives/$(basename "$1")" .',
    "mlflow": 'test -s "${3#sqlite:///}" && echo "the database is there"',
    "ray": """
case "$1" in
  start) LAB_NODE="$PAGE_NODE" exec python -m ray.scripts.scripts "$@" $PAGE_RAY_OPTIONS ;;
  stop) for process in /proc/[0-9]*; do
      if grep -qzx "LAB_NODE=$PAGE_NODE" "$process/environ"; then kill -9 "${process#/proc/}"; fi
    done 2> /dev/null; true ;;
esac
""",
}


def commands(page: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the nodes and the line of each command in the indented blocks of a page."""
    text = re.sub(r"\\\n +", "", page.read_text())  # one line of two
    for block in re.findall(r"(?:^(?: {4}| {6}).*\n)+", text, flags=re.MULTILINE):
        first, *rest = lines = [line.strip() for line in block.splitlines()]
        nodes = MARKS.get(first, ("node1",))
        yield from ((nodes, line) for line in (rest if first in MARKS else lines))


class Place:
    """A folder with a clone, an archive of a made VOC 2012, made weights and fake programs.

    Args:
        folder: A new folder with a short path: Ray's sockets lie below it.
        server: The server of the weights.
        more: Further overrides of every spec.
    """

    def __init__(self, folder: Path, server: Server, *more: str) -> None:
        self.folder, self._server, self._more = folder, server, more
        self.shared = folder / "shared"
        (folder / "home").mkdir()
        self._gcs, self._dashboard = free_port(), free_port()
        clone = copy_sources(self.shared / "segtransfer")
        unused = shutil.ignore_patterns("__pycache__", "secrets")
        shutil.copytree(ROOT / "infra", clone / "infra", ignore=unused)
        write_tree("paper-voc", folder / "VOCdevkit/VOC2012", 20)
        archive = folder / "archives" / ARCHIVE
        archive.parent.mkdir()
        tar = ["tar", "cf", str(archive), "-C", str(folder), "VOCdevkit"]
        subprocess.run(tar, check=True)
        shutil.rmtree(folder / "VOCdevkit")
        publish("paper-voc", server, full=False)
        (folder / "fakes").mkdir()
        for name, script in FAKES.items():
            path = folder / "fakes" / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(path.stat().st_mode | stat.S_IEXEC)

    def given(self, line: str) -> str:
        """Return a line with this place's paths and ports, and with overrides that shrink a run."""
        line = line.replace("/shared/weights", str(self._server.folder))
        line = line.replace("/shared", str(self.shared))
        line = line.replace("node1:6379", f"{ADDRESSES['head']}:{self._gcs}")
        line = line.replace("--port=6379", f"--port={self._gcs}")
        spec = re.match(r"segtransfer (?:run|plan|submit|data check) (\S+)", line)
        return f"{line} {' '.join(self._changes(spec[1]))}" if spec else line

    def _changes(self, recipe: str) -> list[str]:
        spec = read_experiment(recipe)
        configs = [
            f"models.{number}.mmseg.config={self._server.folder}/{model.mmseg.config}.py"
            for number, model in enumerate(spec.models)
            if model.mmseg is not None
        ]
        # The first attack of every recipe is noise, which has no steps.
        steps = [f"attacks.{number}.steps=2" for number in range(1, len(spec.attacks))]
        return [*configs, *steps, *SMALL, *self._more]

    def environment(self, node: str) -> dict[str, str]:
        """Return a newcomer's environment: libraries and an index of packages are there."""
        packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        address = ADDRESSES["head" if node == "node1" else "worker"]
        ports = (f"--{port}-port={free_port()}" for port in AGENT_PORTS)
        own = [f"--temp-dir={self.folder}/t2"]  # Ray would unpack both nodes' files in one folder
        if node == "node1":
            own = [
                f"--dashboard-port={self._dashboard}",
                f"--ray-client-server-port={free_port()}",
            ]
        options = [
            f"--node-ip-address={address}", "--num-cpus=1", "--num-gpus=2", *own, *ports,
            "--object-store-memory=200000000",
        ]  # fmt: skip
        python = str(Path(sys.executable).parent)
        return {
            "PATH": os.pathsep.join([str(self.folder / "fakes"), python, "/usr/bin", "/bin"]),
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(packages),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the option's value: no isolation
            "PAGE_FOLDER": str(self.folder),
            "PAGE_NODE": f"{self.folder}/{node}",
            "PAGE_RAY_OPTIONS": " ".join(options),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self._dashboard}",
            "RAY_OVERRIDE_RESOURCES": '{"GPU": 8}',
            "RAY_TMPDIR": str(self.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "160",
        }


class Terminal:
    """A shell of a node of a place."""

    def __init__(self, place: Place, node: str) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=place.shared,
            env=place.environment(node),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def begin(self, line: str) -> None:
        """Give a command."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{line}\ncode=$?; echo; echo {DONE} $code\n")
        self._shell.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Return the exit code and the output of the command that was given."""
        assert self._shell.stdout is not None
        shown: list[str] = []
        for line in self._shell.stdout:
            if line.startswith(DONE):
                return int(line.removeprefix(DONE)), "".join(shown)
            shown.append(line)
        raise AssertionError(f"the shell ended: {''.join(shown)}")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        children = Path(f"/proc/{self._shell.pid}/task/{self._shell.pid}/children").read_text()
        for child in children.split():
            os.kill(int(child), signal.SIGINT)

    def close(self) -> None:
        """Close the terminal."""
        self._shell.kill()
        self._shell.wait()
