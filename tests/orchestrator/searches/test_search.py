"""Whole searches on Ray, with toys of which every score is known in closed form."""

import json
import math
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest

from segtransfer.errors import InputError
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.status import Status
from segtransfer.searches import SearchResult, run_search
from segtransfer.searches.confirmation import verdict
from segtransfer.searches.context import SearchContext, propose, trial_results
from segtransfer.searches.optuna_study import Trial, open_storage, study_name
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.orchestrator.runtime.executors.fleets import until
from tests.orchestrator.searches import toys
from tests.orchestrator.searches.searches import (
    STEP_SIZE,
    RecordingListener,
    alive,
    grey_search,
    keys_of,
    patience,
    space,
    step,
)
from tests.orchestrator.toy_experiments import row_files

SLOTS, WINDOW = 2, 2
REFUSING = f"{toys.__name__}:refusing"


@dataclass
class Journal:
    """Counts of the scheduler's events and decisions."""

    starts: Counter[str] = field(default_factory=Counter)
    most_in_flight: int = 0  # of one slot
    most_clients: int = 0
    hosts: int = 0

    @classmethod
    def read(cls, path: Path) -> "Journal":
        found, clients = cls(), set[str]()
        flying: dict[str, str] = {}  # task -> slot
        for line in path.open():
            entry = json.loads(line)
            if entry["event"] == "submit":
                clients.add(entry["client"])
            elif entry["event"] in ("forget", "cancel"):
                clients.discard(entry["client"])
            elif entry["event"] in ("done", "failed"):
                flying.pop(entry["key"], None)
            for kind, slot, what in entry.get("decisions", ()):
                if kind == "host":
                    found.hosts += 1
                else:
                    flying[what] = slot
                    found.starts[what] += 1
            found.most_clients = max(found.most_clients, len(clients))
            most = max(Counter(flying.values()).values(), default=0)
            found.most_in_flight = max(found.most_in_flight, most)
        return found


class Watch(RecordingListener):
    """Hears a search, and looks at its driver: at the workers whenever a trial gets on, and at all
    that is left of the trials when the best are about to be confirmed."""

    def __init__(self, *points: dict[str, Any]) -> None:
        super().__init__()
        self.points = points  # to be proposed first
        self.workers: list[frozenset[int]] = []
        self.left: Status | None = None
        self.trials_alive: dict[str, int] = {}
        self.rows: dict[str, Any] = {}
        self.journal: Journal | None = None

    def begun(self, context: SearchContext, before: list[Trial]) -> None:
        super().begun(context, before)
        storage = open_storage(context, Store(context.store))
        study = optuna.load_study(study_name=study_name(context), storage=storage)
        for point in self.points:
            study.enqueue_trial(point)

    def trials(self, trials: list[Trial]) -> None:
        super().trials(trials)
        if any(trial.score is not None for trial in trials):
            self.workers.append(frozenset(alive("ModelActor").values()))

    def confirming(self, best: list[AttackSpec]) -> Listener:
        assert self.context is not None
        self.left = driver_of(self.context).status()
        self.trials_alive = alive("ImplicitFunc")
        self.rows = row_files(Store(self.context.store))
        if journal := self.context.search.runtime.journal:
            self.journal = Journal.read(Path(journal))
        return super().confirming(best)


def driver_of(context: SearchContext) -> Any:
    """A further client of the driver that a search's trials share."""
    import ray

    from segtransfer.runtime.executors.ray.driver import DRIVER, join_driver

    named = ray.util.list_named_actors(all_namespaces=True)
    ours = f"segtransfer-{context.identity[:16]}"
    (namespace,) = (
        actor["namespace"]
        for actor in named
        if actor["name"] == DRIVER and actor["namespace"].startswith(ours)
    )
    return join_driver(namespace, context.store)


def transfer(trial: Trial) -> float:
    assert trial.score is not None
    return trial.score.objectives["transfer"]


def known(trial: Trial) -> float:
    """What the transfer of a trial is in closed form."""
    return toys.drop_at(trial.point["step_size"], trial.point.get("steps", toys.STEPS))


def by_state(trials: list[Trial], state: str) -> list[Trial]:
    return [trial for trial in trials if trial.state == state]


# -- a search with a known optimum --------------------------------------------------------------

TRIALS = 5


@pytest.fixture(scope="module")
def whole(
    cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SearchResult, Watch, Path]]:
    """Five trials, one after another, so that they repeat; of the four drawn at random with this
    seed none comes within 2.5 levels of the optimum."""
    folder = tmp_path_factory.mktemp("whole")
    search = {"trials": TRIALS, "concurrency": 1, "startup": 4}
    with patience(900):
        yield (
            run_search(grey_search(folder, search=search, seed=24), watch := Watch()),
            watch,
            folder,
        )


@pytest.mark.pages
def test_a_search_with_a_known_optimum_recovers_it(whole: tuple[SearchResult, Watch, Path]) -> None:
    """The drop rises up to 16 levels a step, and falls beyond: see ``toys.drop_at``."""
    found, watch, _ = whole
    (best,) = found.best
    assert best.name == "best-1"
    assert abs(255 * best.step_size - toys.BEST) <= 2
    early = [abs(255 * trial.point["step_size"] - toys.BEST) for trial in found.trials[:4]]
    assert min(early) > 2.5, "the sampler proposed the point, it was not drawn"
    assert watch.best == found.best


@pytest.mark.pages
def test_trials_score_the_drop_known_in_closed_form(
    whole: tuple[SearchResult, Watch, Path],
) -> None:
    found, _, _ = whole
    assert [trial.number for trial in found.trials] == list(range(TRIALS))
    for trial in found.trials:
        assert transfer(trial) == pytest.approx(known(trial)), trial.point
    finished = by_state(found.trials, "complete")
    assert max(finished, key=transfer).point["step_size"] == found.best[0].step_size
    assert [t.value for t in found.study.best_trials] == [max(map(transfer, finished))]


@pytest.mark.pages
def test_the_best_is_confirmed_on_new_images_and_a_held_out_model_at_equal_cost(
    whole: tuple[SearchResult, Watch, Path],
) -> None:
    """PGD spends the budget of two steps on its bound, and moves past all that the targets see."""
    found, _, _ = whole
    assert not found.results.missing
    assert found.results.name == "search-confirmed"
    assert set(found.results.image_ids) == {f"grey-1-{number}" for number in range(4)}
    wide = toys.drop_at(found.best[0].step_size, reach=toys.REACH + 2)
    narrow = toys.drop_at(found.best[0].step_size)
    drops = {"searched, other backbone": narrow, "held-out, other backbone": wide}
    raw = {str(c.targets): c.difference.value for c in found.comparisons if c.score == "raw"}
    assert raw == {targets: pytest.approx(-drop) for targets, drop in drops.items()}
    costs = {float(found.results.cost(a)["forward_equivalents"]) for a in found.results.attacks}
    assert costs == {2.0}
    told = verdict(found.comparisons, "mIoU")
    assert "new models of another backbone than the source's, best-1" in told
    assert "beats every baseline" in told
    assert "only as raw, which is inconclusive" in told, "at the bound both images are equal"


@pytest.mark.pages
def test_pruned_trials_compute_only_their_rungs(
    whole: tuple[SearchResult, Watch, Path],
) -> None:
    found, watch, _ = whole
    pruned = by_state(found.trials, "pruned")
    assert pruned
    assert all(known(trial) < max(map(known, found.trials)) for trial in pruned)
    clean = set.intersection(*(keys_of(found.context, one, 4) for one in attacks(found)))
    for trial, attack in zip(found.trials, attacks(found), strict=True):
        assert trial.score is not None
        asked = keys_of(found.context, attack, found.context.rungs[trial.score.rung])
        every = keys_of(found.context, attack, 4)
        assert trial.state in ("complete", "pruned")
        assert (trial.state == "pruned") == (asked != every)
        assert asked <= watch.rows.keys()
        assert not (every - asked - clean) & watch.rows.keys()
    saved = TRIALS * 8 + len(clean) - len(watch.rows)
    assert saved == sum(2 * (4 - t.score.images) for t in pruned if t.score)


def attacks(found: SearchResult) -> list[AttackSpec]:
    return [propose(found.context, trial.point, trial.number) for trial in found.trials]


@pytest.mark.pages
def test_optuna_learns_from_every_rung_of_a_pruned_trial(
    whole: tuple[SearchResult, Watch, Path],
) -> None:
    found, _, _ = whole
    for trial in by_state(found.trials, "pruned"):
        frozen = found.study.get_trials()[trial.number]
        assert frozen.state.name == "PRUNED"
        assert trial.score is not None
        rungs = [*frozen.intermediate_values.values()]
        assert rungs == [pytest.approx(known(trial))] * (trial.score.rung + 1)


@pytest.mark.pages
def test_ended_trials_leave_no_processes(whole: tuple[SearchResult, Watch, Path]) -> None:
    _, watch, _ = whole
    assert watch.left is not None
    assert watch.left.clients == 0
    assert sum(watch.left.counts.values()) == 0
    assert watch.trials_alive == {}
    assert not alive("DriverActor"), "the search's own driver ends with it"
    until("the runner is gone too", lambda: not alive("TrialRunner"), timeout=30)


@pytest.mark.pages
def test_matrices_of_every_trial_are_stored_up_to_its_last_rung(
    whole: tuple[SearchResult, Watch, Path],
) -> None:
    found, _, _ = whole
    for trial in found.trials:
        kept = trial_results(found.context.identity, trial.number, Store(found.context.store))
        assert kept is not None
        assert trial.score is not None
        assert len(kept.image_ids) == trial.score.images
        drop = kept.matrix(f"trial-{trial.number}", "drop").loc["source", "target"]
        assert drop == pytest.approx(known(trial))


@pytest.mark.pages
def test_complete_search_is_read_again_and_computes_nothing(
    whole: tuple[SearchResult, Watch, Path],
) -> None:
    found, _, folder = whole
    rows = row_files(Store(found.context.store))
    search = grey_search(folder, search={"trials": TRIALS, "concurrency": 5, "startup": 4}, seed=24)
    again = run_search(search, RecordingListener())
    assert again.trials == found.trials
    assert again.best == found.best
    assert again.comparisons == found.comparisons
    assert again.results.computed == 0
    assert row_files(Store(found.context.store)) == rows


# -- four trials at once: equal ones, failing ones ------------------------------------------------

# Off, off, last, last: the space's check settings each value beside the first of all others and
# beside the last of them, and so does not meet it.
UNSEEN = {"start": "clean", "restarts": 2, "transforms.ds": False, "variance": False}
FIELDS: dict[str, Any] = {
    **STEP_SIZE,
    "steps": {"int": [1, 3]},
    "start": {"choice": ["uniform", "clean"]},
    "restarts": {"int": [1, 2]},
    "transforms.ds": {"switch": True},
    "variance": {"switch": True},
    "loss": {"choice": ["cross-entropy", REFUSING]},
}
PLAIN = step(16, **UNSEEN | {"steps": 2, "restarts": 1, "loss": "cross-entropy"})
POINTS = [
    PLAIN,
    PLAIN,
    PLAIN | {"steps": 3},
    PLAIN | {"steps": 1},
    PLAIN | {"loss": REFUSING},
    PLAIN | {"restarts": 2},
]
STEPS = {"preset": "pgd", "eps": "64/255", "steps": 2, "step_size": "16/255"}


def crowd_models(folder: Path) -> list[dict[str, Any]]:
    """Return models whose source waits until four trials use it at the same time."""
    source = toys.meeting_place(folder / "journal", clients=4)
    return [source, toys.target(), toys.target("new", reach=toys.REACH + 2)]


@pytest.fixture(scope="module")
def crowd(
    cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SearchResult, Watch, Path]]:
    folder = tmp_path_factory.mktemp("crowd")
    search = grey_search(
        folder,
        models=crowd_models(folder),
        attack=STEPS,
        search={
            "space": space(FIELDS),
            "objectives": ["transfer", "cost"],
            "trials": 6,
            "concurrency": 4,
        },
        confirm={"best": 3},
        runtime={"journal": str(folder / "journal"), "window": WINDOW},
    )
    with patience(900):
        yield run_search(search, watch := Watch(*POINTS)), watch, folder


@pytest.mark.pages
def test_failed_trials_have_a_reason_and_the_others_continue(
    crowd: tuple[SearchResult, Watch, Path],
) -> None:
    found, _, _ = crowd
    assert [trial.point for trial in found.trials] == POINTS
    states = [trial.state for trial in found.trials]
    assert states == ["complete"] * 4 + ["failed"] * 2
    for trial in found.trials[:4]:
        assert transfer(trial) == pytest.approx(known(trial))
        assert trial.reason == ""
    loss, restarts = found.trials[4:]
    assert "refusing' raised RuntimeError: this loss refuses" in loss.reason
    assert "all runs would be equal" in restarts.reason
    assert "space 'mine': proposal step_size=" in restarts.reason
    assert (loss.score, restarts.score) == (None, None)


@pytest.mark.pages
def test_no_nan_enters_the_study(crowd: tuple[SearchResult, Watch, Path]) -> None:
    for frozen in crowd[0].study.get_trials():
        values = [*(frozen.values or ()), *frozen.intermediate_values.values()]
        assert all(map(math.isfinite, values))
        assert bool(frozen.values) == (frozen.state.name == "COMPLETE")


@pytest.mark.pages
def test_equal_proposals_at_once_compute_once(crowd: tuple[SearchResult, Watch, Path]) -> None:
    found, _, folder = crowd
    first, second = found.trials[:2]
    assert first.score == second.score
    assert first.point == second.point
    starts = Journal.read(folder / "journal").starts
    assert set(starts.values()) == {1}, "every call was made once"
    assert keys_of(found.context, propose(found.context, first.point, 0), 4) <= starts.keys()
    assert [attack.steps for attack in found.best].count(2) == 1, "equal points occur once"


@pytest.mark.pages
def test_models_stay_resident_and_no_slot_has_more_calls_than_its_window(
    crowd: tuple[SearchResult, Watch, Path],
) -> None:
    _, watch, _ = crowd
    journal = watch.journal
    assert journal is not None
    assert journal.most_clients == 4
    assert journal.most_in_flight == WINDOW
    assert len(set(watch.workers)) == 1, "the same worker processes served all trials"
    assert len(watch.workers[0]) == SLOTS
    assert journal.hosts == 2, "source and target were loaded once each"


@pytest.mark.pages
def test_search_of_two_objectives_prunes_none_and_confirms_the_front(
    crowd: tuple[SearchResult, Watch, Path],
) -> None:
    """One step of 16 levels costs least, two transfer best, three do neither."""
    found, _, _ = crowd
    values = {t.point["steps"]: t.score.objectives for t in found.trials if t.score}
    assert values == {
        steps: {"transfer": pytest.approx(toys.drop_at(16 / 255, steps)), "cost": steps}
        for steps in (1, 2, 3)
    }
    assert {trial.score.rung for trial in found.trials if trial.score} == {2}
    assert [attack.steps for attack in found.best] == [2, 1]
    assert {frozen.params["steps"] for frozen in found.study.best_trials} == {1, 2}
    assert {c.attack for c in found.comparisons} == {"best-1", "best-2"}


@pytest.mark.slow
@pytest.mark.pages
def test_equal_attack_of_another_search_is_not_computed_again(
    crowd: tuple[SearchResult, Watch, Path],
) -> None:
    """With another space and another objective, over the same store."""
    signal.alarm(900)
    first, before, folder = crowd
    search = grey_search(
        folder,
        models=crowd_models(folder),
        attack=STEPS,
        search={"space": space({"steps": {"int": [1, 3]}}, {"steps": 2}), "trials": 1},
    )
    found = run_search(search, watch := Watch())
    assert found.context.identity != first.context.identity
    assert watch.rows == row_files(Store(first.context.store)), "the best was confirmed, too"
    assert {key: row for key, row in watch.rows.items() if key in before.rows} == before.rows
    assert found.trials[0].score is not None
    assert transfer(found.trials[0]) == transfer(first.trials[0])
    assert found.results.computed == 0


# -- refusals before the trials -------------------------------------------------------------------


def test_a_search_runs_on_ray(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Searches need Ray, but runtime.executor is 'inline'"):
        run_search(grey_search(tmp_path, runtime={"executor": "inline"}), RecordingListener())


def test_wrong_confirmation_is_refused_before_the_first_trial(
    tmp_path: Path,
) -> None:
    spec = {"confirm": {"baselines": ["fgsm"]}}
    with pytest.raises(InputError, match="preset 'fgsm' always has steps: 1; leave the budget out"):
        run_search(grey_search(tmp_path, **spec), listener := RecordingListener())
    assert listener.context is None
    same = {"confirm": {"data": {"folder": str(tmp_path / "data"), "classes": toys.CLASSES}}}
    with pytest.raises(InputError, match="share 4 images"):
        run_search(grey_search(tmp_path, **same), listener)
    assert listener.context is None
