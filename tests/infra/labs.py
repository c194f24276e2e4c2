"""A cluster of two nodes on this machine: own processes, addresses and environment, one token."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.orchestrator.runtime.test_kill import kill_all_of, processes_of
from tests.orchestrator.servers import free_port

START = 240.0  # seconds that a node may take to start on a busy machine
TRIES = 4
SOURCE_FOLDERS = ("orchestrator", "search_spaces", "tasks")
SOURCE_FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE")
# Given, not found: Ray waits fifteen seconds alone for what its agents find, whatever else goes on.
AGENT_PORTS = (
    "dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export",
)  # fmt: skip
ADDRESSES = {"head": "127.0.0.2", "worker": "127.0.0.3"}


def until(what: str, found: Callable[[], Any], timeout: float = 600.0) -> Any:
    """What ``found`` returns once that is true."""
    give_up = time.monotonic() + timeout
    while not (answer := found()):
        assert time.monotonic() < give_up, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.05)
    return answer


def copy_sources(folder: Path) -> Path:
    """Copy what the wheel is built from, and return the copy's folder."""
    for name in SOURCE_FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCE_FILES:
        shutil.copy(ROOT / name, folder)
    return folder


def make_wheel(folder: Path) -> Path:
    """Build the wheel of a copy of the sources: setuptools leaves traces in the folder it uses."""
    copy = copy_sources(folder / "sources")
    pip(None, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(copy))
    return next(folder.glob("segtransfer-*.whl"))


def make_environment(folder: Path, package: Path, *, editable: bool = False) -> Path:
    """Make an environment with segtransfer installed, and return the folder of its commands.

    The libraries that segtransfer needs take gigabytes, so they are shared with this process's
    environment.

    Args:
        folder: The environment's folder, which is new.
        package: The wheel, or the source tree of an editable install.
        editable: Whether the install is editable.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shared = folder / "lib" / version / "site-packages" / "shared.pth"
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    shared.write_text("\n".join(packages) + "\n")
    options = ["--no-build-isolation", "-e"] if editable else ["--no-index"]
    python = folder / "bin" / "python"
    pip(python, "install", "--no-deps", "--ignore-installed", *options, str(package))
    return folder / "bin"


def pip(python: Path | None, *arguments: str) -> None:
    into = [] if python is None else ["--python", str(python)]
    command = [sys.executable, "-m", "pip", "--quiet", *into, *arguments]
    subprocess.run(command, check=True)


class Lab:
    """Nodes of one cluster. Every process of a node carries ``LAB_NODE`` in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheel = make_wheel(folder)
        self.commands = make_environment(folder / "venv", self.wheel)
        self.home = folder / "home"
        self.home.mkdir()
        (folder / "token").write_text(secrets.token_hex(32))
        self._gcs, dashboard = free_port(), free_port()
        self.address = f"http://127.0.0.1:{dashboard}"
        self._dashboard = str(dashboard)

    @property
    def environment(self) -> dict[str, str]:
        """Of everything in the lab: nothing of this process's packages, paths and settings."""
        return {
            "PATH": f"{self.commands}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_TMPDIR": str(self.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }

    def run(
        self, folder: Path, *command: str, timeout: float = 600.0, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """A command of the lab, run to its end; its output is one text."""
        process = self.begin(folder, *command, **more)
        output, _ = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(command, process.returncode, output)

    def begin(self, folder: Path, *command: str, **more: str) -> subprocess.Popen[str]:
        """A command of the lab in a session of its own, as a terminal would have begun it: SIGHUP
        ends it, though these tests may run under nohup."""
        return subprocess.Popen(
            ["env", "--default-signal=HUP", str(self.commands / command[0]), *command[1:]],
            cwd=folder,
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def ray_address(self) -> str:
        return f"{ADDRESSES['head']}:{self._gcs}"

    def start(self, node: str) -> str:
        """``ray start`` for the head or the worker, with one core; returns the node's id.

        Ray gives a node thirty seconds, which a busy machine may not keep to.
        """
        for _ in range(TRIES):
            if self._start(node):
                return self.node_id(node)
            self.kill(node)
        raise AssertionError((self.folder / f"{node}.log").read_text())

    def _start(self, node: str) -> bool:
        options = [f"--address={self.ray_address}"]
        if node == "head":
            options = [
                "--head",
                f"--port={self._gcs}",
                "--dashboard-host=127.0.0.1",
                f"--dashboard-port={self._dashboard}",
                f"--ray-client-server-port={free_port()}",
            ]
        log = self.folder / f"{node}.log"
        with log.open("w") as file:
            starting = subprocess.Popen(
                [
                    str(self.commands / "python"), "-m", "ray.scripts.scripts", "start", "--block",
                    f"--node-ip-address={ADDRESSES[node]}",
                    *(f"--{port}-port={free_port()}" for port in AGENT_PORTS),
                    "--num-cpus=1", "--object-store-memory=200000000", "--disable-usage-stats",
                    *options,
                ],
                env=self.environment | {"LAB_NODE": self._mark(node)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        give_up = time.monotonic() + START
        while "Ray runtime started" not in log.read_text():
            if starting.poll() is not None or time.monotonic() > give_up:
                return False
            time.sleep(0.1)
        return True

    def node_id(self, node: str) -> str:
        """The id that Ray gave a node; its slots are named after it."""
        for process in processes_of(Path(self._mark(node))):
            for argument in Path(f"/proc/{process}/cmdline").read_text().split("\0"):
                if argument.startswith("--node_id="):
                    return argument.removeprefix("--node_id=")
        raise AssertionError(f"{node} has no raylet")

    def kill(self, node: str) -> None:
        """End all processes of a node at once, as where a machine is lost."""
        kill_all_of(Path(self._mark(node)))

    def stop(self, node: str) -> None:
        """Stop all processes of a node, as where a machine hangs; ``go_on`` lets them go on."""
        self._signal(node, signal.SIGSTOP)

    def go_on(self, node: str) -> None:
        self._signal(node, signal.SIGCONT)

    def _signal(self, node: str, number: int) -> None:
        for process in processes_of(Path(self._mark(node))):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _mark(self, node: str) -> str:
        return f"{self.folder}/node-{node}"

    def logs(self) -> Iterator[Path]:
        """Everything that Ray wrote for people to read."""
        yield from (self.folder / "ray").glob("session_*/logs/**/*")


@contextmanager
def open_lab() -> Iterator[Lab]:
    """A lab in a short folder: Ray's sockets lie below it, whose paths end at 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="st-lab-", dir="/tmp"))
    try:
        yield Lab(folder)
    finally:
        kill_all_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
