"""One run on the chaos cluster, with its disturbances."""

import os
import random
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtransfer.experiment.plan import make_plan
from segtransfer.experiment.reading import read_experiment
from segtransfer.store import Store
from tests.chaos import write_faults
from tests.chaos.schedules import TERMINATED, WRITES, Disturbance, Schedule
from tests.orchestrator.runtime.executors.fleets import live
from tests.orchestrator.toy_experiments import row_files

if TYPE_CHECKING:
    from tests.chaos.cluster_process import ChaosCluster

UNUSED = "nobody came to write that"


class Watcher:
    """Polls the rows of a run, and finds committed rows that change."""

    def __init__(self, store: Store, keys: set[str]) -> None:
        self._store, self._keys = store, keys
        self.rows: dict[str, tuple[int, int]] = {}
        self.again: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> list[str]:
        """Stop, and return the keys that were committed more than once."""
        self._stop.set()
        self._thread.join()
        self._look()
        return [f"committed again: {key}" for key in self.again]

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self._look()

    def _look(self) -> None:
        with suppress(FileNotFoundError):  # a temporary file was renamed meanwhile
            for key, row in row_files(self._store).items():
                if key in self._keys and self.rows.setdefault(key, row) != row:
                    self.rows[key] = row
                    self.again.append(key)


class DisturbedRun:
    """A run that is restarted whenever its client is killed."""

    def __init__(
        self, cluster: "ChaosCluster", schedule: Schedule, spec: dict[str, Any], store: Store
    ) -> None:
        self.cluster, self.schedule, self.spec, self.store = cluster, schedule, spec, store
        plan = make_plan(read_experiment(spec), store)
        self.identity, self.tasks = plan.identity, plan.tasks
        self.events: list[str] = []
        self.notice_files: list[Path] = []
        self.processes: set[int] = set()  # of all actors that were ever seen
        self.watcher = Watcher(store, set(plan.tasks))
        self._random = random.Random(schedule.seed)
        self._begun = time.monotonic()
        self._tokens = Path(spec["models"][0]["torch"]["arguments"]["folder"])
        for disturbance in schedule.disturbances:
            if disturbance.write in WRITES["client"]:
                self.disturb(disturbance)
        self._start_client()

    def rows(self) -> int:
        return len(self.watcher.rows)

    def running(self) -> bool:
        """Return whether the run is under way; restart a client that was killed."""
        self.processes |= {*live("ModelActor").values(), *live("Driver").values()}
        status = self.cluster.clients.ended(self.client)
        if status in (-signal.SIGKILL, -signal.SIGTERM, TERMINATED):
            self._start_client()
            return True
        if status:
            raise AssertionError(f"a client failed: {self._error_output()}")
        return status is None

    def disturb(self, disturbance: Disturbance) -> None:
        self._note(f"{disturbance.kind} {disturbance.write} {disturbance.moment}".strip())
        match disturbance.kind:
            case "worker":
                self._kill_one(sorted(live("ModelActor").values()))
            case "attack":
                (self._tokens / "token").touch()
            case "client":
                self._kill_one([self.client])
            case "terminate":
                with suppress(ProcessLookupError):
                    os.kill(self.client, signal.SIGTERM)
            case "driver":
                self._kill_one(sorted(live("Driver", detached=self.schedule.fleet).values()))
            case "write":
                write_faults.inject(
                    Path(self.store.location), disturbance.write, disturbance.moment
                )
            case "node" | "raylet":
                nodes = self.cluster.nodes
                lost = nodes.pop(self._random.randrange(len(nodes)))
                if disturbance.kind == "raylet":
                    lost.kill_raylet()
                else:
                    self.cluster.cluster.remove_node(lost, allow_graceful=False)
                nodes.append(self.cluster.cluster.add_node(num_cpus=1, wait=False))

    def close(self) -> None:
        """End everything of this run that could reach the next."""
        if write_faults.withdraw(Path(self.store.location)):
            self._note(UNUSED)
        for token in self._tokens.iterdir():
            token.unlink(missing_ok=True)
        if self.cluster.clients.ended(self.client) is None:
            self._kill_one([self.client])
        self.watcher.close()

    def _start_client(self) -> None:
        self.notice_files.append(
            self._tokens.parent / f"notice_file-{self.schedule.seed}-{len(self.notice_files)}"
        )
        self.client = self.cluster.clients.start(self.spec, self.notice_files[-1])
        self._note("a client starts")

    def _kill_one(self, processes: list[int]) -> None:
        if processes:
            with suppress(ProcessLookupError):
                os.kill(self._random.choice(processes), signal.SIGKILL)

    def _error_output(self) -> str:
        return Path(f"{self.notice_files[-1]}.err").read_text()[-2000:]

    def _note(self, event: str) -> None:
        seconds = time.monotonic() - self._begun
        self.events.append(f"{seconds:.1f} s, {self.rows()} rows: {event}")
