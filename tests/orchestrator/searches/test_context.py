"""The context of a search: the order of shards, a search's identity, a trial's score."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.results import Results, assemble
from segtransfer.searches.context import (
    RungScore,
    SearchContext,
    TrialError,
    in_order,
    keep_results,
    propose,
    rungs_of,
    score,
    score_rungs,
    trial_results,
)
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import Outline
from tests.orchestrator.searches import toys
from tests.orchestrator.searches.searches import (
    STEP_SIZE,
    grey_context,
    grey_spec,
    keys_of,
    local_client,
    space,
    step,
)
from tests.orchestrator.toy_experiments import blob_of, damage, row_files, toy, toy_spec

# -- rungs ------------------------------------------------------------------------------------


def outline(name: str, group: int) -> Outline:
    return Outline(name, group, (name,), (1, 1), (1, 1))


def test_rungs_take_the_first_shard_of_every_group_before_the_second_of_any() -> None:
    groups = {"a": 0, "b": 0, "c": 0, "d": 3, "e": 5, "f": 5}
    placed = in_order([outline(name, group) for name, group in groups.items()])
    assert [one.shard_id for one in placed] == ["a", "d", "e", "b", "f", "c"]


def test_rungs_of_equal_numbers_of_shards_are_merged() -> None:
    shares = (0.25, 0.5, 1.0)
    assert rungs_of(shares, 8) == (2, 4, 8)
    assert rungs_of(shares, 4) == (1, 2, 4)
    assert rungs_of(shares, 2) == (1, 2)
    assert rungs_of(shares, 1) == (1,)
    assert rungs_of((0.01, 1.0), 10) == (1, 10)


@pytest.mark.parametrize("shards", range(1, 40))
def test_rungs_rise_to_all_shards(shards: int) -> None:
    rungs = rungs_of((0.1, 0.3, 0.9, 1.0), shards)
    assert list(rungs) == sorted(set(rungs))
    assert rungs[-1] == shards


# -- identity ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("context")


@pytest.fixture(scope="module")
def context(folder: Path) -> SearchContext:
    return grey_context(folder)[0]


def moved_data(folder: Path) -> dict[str, Any]:
    (folder / "elsewhere").mkdir(exist_ok=True)
    moved = toys.write_greys(folder / "elsewhere" / "data")
    return {"data": {"folder": str(moved), "classes": toys.CLASSES}}


SAME: dict[str, Callable[[Path], dict[str, Any]]] = {
    "trials": lambda folder: {"search": {"trials": 400}},
    "concurrency": lambda folder: {"search": {"concurrency": 7}},
    "storage": lambda folder: {"search": {"storage": f"sqlite:///{folder}/study.db"}},
    "store": lambda folder: {"runtime": {"store": str(folder / "another")}},
    "runtime": lambda folder: {"runtime": {"window": 5, "micro_batch": 1, "attempts": 2}},
    "where the data lies": moved_data,
    "what confirms it": lambda folder: {"confirm": {"best": 3, "baselines": ["mi"]}},
    "the held-out models": lambda folder: {"confirm": {"held_out": []}},
    "what the space says of itself": lambda folder: {
        "search": {"space": space() | {"about": "something"}}
    },
}
OTHER: dict[str, Callable[[Path], dict[str, Any]]] = {
    "attack": lambda folder: {"attack": {**grey_spec(folder)["attack"], "eps": "63/255"}},
    "space": lambda folder: {"search": {"space": space({"step_size": {"float": [0.1, 0.2]}})}},
    "first points": lambda folder: {"search": {"space": space(STEP_SIZE, step(16))}},
    "name": lambda folder: {"name": "another"},
    "seed": lambda folder: {"seed": 1},
    "objectives": lambda folder: {"search": {"objectives": ["transfer", "cost"]}},
    "rungs": lambda folder: {"search": {"rungs": [0.5, 1]}},
    "reduction": lambda folder: {"search": {"reduction": 3}},
    "startup": lambda folder: {"search": {"startup": 3}},
    "images": lambda folder: {"data": {**grey_spec(folder)["data"], "images": 3}},
    "shards": lambda folder: {"shard_size": 2, "schedule_groups": 1},
    "numerics": lambda folder: {"numerics": {"bf16": True}},
    "targets": lambda folder: {"targets": ["source", "target"]},
    "a model's weights": lambda folder: {
        "models": [toys.source(), toys.target(reach=5), toys.target("new")]
    },
}


@pytest.mark.parametrize("what", SAME)
def test_identity_of_a_search_ignores_the_field(
    what: str, folder: Path, context: SearchContext
) -> None:
    assert grey_context(folder, **SAME[what](folder))[0].identity == context.identity


@pytest.mark.parametrize("what", OTHER)
def test_identity_of_a_search_follows_the_field(
    what: str, folder: Path, context: SearchContext
) -> None:
    assert grey_context(folder, **OTHER[what](folder))[0].identity != context.identity


# -- checks before the trials -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"search": {"space": "quickstrat"}}, "neither a file nor a shipped space; did you"),
        ({"search": {"space": space({"stepsize": {"float": [0, 1]}})}}, "did you mean 'step_size'"),
        ({"search": {"space": space({"eps": {"float": [0, 1]}})}}, "it defines the threat model"),
        ({"search": {"space": space({"step_size": {"float": [1, 2]}})}}, "refused by the attack"),
        ({"search": {"space": space(STEP_SIZE, {"steps": 3})}}, "no field of the space"),
        ({"search": {"space": "step-size"}}, "the base attack has a budget"),
    ],
)
def test_impossible_search_is_refused_before_a_model_is_loaded(
    changes: dict[str, Any], reason: str, folder: Path
) -> None:
    with pytest.raises(InputError) as raised:
        grey_context(folder, **changes)
    assert reason in str(raised.value)


# -- scores -----------------------------------------------------------------------------------


def tried(context: SearchContext, attack: AttackSpec, **options: Any) -> list[RungScore]:
    """An attack's scores, by a driver in this process."""
    store = Store(context.store)
    client = local_client(store, context.search)
    return [*score_rungs(context, attack, client, store, **options)]


@pytest.mark.parametrize("levels", [10.0, 16.0, 21.5])
def test_every_rung_has_more_images_and_the_drop_known_in_closed_form(
    levels: float, context: SearchContext
) -> None:
    attack = propose(context, step(levels), 7)
    assert attack.name == "trial-7"
    scores = tried(context, attack)
    assert [(s.rung, s.images) for s in scores] == [(0, 1), (1, 2), (2, 4)]
    drop = toys.drop_at(levels / 255)
    for one in scores:
        assert one.objectives == {"transfer": pytest.approx(drop)}
        assert one.drops == {"source": {"target": pytest.approx(drop)}}
        assert one.forward_equivalents == toys.STEPS
        assert one.rms == pytest.approx(round(2 * levels))


def test_rungs_not_requested_are_not_computed(context: SearchContext) -> None:
    store, attack = Store(context.store), propose(context, step(9.5), 1)
    scores = score_rungs(context, attack, local_client(store, context.search), store)
    next(scores)
    del scores
    assert keys_of(context, attack, 1) <= store.keys()
    later = keys_of(context, attack, 4) - keys_of(context, attack, 1)
    assert later & store.keys() <= keys_of(context, propose(context, step(16), 0), 4), "clean ones"


def test_stored_tasks_are_not_computed_again(context: SearchContext) -> None:
    store, attack = Store(context.store), propose(context, step(11), 1)
    first = tried(context, attack)
    rows = row_files(store)
    assert tried(context, attack.model_copy(update={"name": "another"})) == first
    assert row_files(store) == rows


@pytest.fixture(scope="module")
def noisy(folder: Path) -> SearchContext:
    """Two sources that are targets too, on random images with three classes."""
    raw = toy_spec(folder / "noisy", models=[toy("a", seed=1), toy("b", seed=2), toy("c", seed=3)])
    changes = {key: raw[key] for key in ("models", "schedule_groups", "shard_size")}
    data = {"data": raw["data"], "confirm": {"held_out": []}}
    roles = {"sources": ["a", "b"], "targets": ["b", "c"]}
    objectives = {"objectives": ["transfer", "cost", "rms", "ssim"], "rungs": [1]}
    return grey_context(folder, **changes, **data, **roles, search=objectives)[0]


def miou_by_hand(matrix: np.ndarray) -> float:
    values = []
    for k in range(len(matrix)):
        union = matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]
        values += [100 * matrix[k, k] / union] if union else []
    return sum(values) / len(values)


def test_objectives_equal_a_count_of_stored_confusions(noisy: SearchContext) -> None:
    store, kept = Store(noisy.store), list[Results]()
    attack = propose(noisy, step(16), 0)
    (one,) = tried(noisy, attack, keep=kept.append)
    sums: dict[tuple[str, str | None, str], Any] = {}
    for name, source, target, _, key, _ in kept[0].manifest.rows:
        evaluation = store.evaluation(key)
        assert evaluation is not None
        cell = name, source, target
        sums[cell] = sums.get(cell, 0) + evaluation.confusions.sum(0)
    drops = {
        source: {
            target: miou_by_hand(sums["clean", None, target])
            - miou_by_hand(sums["trial-0", source, target])
            for target in targets
        }
        for source, targets in {"a": ["b", "c"], "b": ["c"]}.items()
    }
    assert one.drops == {s: pytest.approx(row) for s, row in drops.items()}, "no white-box pair"
    every = [drop for row in drops.values() for drop in row.values()]
    assert one.objectives["transfer"] == pytest.approx(sum(every) / 3)
    assert one.objectives["cost"] == one.forward_equivalents == toys.STEPS
    assert one.objectives["rms"] == one.rms > 0
    assert 0 < one.objectives["ssim"] < 1
    assert one.images == 6


def test_a_damaged_result_is_computed_again(context: SearchContext) -> None:
    store, attack = Store(context.store), propose(context, step(12), 0)
    kept = list[Results]()
    first = tried(context, attack, keep=kept.append)
    *_, key, _ = next(cell for cell in kept[-1].manifest.rows if cell[5])
    damage(blob_of(store, key))
    assert store.evaluation(key) is None
    assert tried(context, attack) == first
    assert store.evaluation(key) is not None


@pytest.mark.parametrize("objective", ["transfer", "ssim"])
def test_missing_result_fails_the_trial_without_nan(objective: str, noisy: SearchContext) -> None:
    kept = list[Results]()
    levels = {"transfer": 13, "ssim": 14}[objective]
    tried(noisy, propose(noisy, step(levels), 0), keep=kept.append)
    *_, evaluation, attack = next(cell for cell in kept[0].manifest.rows if cell[5])
    damage(blob_of(kept[0].store, evaluation if objective == "transfer" else attack))
    damaged = assemble(kept[0].store, kept[0].identity, kept[0].manifest)
    with pytest.raises(TrialError, match=f"{objective} is nan, because results are"):
        score(damaged, 0, noisy.search.search)


def test_failed_task_fails_the_trial_with_the_reason(folder: Path) -> None:
    loss = {"loss": {"choice": ["cross-entropy", f"{toys.__name__}:refusing"]}}
    context, _ = grey_context(folder, search={"space": space(STEP_SIZE | loss)})
    point = step(16, loss=f"{toys.__name__}:refusing")
    with pytest.raises(
        TrialError, match=r"tasks failed: loss '.*:refusing' raised RuntimeError: this loss refuses"
    ):
        tried(context, propose(context, point, 0))
    (good, *_) = tried(context, propose(context, step(16, loss="cross-entropy"), 1))
    assert good.objectives["transfer"] == pytest.approx(toys.drop_at(16 / 255))


# -- stored parts of a trial ------------------------------------------------------------------


def test_the_matrices_of_a_trial_can_be_drawn_without_the_search(context: SearchContext) -> None:
    store = Store(context.store)
    assert trial_results(context.identity, 12, store) is None
    attack = propose(context, step(14), 12)
    last = tried(context, attack, keep=keep_results(context, 12, store))[-1]
    results = trial_results(context.identity, 12, Store(context.store))
    assert results is not None
    assert results.attacks == ["trial-12"]
    assert len(results.image_ids) == last.images
    drop = results.matrix("trial-12", "drop").loc["source", "target"]
    assert drop == pytest.approx(toys.drop_at(14 / 255))
    assert results.attack_spec("trial-12").step_size == pytest.approx(14 / 255)


def test_context_can_be_sent_to_a_trials_process(context: SearchContext) -> None:
    sent = pickle.loads(pickle.dumps(context))
    assert sent.identity == context.identity
    assert propose(sent, step(16), 0) == propose(context, step(16), 0)
