"""What resident models save a search, and how busy it keeps the fleet.

    python infra/benchmarks/search.py --rounds 5

The same trials (random, none pruned, a seed and a store of their own each round) three times:
`resident`, as `segtransfer search` does it; `fleet a trial`, where each trial starts a driver and
workers of its own, as a run in each trial would; `process a trial`, where each trial loads all
models into its own process. Wall seconds a trial count from the begin of the first to the end of
the last, models of `resident` being loaded (its first trial is not counted, for nobody). `idle` is
the mean share of the cores that no call is at, as the driver's status has it, from the end of the
first trial for as long as there are as many left as may run at once; `to the end` has the last ones
too, which nothing follows.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NamedTuple

import optuna
from ray.tune import with_parameters

from segtransfer.runtime.client import LocalClient
from segtransfer.runtime.driver import Driver
from segtransfer.runtime.executors.inline.executor import InlineExecutor
from segtransfer.runtime.executors.ray.driver import join_driver, own_driver
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.searches import tune
from segtransfer.searches.context import SearchContext, make_context, propose, score_rungs
from segtransfer.searches.optuna_study import Trial, open_storage, open_study
from segtransfer.searches.spec import Search, read_search
from segtransfer.store import Store

KINDS = ("resident", "fleet a trial", "process a trial")


def fleet_a_trial(config: Mapping[str, Any], context: SearchContext) -> None:
    """Run a trial that starts the models it needs, as workers of its own driver."""
    client = own_driver(context.search.runtime, "alone")
    try:
        _report(config, context, client)
    finally:
        client.close()


def process_a_trial(config: Mapping[str, Any], context: SearchContext) -> None:
    """Run a trial that loads the models it needs into its own process."""
    runtime = context.search.runtime
    executor = InlineExecutor(micro_batch=runtime.micro_batch)
    _report(config, context, LocalClient(Driver(executor, Store(context.store), runtime)))


def _report(config: Mapping[str, Any], context: SearchContext, client: Any) -> None:
    from ray.tune import report

    attack = propose(context, config["point"], int(config["number"]))
    for score in score_rungs(context, attack, client, Store(context.store)):
        report({**score.objectives, tune.RUNG: 1, tune.SCORE: json.dumps(asdict(score))})


class Watch:
    """When trials began and ended, and how busy the cores were in between."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.samples: list[tuple[float, float]] = []  # when, and the share of cores at work

    def trials(self, trials: list[Trial]) -> None:
        ended = sum(trial.state != "running" for trial in trials)
        self.ends += [time.monotonic()] * (ended - len(self.ends))

    @contextmanager
    def over(self, client: Any, cores: int) -> Any:
        """Sample the driver's status while this lasts, once the first trial has ended."""
        stop = threading.Event()

        def sample() -> None:
            other = join_driver(client.namespace, client.hello()["store"])
            while not stop.wait(0.25):
                if self.ends:
                    working = other.status().slot_states()["working"]
                    self.samples.append((time.monotonic(), min(working, cores) / cores))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join()

    def idle(self, last: float) -> float:
        """Share of the cores that were idle from the end of the first trial to ``last``."""
        busy = [share for when, share in self.samples if when <= last]
        return 1 - statistics.mean(busy) if busy else math.nan


class Measured(NamedTuple):
    """Wall seconds a trial, and the share of the cores that were idle (of `resident` alone)."""

    seconds: float
    idle: float
    to_the_end: float


def measure(kind: str, search: Search) -> Measured:
    """Carry out a search's trials, one kind of the three."""
    store, watch, ours = Store(search.runtime.store), Watch(), tune.trainable_of
    context = make_context(search, store)
    study = open_study(context, open_storage(context, store), resume=False)
    client = own_driver(search.runtime, "benchmark")
    others = {"fleet a trial": fleet_a_trial, "process a trial": process_a_trial}
    if kind in others:
        loads = with_parameters(others[kind], context=context)
        tune.trainable_of = lambda runner, rungs: loads
    cores = len(os.sched_getaffinity(0))
    try:
        with watch.over(client, cores):
            tune.run_trials(context, study, client.namespace, watch.trials, TimeLimit(None))
    finally:
        tune.trainable_of = ours
        client.close()
    failed = study.get_trials(states=(optuna.trial.TrialState.FAIL,))
    assert not failed, failed[0].user_attrs
    seconds = (watch.ends[-1] - watch.ends[0]) / (len(watch.ends) - 1)
    if kind != "resident":
        return Measured(seconds, math.nan, math.nan)
    full = watch.ends[-search.search.concurrency]
    return Measured(seconds, watch.idle(full), watch.idle(watch.ends[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=2, help="of resident and processes")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--forward-equivalents", type=int, default=5, help="of each attack")
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    rounds: dict[str, list[Measured]] = {}
    for number in range(options.rounds):
        for kind in [options.only] if options.only else KINDS:
            concurrency = 1 if kind == "fleet a trial" else options.concurrency
            with tempfile.TemporaryDirectory() as folder:
                changes = [
                    f"seed={number}",
                    f"data.images={options.images}",
                    f"attack.budget.forward_equivalents={options.forward_equivalents}",
                    f"search.trials={options.trials}",
                    f"search.startup={options.trials}",
                    f"search.concurrency={concurrency}",
                    "search.rungs=[1]",
                    f"runtime.store={folder}",
                ]
                last = measure(kind, read_search("quickstart", changes))
            rounds.setdefault(kind, []).append(last)
            print(
                f"round {number + 1}: {kind:16} {last.seconds:6.1f} s a trial, "
                f"idle {last.idle:.3f}, to the end {last.to_the_end:.3f}",
                flush=True,
            )
    resident = [m.seconds for m in rounds.get("resident", [])]
    for kind, found in rounds.items():
        ratios = [m.seconds / r for m, r in zip(found, resident, strict=False)] or [math.nan]
        print(
            f"median {kind:16} {statistics.median(m.seconds for m in found):6.1f} s a trial, "
            f"{statistics.median(ratios):.2f} of resident, idle "
            f"{statistics.median(m.idle for m in found):.3f}, to the end "
            f"{statistics.median(m.to_the_end for m in found):.3f}"
        )


if __name__ == "__main__":
    main()
