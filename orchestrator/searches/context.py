"""The context that all trials of a search share, and the scoring of an attack rung by rung."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtransfer import search_spaces
from segtransfer.errors import SegtransferError, reason_of
from segtransfer.experiment.keys import key_of
from segtransfer.experiment.manifest import Manifest, attack_fields, describe
from segtransfer.experiment.plan import identity_of, make_plan, make_tasks
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results, assemble, results_of
from segtransfer.runtime.client import DriverClient
from segtransfer.runtime.drive import Outcome, drive, served_models
from segtransfer.runtime.executors.base import Served
from segtransfer.runtime.sessions import Submission
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.search_spaces import Space
from segtransfer.searches.spec import Search, SearchSettings, trials_experiment
from segtransfer.store import Store
from segtransfer.store.maintenance.healing import LostImages
from segtransfer.store.pending_shards import PendingShards
from segtransfer.tasks.appearance import ssim
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import Outline
from segtransfer.tasks.image_metrics import quality
from segtransfer.tasks.models.info import ModelInfo

PairDrops = dict[str, dict[str, float]]  # source -> target -> value


class TrialError(SegtransferError, RuntimeError):
    """A trial has no result; the message gives the reason."""


@dataclass(frozen=True)
class SearchContext:
    """The data shared by all trials, without pixels.

    Attributes:
        identity: The search's identity, a sha256 in hexadecimal.
        search: The search.
        space: The search space.
        experiment: The experiment of the trials, with the base attack.
        infos: Descriptions of the models by name.
        models: The models to serve, by key.
        outlines: The shards without pixels, in the order in which rungs take them.
        rungs: The number of shards per rung, rising.
        manifest: The manifest of the base attack's experiment.
        store: The folder or URL of the store.
    """

    identity: str
    search: Search
    space: Space
    experiment: Experiment
    infos: Mapping[str, ModelInfo]
    models: Mapping[str, Served]
    outlines: tuple[Outline, ...]
    rungs: tuple[int, ...]
    manifest: Manifest
    store: str

    @property
    def quality(self) -> str:
        """Return the headline metric in text: "mIoU", or "accuracy" for classifiers."""
        return quality(self.manifest.headline)


@dataclass(frozen=True)
class RungScore:
    """The scores of a trial on the images of a rung.

    Attributes:
        rung: The number of the rung, from 0.
        images: The number of images.
        objectives: Values by objective: ``transfer`` in percentage points, ``cost`` in forward
            equivalents per image, ``rms`` in 8-bit levels, ``ssim`` in [-1, 1].
        drops: The drop in mIoU in percentage points by source and target, without white-box pairs.
        forward_equivalents: The mean cost per image.
        rms: The mean root mean square of the perturbation, in 8-bit levels.
    """

    rung: int
    images: int
    objectives: Mapping[str, float]
    drops: PairDrops
    forward_equivalents: float
    rms: float


def make_context(search: Search, store: Store) -> SearchContext:
    """Read the data, describe the models, store the shards, check the space against the attack.

    Args:
        search: The search.
        store: The store, which receives the shards.

    Returns:
        The context, without loaded models.

    Raises:
        InputError: If the search is wrong.
    """
    space = search_spaces.read_space(search.search.space)
    search_spaces.check(space, search.attack)
    experiment = trials_experiment(search)
    read = PendingShards(store)
    plan = make_plan(experiment, store, read.add)
    read.write()
    outlines = in_order([*plan.shards.values()])
    rungs = rungs_of(search.search.rungs, len(outlines))
    manifest = describe(plan)
    return SearchContext(
        identity=_identity(search, space, experiment, manifest),
        search=search,
        space=space,
        experiment=experiment,
        infos=plan.infos,
        models=served_models(plan),
        outlines=outlines,
        rungs=rungs,
        manifest=manifest,
        store=store.location,
    )


def in_order(outlines: list[Outline]) -> tuple[Outline, ...]:
    """Return the first shard of each schedule group, then the second of each, and so on.

    In this order early rungs have as many schedules as shards.

    Args:
        outlines: The shards, in any order.
    """
    seen: dict[int, int] = {}
    placed = []
    for outline in outlines:
        number = seen[outline.group] = seen.get(outline.group, -1) + 1
        placed.append((number, outline.group, outline))
    return tuple(outline for *_, outline in sorted(placed, key=lambda entry: entry[:2]))


def rungs_of(shares: tuple[float, ...], shards: int) -> tuple[int, ...]:
    """Return the number of shards per rung.

    Args:
        shares: The shares of the shards, in (0, 1], rising.
        shards: The number of shards.

    Returns:
        Numbers from 1 to ``shards``, rising; shares with equal numbers become a single rung.
    """
    return tuple(dict.fromkeys(max(1, round(share * shards)) for share in shares))


def propose(context: SearchContext, point: Mapping[str, Any], number: int) -> AttackSpec:
    """Return the attack of a trial.

    Args:
        context: The context of the search.
        point: The values of the space's fields.
        number: The trial's number, which names the attack.
    """
    return search_spaces.attack_of(context.space, context.search.attack, point, f"trial-{number}")


def score_rungs(
    context: SearchContext,
    attack: AttackSpec,
    client: DriverClient,
    store: Store,
    keep: Callable[[Results], None] = lambda results: None,
) -> Iterator[RungScore]:
    """Yield the score of an attack per rung; a rung is computed on request.

    Args:
        context: Models, shards and rungs of the search.
        attack: The attack.
        client: A client of the driver.
        store: The store that the driver fills.
        keep: Called with the results of each rung.

    Yields:
        The score of each rung, in order, over all shards up to the rung.

    Raises:
        TrialError: If a task failed, or an objective is not finite.
    """
    for rung in range(len(context.rungs)):
        results = _carry_out(context, attack, rung, client, store)
        keep(results)
        yield score(results, rung, context.search.search)


def _carry_out(
    context: SearchContext,
    attack: AttackSpec,
    rung: int,
    client: DriverClient,
    store: Store,
) -> Results:
    """Return the results of an attack on a rung's shards, computing the tasks not stored."""
    outlines = context.outlines[: context.rungs[rung]]
    # Earlier rungs have checked the AEs of their shards.
    added = {outline.shard_id for outline in outlines[context.rungs[rung - 1] if rung else 0 :]}
    experiment = context.experiment.model_copy(update={"attacks": (attack,)})
    tasks, cells = make_tasks(experiment, context.infos, outlines, len(context.manifest.classes))
    stored = frozenset(key for key in tasks if store.row(key) is not None)
    _drive(Submission(tasks, context.models, stored), client, store)
    shard_ids = [outline.shard_id for outline in outlines]
    manifest = context.manifest.changed(**attack_fields(experiment, shard_ids, cells))
    results = assemble(store, identity_of(cells), manifest)
    attacks = (key for key in stored if tasks[key].attack is not None)
    lost = LostImages(store, (key for key in attacks if tasks[key].shard_id in added))
    damaged = results.missing | lost.keys
    while damaged:  # a second round scores AEs again that differ from the lost AEs
        remaining = frozenset(tasks) - damaged
        _drive(Submission(tasks, context.models, remaining, damaged), client, store)
        changed = lost.changed() if damaged & lost.keys else frozenset()
        damaged = frozenset(key for key, task in tasks.items() if task.depends_on in changed)
        results = assemble(store, identity_of(cells), manifest)
    return results


def _drive(submission: Submission, client: DriverClient, store: Store) -> None:
    """Compute the missing tasks; raise TrialError if a task failed."""
    if len(submission.stored) == len(submission.tasks):
        return
    outcome = Outcome()
    drive(client, submission, store, outcome, TimeLimit(None))
    if outcome.failures:
        reasons = [reason_of(text) for text in outcome.failures.values()]
        raise TrialError(f"{len(reasons)} tasks failed: {reasons[0]}")


def score(results: Results, rung: int, settings: SearchSettings) -> RungScore:
    """Return the score of the results of a single attack.

    Args:
        results: The results of the attack on the shards of a rung.
        rung: The number of the rung.
        settings: The settings, which name the objectives.

    Raises:
        TrialError: If an objective is not finite.
    """
    (attack,) = results.attacks
    drop = results.matrix(attack, "drop")
    drops: PairDrops = {
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
    if "ssim" in settings.objectives:
        values["ssim"] = _mean_ssim(results)
    wrong = [name for name in settings.objectives if not np.isfinite(values[name])]
    if wrong:
        raise TrialError(
            f"objective {wrong[0]} is {values[wrong[0]]}, because results are missing or damaged"
        )
    objectives: dict[str, float] = {name: values[name] for name in settings.objectives}
    return RungScore(rung, len(results.image_ids), objectives, drops, equivalents, rms)


def _mean_ssim(results: Results) -> float:
    """Return the mean structural similarity of AEs and clean images; NaN if AEs are missing."""
    values, reader = [], results.reader(lambda cell: cell.attack_key is not None)
    for shard_id, shard in reader.shards():
        if shard is None:
            return float("nan")
        values += [ssim(made.images, shard.images) for made in reader.adversarial(shard_id, shard)]
    return float("nan") if reader.missing else float(np.concatenate(values).mean())


def keep_results(context: SearchContext, number: int, store: Store) -> Callable[[Results], None]:
    """Return a function to store the manifest of a trial's results, for later reports.

    Args:
        context: The context of the search.
        number: The trial's number.
        store: The store.
    """

    def keep(results: Results) -> None:
        store.save_trial(context.identity, number, results.manifest.stored())

    return keep


def trial_results(identity: str, number: int, store: Store) -> Results | None:
    """Return the results of a trial's last stored rung.

    Args:
        identity: The search's identity.
        number: The trial's number.
        store: The store.

    Returns:
        The results, or None if no rung of the trial is stored.
    """
    content = store.trial(identity, number)
    return None if content is None else results_of(store, f"{identity}-{number}", content)


def _identity(search: Search, space: Space, experiment: Experiment, manifest: Manifest) -> str:
    """Return the hash of the search's name, its proposals, and the inputs of comparable trials.

    The name is included to separate the trials of searches with different names.
    """
    settings = search.search.identity_fields(exclude={"space", "trials", "concurrency", "storage"})
    spec = experiment.identity_fields(exclude={"name", "data", "models", "runtime"})
    return key_of(
        {
            "name": search.name,
            "search": settings,
            "space": space.identity(),
            "spec": spec,
            "models": manifest.stored()["models"],
            "shards": manifest.shards,
        }
    )
