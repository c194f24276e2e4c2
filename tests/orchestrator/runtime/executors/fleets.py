"""What tests of drivers that are Ray actors need: clients of several kinds, and looks at actors."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segtransfer.experiment.plan import Plan
from segtransfer.experiment.reading import read_experiment
from segtransfer.results import Results
from segtransfer.runtime.runner import carry_out
from segtransfer.runtime.sessions import Notice
from tests.conftest import ROOT
from tests.orchestrator.runtime.executors.test_contract import Log
from tests.orchestrator.toy_experiments import toy

# One-to-one: what it says of a pixel is its strongest colour.
IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

CLIENT = """
import json, sys
from segtransfer.experiment.reading import read_experiment
from segtransfer.runtime.runner import carry_out
carry_out(read_experiment(json.loads(sys.argv[1])))
"""


def slow(name: str, delay: float) -> dict[str, Any]:
    """A model that takes its time for each forward."""
    return toy(name, "linear", weights=IDENTITY, delay=delay)


def pgd(steps: int, name: str = "pgd") -> dict[str, Any]:
    return {"name": name, "preset": "pgd", "eps": "8/255", "steps": steps}


def until(what: str, found: Callable[[], Any], timeout: float = 60.0, every: float = 0.05) -> Any:
    """What ``found`` returns once that is true."""
    give_up = time.monotonic() + timeout
    while not (answer := found()):
        assert time.monotonic() < give_up, f"not within {timeout} s: {what}"
        time.sleep(every)
    return answer


def in_process(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process of its own, attached to the cluster of this one."""
    import ray

    address = ray.get_runtime_context().gcs_address
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=os.environ | {"RAY_ADDRESS": address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def client_process(spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A run of an experiment in a process of its own."""
    return in_process(CLIENT, json.dumps(spec))


class Thread(threading.Thread):
    """A run of an experiment beside the test; ``result`` waits for it."""

    def __init__(self, spec: dict[str, Any], log: Log) -> None:
        super().__init__(daemon=True)
        self._spec, self._log = spec, log
        self._results: Results | BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._results = carry_out(read_experiment(self._spec), self._log)
        except BaseException as error:
            self._results = error

    def result(self) -> Results:
        self.join(timeout=80)
        if isinstance(self._results, BaseException):
            raise self._results
        assert self._results is not None, "the run has not ended"
        return self._results


class Meeting(Log):
    """Plans, and waits until all others have planned too: none finds the others' results."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__()
        self._barrier = barrier

    def planned(self, plan: Plan) -> None:
        super().planned(plan)
        self._barrier.wait(timeout=60)


class After(Log):
    """Does something in the middle: once ``count`` tasks are done."""

    def __init__(self, count: int, deed: Callable[[], None]) -> None:
        super().__init__()
        self._count, self._deed = count, deed

    def notice(self, notice: Notice) -> None:
        super().notice(notice)
        if notice.kind == "done" and len(self.keys("done")) == self._count:
            self._deed()


def live(class_name: str, *, detached: bool | None = None) -> dict[str, int]:
    """Process ids of the cluster's living actors of a class, by actor."""
    from ray._private.state import actors

    return {
        actor["ActorID"]: actor["Pid"]
        for actor in actors().values()
        if actor["ActorClassName"] == class_name
        and actor["State"] != "DEAD"
        and detached in (None, actor["IsDetached"])
    }


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def exists(process: int) -> bool:
    """Whether a process is there, and no mere entry that nobody has waited for yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
