"""A cluster of three nodes with a fleet, and runs that are disturbed by schedules.

Run by test_chaos.py in a process of its own, because a process has one Ray. The process reads one
schedule per line, and answers with one line of JSON per schedule, what was wrong. The environment
names the folder of Ray.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.runtime.executors.ray import driver, fleets
from segtransfer.runtime.runner import carry_out
from segtransfer.store import Store
from tests.chaos import checks, write_faults
from tests.chaos.disturbed_run import DisturbedRun
from tests.chaos.schedules import WRITES, Schedule, read
from tests.orchestrator.toy_experiments import toy, write_images

LEASE = 20.0  # seconds
ENOUGH = 150.0  # seconds that one schedule may take
NODES = 2  # beside the head, which hosts nothing


class Clients:
    """Client processes, each forked from one that has imported everything already."""

    def __init__(self, address: str) -> None:
        self._source = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.clients"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | {"RAY_ADDRESS": address},
        )
        self._ended: dict[int, int] = {}
        self._started: list[int] = []
        self._change = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, spec: dict[str, Any], notice_file: Path) -> int:
        assert self._source.stdin is not None
        with self._change:
            before = len(self._started)
            self._source.stdin.write(
                json.dumps({"spec": spec, "notice_file": str(notice_file)}) + "\n"
            )
            assert self._change.wait_for(lambda: len(self._started) > before, timeout=60)
            return self._started[-1]

    def ended(self, client: int) -> int | None:
        """Return the exit status of a client, or None while it runs."""
        with self._change:
            return self._ended.get(client)

    def close(self) -> None:
        self._source.kill()
        self._source.wait()

    def _listen(self) -> None:
        assert self._source.stdout is not None
        for line in self._source.stdout:
            what, *words = json.loads(line)
            with self._change:
                if what == "started":
                    self._started.append(words[0])
                else:
                    self._ended[words[0]] = words[1]
                self._change.notify_all()


class ChaosCluster:
    """The cluster, its fleet, the images of all runs, and the expected results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes = [self.cluster.add_node(num_cpus=1, wait=False) for _ in range(NODES)]
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        self.clients = Clients(self.cluster.address)
        # Large enough for Ray's object store: smaller arrays stay with their owners.
        write_images(folder / "data", bright=3, size=(120, 160))
        driver.LEASE = LEASE
        driver.DriverActor = write_faults.Driver  # type: ignore[misc]
        self.store = folder / "fleet"
        files = {"store": str(self.store), "log": str(folder / "fleet.jsonl")}
        fleets.start_fleet("chaos", Runtime.model_validate(files))
        spec = self.spec(0, folder / "oracle", fleet=False, delay=0.0)
        spec["runtime"] |= {"executor": "inline"}
        self.oracle = carry_out(read_experiment(spec))
        self.bytes_at_rest = checks.object_store_bytes()

    def spec(self, seed: int, store: Path, *, fleet: bool, delay: float) -> dict[str, Any]:
        """Return an experiment that shares no task with another seed's."""
        tokens = self.folder / f"tokens-{seed}"
        tokens.mkdir(exist_ok=True)
        common = {"folder": str(tokens), "delay": delay}
        models = [
            toy("a", "chaotic", seed=1, **common),
            toy("b", "chaotic", seed=2, **common),
            toy("picky", "chaotic", seed=3, picky=True, **common),
        ]
        pgd = {"preset": "pgd", "eps": "8/255", "steps": 4}
        return {
            "name": f"chaos-{seed}",
            "data": {"folder": str(self.folder / "data"), "classes": ["road", "sky", "tree"]},
            "models": models,
            "sources": ["a", "b"],
            "attacks": [{"preset": "noise", "eps": "8/255"}, pgd],
            "schedule_groups": 2,
            "shard_size": 2,
            "runtime": {
                "store": str(store),
                "executor": "ray",
                "fleet": {"name": "chaos"} if fleet else {"slots": 2},
                "tracking": False,
            },
        }

    def play(self, plan: Schedule) -> dict[str, Any]:
        """Carry out a run under a schedule, and return what was wrong afterwards."""
        seed, begun = plan.seed, time.monotonic()
        store = self.store if plan.fleet else self.folder / f"own-{seed}"
        spec = self.spec(seed, store, fleet=plan.fleet, delay=0.05)
        run = DisturbedRun(self, plan, spec, Store(str(store)))
        try:
            wrong = self._perform(run, begun + ENOUGH)
            wrong += run.watcher.close()
            wrong += checks.after(self.oracle, run, self.bytes_at_rest)
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"]
        finally:
            run.close()
        seconds = round(time.monotonic() - begun, 1)
        return {
            "schedule": plan.as_dict(),
            "events": run.events,
            "wrong": wrong,
            "seconds": seconds,
        }

    def _perform(self, run: DisturbedRun, give_up: float) -> list[str]:
        """Disturb a run as its schedule says, and wait for its end."""
        for disturbance in run.schedule.disturbances:
            if disturbance.write in WRITES["client"]:
                continue  # injected when the client started
            while run.running() and run.rows() < disturbance.after:
                if time.monotonic() > give_up:
                    return [f"hangs at {run.rows()} rows, before {disturbance}"]
                time.sleep(0.02)
            time.sleep(disturbance.pause)
            run.disturb(disturbance)
        while run.running():
            if time.monotonic() > give_up:
                return [f"hangs at {run.rows()} rows: {fleets.status_of('chaos')}"]
            time.sleep(0.02)
        return []

    def close(self) -> None:
        self.clients.close()
        fleets.end_fleet("chaos")
        ray.shutdown()
        self.cluster.shutdown()


def main(folder: Path) -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # Ray prints what it thinks of nodes that die

    def answer(content: Any) -> None:
        os.write(answers, (json.dumps(content) + "\n").encode())

    cluster = ChaosCluster(folder)
    try:
        answer("ready")
        for line in sys.stdin:
            played = cluster.play(read(json.loads(line)))
            with (folder / "played.jsonl").open("a") as file:  # what came when, if all went well
                file.write(json.dumps(played) + "\n")
            answer(played)
    finally:
        cluster.close()
    answer("closed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
