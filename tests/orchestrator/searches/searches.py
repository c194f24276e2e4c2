"""Helpers of search tests: small searches, a context without Ray, listeners, trials by hand."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from segtransfer.experiment.plan import make_tasks
from segtransfer.runtime.client import LocalClient
from segtransfer.runtime.driver import Driver
from segtransfer.runtime.executors.inline.executor import InlineExecutor
from segtransfer.runtime.listener import Listener
from segtransfer.searches import SearchListener
from segtransfer.searches.context import RungScore, SearchContext, make_context
from segtransfer.searches.optuna_study import Trial
from segtransfer.searches.spec import Search, read_search
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.orchestrator.searches import toys

STEP_SIZE = {"step_size": {"float": [8 / 255, 24 / 255]}}


def space(fields: Mapping[str, Any] = STEP_SIZE, *first: Any) -> dict[str, Any]:
    return {"name": "mine", "fields": dict(fields), "first": list(first)}


def step(levels: float, **more: Any) -> dict[str, Any]:
    """A point: so many levels a step."""
    return {"step_size": levels / 255, **more}


def grey_spec(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return a search for the step size between two grey toys; four shards of an image each."""
    data, new = folder / "data", folder / "new"
    if not data.exists():
        toys.write_greys(data)
        toys.write_greys(new, seed=1)
    runtime = {
        "store": str(folder / "store"),
        "tracking": False,
        "fleet": {"slots": 2},
        **changes.pop("runtime", {}),
    }
    search = {"space": space(), "trials": 4, **changes.pop("search", {})}
    confirm = {
        "data": {"folder": str(new), "classes": toys.CLASSES},
        "held_out": ["new"],
        "baselines": ["pgd"],
        "best": 1,
        "schedule_groups": 4,
        **changes.pop("confirm", {}),
    }
    return {
        "data": {"folder": str(data), "classes": toys.CLASSES},
        "models": [toys.source(), toys.target(), toys.target("new", reach=toys.REACH + 2)],
        "sources": ["source"],
        "targets": ["target"],
        "attack": {"preset": "pgd", "eps": "64/255", "budget": {"forward_equivalents": 2}},
        "search": search,
        "confirm": confirm,
        "schedule_groups": 4,
        "shard_size": 1,
        "runtime": runtime,
        **changes,
    }


def grey_search(folder: Path, **changes: Any) -> Search:
    return read_search(grey_spec(folder, **changes))


def grey_context(folder: Path, **changes: Any) -> tuple[SearchContext, Store]:
    search = grey_search(folder, **changes)
    store = Store(search.runtime.store)
    return make_context(search, store), store


def keys_of(context: SearchContext, attack: AttackSpec, shards: int) -> set[str]:
    """The tasks of an attack on so many shards."""
    experiment = context.experiment.model_copy(update={"attacks": (attack,)})
    num_classes = len(context.manifest.classes)
    return set(make_tasks(experiment, context.infos, context.outlines[:shards], num_classes)[0])


def local_client(store: Store, search: Search) -> LocalClient:
    """A driver in this process."""
    return LocalClient(Driver(InlineExecutor(micro_batch=4), store, search.runtime))


def made_score(transfer: float, cost: float = 2.0, rung: int = 2, **drops: float) -> RungScore:
    """Return a made-up score with the ``drops`` of a single source's targets."""
    return RungScore(
        rung=rung,
        images=4,
        objectives={"transfer": transfer, "cost": cost},
        drops={"source": drops or {"target": transfer}},
        forward_equivalents=cost,
        rms=32.0,
    )


def made_trial(number: int, transfer: float, cost: float = 2.0, state: str = "complete") -> Trial:
    return Trial(number, state, step(number + 8), made_score(transfer, cost), "", 1.0)


class RecordingListener(SearchListener):
    """A search listener that records each call."""

    def __init__(self) -> None:
        self.context: SearchContext | None = None
        self.before: list[Trial] = []
        self.seen: list[list[Trial]] = []
        self.best: list[AttackSpec] = []

    def begun(self, context: SearchContext, before: list[Trial]) -> None:
        self.context, self.before = context, before

    def trials(self, trials: list[Trial]) -> None:
        self.seen.append(trials)

    def confirming(self, best: list[AttackSpec]) -> Listener:
        self.best = best
        return Listener()


def alive(class_name: str) -> dict[str, int]:
    """Process ids of the cluster's living actors of a class, by actor; 0 where one only begins.

    Ray names a class that was defined in a function with that function or without it.
    """
    from ray._private.state import actors

    return {
        actor["ActorID"]: actor["Pid"]
        for actor in actors().values()
        if actor["ActorClassName"].rpartition(".")[2] == class_name and actor["State"] != "DEAD"
    }


@contextmanager
def patience(seconds: int) -> Iterator[None]:
    """Turn a hanging fixture into a failure with its place."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
