"""What every trial of a search needs, made once; and the trial itself: one attack, rung by rung."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtransfer import search_spaces
from segtransfer.experiment.keys import key_of
from segtransfer.experiment.manifest import describe
from segtransfer.experiment.plan import cut, identity_of, make_plan
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results, results_of
from segtransfer.runtime.client import DriverClient
from segtransfer.runtime.drive import Outcome, drive, served_models
from segtransfer.runtime.executors.base import Served
from segtransfer.runtime.sessions import Submission
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.search_spaces import Space
from segtransfer.searches.spec import Search, SearchSettings, trials_experiment
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import Outline
from segtransfer.tasks.models.base import ModelInfo
from segtransfer.tasks.perturbation import ssim

Matrix = dict[str, dict[str, float]]  # source -> target -> value


class TrialError(RuntimeError):
    """A trial that has no result; its message says why."""


@dataclass(frozen=True)
class SearchContext:
    """All that trials share, without a pixel: models are described, shards are kept in the store.

    ``outlines`` stand in the order in which the rungs take them, ``rungs`` are how many of them
    each has. ``content`` describes the experiment of the base attack, as the store keeps it.
    """

    identity: str
    search: Search
    space: Space
    experiment: Experiment
    infos: Mapping[str, ModelInfo]
    models: Mapping[str, Served]
    outlines: tuple[Outline, ...]
    rungs: tuple[int, ...]
    content: Mapping[str, Any]
    store: str


@dataclass(frozen=True)
class Score:
    """What a trial reached on one rung: the objectives by name, the drop of every pair of a source
    and another model in points of mIoU, and on how many images."""

    rung: int
    images: int
    objectives: Mapping[str, float]
    drops: Matrix
    forward_equivalents: float
    rms: float


def make_context(search: Search, store: Store) -> SearchContext:
    """Read the data, describe the models, keep the shards; check the space against the attack.

    Raises InputError for anything wrong, before a model is loaded.
    """
    space = search_spaces.read_space(search.search.space)
    search_spaces.check(space, search.attack)
    experiment = trials_experiment(search)
    plan = make_plan(experiment, store)
    for shard in plan.shards.values():
        store.put_shard(shard)
    outlines = in_order([shard.outline for shard in plan.shards.values()])
    rungs = rungs_of(search.search.rungs, len(outlines))
    content = describe(plan)
    return SearchContext(
        identity=_identity(search, space, content),
        search=search,
        space=space,
        experiment=experiment,
        infos=plan.infos,
        models=served_models(plan),
        outlines=outlines,
        rungs=rungs,
        content=content,
        store=store.location,
    )


def in_order(outlines: list[Outline]) -> tuple[Outline, ...]:
    """The first shard of each schedule group, then the second of each: early rungs see as many
    schedules as they have shards."""
    seen: dict[int, int] = {}
    placed = []
    for outline in outlines:
        number = seen[outline.group] = seen.get(outline.group, -1) + 1
        placed.append((number, outline.group, outline))
    return tuple(outline for *_, outline in sorted(placed, key=lambda entry: entry[:2]))


def rungs_of(shares: tuple[float, ...], shards: int) -> tuple[int, ...]:
    """How many shards each rung has; shares that come to the same number are one rung."""
    return tuple(dict.fromkeys(max(1, round(share * shards)) for share in shares))


def propose(bench: SearchContext, point: Mapping[str, Any], number: int) -> AttackSpec:
    """The attack of a trial."""
    return search_spaces.attack_of(bench.space, bench.search.attack, point, f"trial-{number}")


def try_attack(
    bench: SearchContext,
    attack: AttackSpec,
    client: DriverClient,
    store: Store,
    keep: Callable[[Results], None] = lambda results: None,
) -> Iterator[Score]:
    """Score an attack on one rung after another; whoever stops asking saves the rest.

    ``keep`` gets the results of each. Raises TrialError where a task failed.
    """
    for rung, count in enumerate(bench.rungs):
        results = _carry_out(bench, attack, bench.outlines[:count], client, store)
        keep(results)
        yield score(results, rung, bench.search.search)


def _carry_out(
    bench: SearchContext,
    attack: AttackSpec,
    outlines: tuple[Outline, ...],
    client: DriverClient,
    store: Store,
) -> Results:
    experiment = bench.experiment.model_copy(update={"attacks": (attack,)})
    tasks, cells = cut(experiment, bench.infos, outlines, len(bench.content["classes"]))
    stored = frozenset(key for key in tasks if store.row(key) is not None)
    _drive(Submission(tasks, bench.models, stored), client, store)
    made = [{"attack": attack.name, "made": 0, **vars(attack.made[0])}]
    content = {
        **bench.content,
        "spec": experiment.model_dump(mode="json", exclude={"runtime"}),
        "attacks": made,
        "shards": [outline.shard_id for outline in outlines],
        "cells": [[c.attack, c.source, c.target, c.shard_id, c.key, c.attack_key] for c in cells],
    }
    results = results_of(store, identity_of(cells), content)
    if results.missing:  # what was stored is damaged: it is computed again
        stored = frozenset(tasks) - results.missing
        _drive(Submission(tasks, bench.models, stored, results.missing), client, store)
        results = results_of(store, identity_of(cells), content)
    return results


def _drive(submission: Submission, client: DriverClient, store: Store) -> None:
    """Have what is not stored computed; raises TrialError where a task failed."""
    if len(submission.stored) == len(submission.tasks):
        return
    outcome = Outcome()
    drive(client, submission, store, outcome, TimeLimit(None))
    if outcome.failures:
        reasons = [text.strip().splitlines()[-1] for text in outcome.failures.values()]
        raise TrialError(f"{len(reasons)} tasks failed: {reasons[0]}")


def score(results: Results, rung: int, tries: SearchSettings) -> Score:
    """The objectives of one attack's results; raises TrialError where one is missing."""
    (attack,) = results.attacks
    drop = results.matrix(attack, "drop")
    drops: Matrix = {
        source: {
            target: float(drop.loc[source, target])
            for target in results.targets
            if results.group(source, target) != "diagonal"
        }
        for source in results.sources
    }
    equivalents = float(results.cost(attack)["forward_equivalents"])
    rms = float(results.perturbation(attack)["rms"])
    values: dict[str, float] = {
        "transfer": float(np.mean([value for row in drops.values() for value in row.values()])),
        "cost": equivalents,
        "rms": rms,
    }
    if "ssim" in tries.objectives:
        values["ssim"] = _mean_ssim(results)
    wrong = [name for name in tries.objectives if not np.isfinite(values[name])]
    if wrong:
        raise TrialError(f"{wrong[0]} is {values[wrong[0]]}: results are missing or damaged")
    objectives: dict[str, float] = {name: values[name] for name in tries.objectives}
    return Score(rung, len(results.image_ids), objectives, drops, equivalents, rms)


def _mean_ssim(results: Results) -> float:
    """Mean structural similarity of the stored AEs with their clean images."""
    values = []
    for shard_id, key in {(cell[3], cell[5]) for cell in results.content["cells"] if cell[5]}:
        clean, made = results.store.shard(shard_id), results.store.attack_images(key)
        if clean is None or made is None:
            return float("nan")
        values.append(ssim(made[0], clean.images))
    return float(np.concatenate(values).mean())


def keep_results(bench: SearchContext, number: int, store: Store) -> Callable[[Results], None]:
    """Keeps what describes a trial's matrices, so that they can be drawn without the search."""

    def keep(results: Results) -> None:
        store.save_trial(bench.identity, number, dict(results.content))

    return keep


def trial_results(identity: str, number: int, store: Store) -> Results | None:
    """The matrices of a trial as far as it came; None where nothing is kept of it."""
    content = store.trial(identity, number)
    return None if content is None else results_of(store, f"{identity}-{number}", content)


def _identity(search: Search, space: Space, content: Mapping[str, Any]) -> str:
    """All that makes two trials of a search comparable, what is proposed, and the name: searches
    that people tell apart keep their trials apart."""
    tries = search.search.model_dump(
        mode="json", exclude={"space", "trials", "concurrency", "storage"}
    )
    spec = {k: v for k, v in content["spec"].items() if k not in ("name", "data", "models")}
    return key_of(
        {
            "name": search.name,
            "search": tries,
            "space": space.identity(),
            "spec": spec,
            "models": content["models"],
            "shards": content["shards"],
        }
    )
