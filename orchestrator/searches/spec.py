"""The typed spec of a search: attacks, models and images of its trials and its confirmation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.experiment.reading import read_experiment, read_spec
from segtransfer.experiment.recipes import SEARCH_RECIPES
from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.experiment.spec import Experiment
from segtransfer.searches.proposals import PRUNERS, SAMPLERS, known_in
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models.numerics import REFERENCE, Numerics
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.schema import (
    Frozen,
    Name,
    NameOrPath,
    Number,
    Text,
    Whole,
    added_later,
    resolve_path,
    suggest,
)
from segtransfer.tasks.urls import secret_part

Objective = Literal["transfer", "cost", "rms", "ssim"]
DIRECTIONS: dict[str, Literal["maximize", "minimize"]] = {
    "transfer": "maximize",
    "cost": "minimize",
    "rms": "minimize",
    "ssim": "maximize",
}
# Two attacks are comparable if these fields agree: the threat, and the cost.
COMPARABLE_FIELDS = ("norm", "eps", "target", "region", "budget", "steps")


def _is_an_attack(value: dict[str, Any]) -> dict[str, Any]:
    """Validate the base attack, so that its errors become errors of the search."""
    AttackSpec.model_validate({"name": "base", **value})
    return value


class SearchSettings(Frozen):
    """Settings of proposals and rungs.

    Attributes:
        space: The name of a shipped space, a YAML file, or the mapping itself.
        trials: The number of trials.
        concurrency: The number of trials at the same time.
        objectives: ``transfer`` (mean drop in mIoU over all pairs of a source and another model,
            percentage points, maximised) first, then any of ``cost`` (forward equivalents per
            image, minimised), ``rms`` (perturbation in 8-bit levels, minimised) and ``ssim``
            (maximised).
        rungs: Shares of the shards in (0, 1], rising to 1. After a rung, ``asha`` continues a trial
            only if it is among the best ``1 / reduction`` so far. With several objectives every
            trial reaches the last rung.
        reduction: The divisor of trials per rung.
        startup: The number of first trials drawn at random.
        storage: A journal file or the URL of a database; None for a journal in the store.
        sampler: ``tpe``, ``random`` or ``module:callable`` of ``proposals.SAMPLERS``.
        pruner: ``asha``, ``median``, ``none`` or ``module:callable`` of ``proposals.PRUNERS``.
    """

    space: NameOrPath | dict[str, Any]
    trials: Annotated[Whole, Field(ge=1, le=100_000)] = 50
    concurrency: Annotated[Whole, Field(ge=1, le=1000)] = 2
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = ("transfer",)
    rungs: Annotated[tuple[Number, ...], Field(min_length=1)] = (0.25, 0.5, 1.0)
    reduction: Annotated[Whole, Field(ge=2, le=10)] = 2
    startup: Annotated[Whole, Field(ge=1)] = 10
    storage: Text | None = None
    sampler: Annotated[Text, AfterValidator(known_in(SAMPLERS))] = added_later("tpe")
    pruner: Annotated[Text, AfterValidator(known_in(PRUNERS))] = added_later("asha")

    @model_validator(mode="after")
    def _fits(self) -> "SearchSettings":
        rungs, objectives = self.rungs, self.objectives
        for wrong, message in (
            (
                list(rungs) != sorted(set(rungs)) or rungs[0] <= 0 or rungs[-1] != 1,
                "rungs must rise within (0, 1] and end with 1, for example [0.25, 0.5, 1]",
            ),
            (len(set(objectives)) < len(objectives), "objectives has a name twice"),
            (
                objectives[0] != "transfer",
                "objectives must begin with transfer, which ranks the best trials",
            ),
            (
                self.storage is not None and "://" in self.storage and secret_part(self.storage),
                "storage has a password, which would be logged with the search; remove the "
                "password and set PGPASSWORD or ~/.pgpass (PostgreSQL)",
            ),
        ):
            if wrong:
                raise PydanticCustomError("search", "{message}", {"message": message})
        return self


class Confirmation(Frozen):
    """Settings of the confirmation, on images that the search does not use.

    Attributes:
        data: The images.
        held_out: Targets that take no part in the search.
        baselines: Presets or attacks, under the search's threat and at its cost.
        best: The number of best trials to confirm.
        schedule_groups: The largest number of schedules of the images.
    """

    data: DataSpec
    held_out: tuple[Name, ...] = ()
    baselines: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)] = (
        "pgd",
        "mi",
        "di",
        "ds",
    )
    best: Annotated[Whole, Field(ge=1, le=50)] = 3
    schedule_groups: Annotated[Whole, Field(ge=2, le=4096)] = 10


class Search(Frozen):
    """A search for the attack settings that transfer best.

    Attributes:
        name: The name in reports and MLflow. Letters, digits, ``_``, ``-`` and ``.``, at most 60.
            Default: the name of the file, or ``search``.
        data: The images and labels of the trials, which differ from those of ``confirm``.
        models: The models of trials and confirmation, as in an experiment.
        sources: The names of the source models of the trials, at least one.
        targets: The names of the target models of the trials, at least one.
        attack: The base of every proposal: threat, budget, and all fields that the space does not
            set.
        search: Settings of proposals and rungs.
        confirm: Settings of the confirmation.
        seed: The seed of proposals and of all draws in attacks, 0 to 2^63 - 1.
        schedule_groups: The number of schedule groups of the trials, 1 to 4096.
        shard_size: The largest number of images per task, 1 to 4096.
        numerics: How all models compute, ``reference`` (fp32), ``fast``, or a mapping of options.
        runtime: The execution: store, executor, fleet, limits. No field changes a result or key.
    """

    name: Annotated[Name, Field(max_length=60)] = "search"
    data: DataSpec
    models: tuple[ModelSpec, ...]
    sources: Annotated[tuple[Name, ...], Field(min_length=1)]
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    attack: Annotated[dict[str, Any], AfterValidator(_is_an_attack)]
    search: SearchSettings
    confirm: Confirmation
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0
    schedule_groups: Annotated[Whole, Field(ge=1, le=4096)] = 8
    shard_size: Annotated[Whole, Field(ge=1, le=4096)] = 8
    numerics: Numerics = REFERENCE
    runtime: Runtime = Runtime()

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any, info: ValidationInfo) -> Any:
        """Name a bare preset, and make the paths of an attack absolute."""
        if not isinstance(data, dict) or not isinstance(data.get("attack"), str | dict):
            return data
        attack = data["attack"]
        attack = {"preset": attack} if isinstance(attack, str) else dict(attack)
        for part, field in (("target", "label_map"), ("region", "mask")):
            given = attack.get(part)
            if isinstance(given, dict) and given.get(field):
                attack[part] = {**given, field: resolve_path(given[field], info)}
        return {**data, "attack": attack}

    @model_validator(mode="after")
    def _names_fit(self) -> "Search":
        known = [model.name for model in self.models]
        roles = {
            "sources": self.sources,
            "targets": self.targets,
            "confirm.held_out": self.confirm.held_out,
        }
        for role, names in roles.items():
            for name in names:
                if name not in known:
                    raise PydanticCustomError(
                        "unknown_model",
                        "{role} names '{name}', which is no model; {hint}",
                        {"role": role, "name": name, "hint": suggest(name, known)},
                    )
        for name in self.confirm.held_out:
            if name in (*self.sources, *self.targets):
                raise PydanticCustomError(
                    "held_out",
                    "confirm.held_out names '{name}', but a held-out model must be neither source "
                    "nor target of the search",
                    {"name": name},
                )
        if all(source == target for source in self.sources for target in self.targets):
            raise PydanticCustomError(
                "transfer", "no target differs from the source; add another model to targets", {}
            )
        return self


def read_search(
    source: str | Path | dict[str, Any] | Search, overrides: Sequence[str] = ()
) -> Search:
    """Read a search from a YAML file, the name of a shipped search, a mapping or a spec.

    Args:
        source: The file, name, mapping or spec.
        overrides: ``field.path=value`` strings, applied in order.

    Returns:
        The validated search.

    Raises:
        InputError: If the search is wrong; the message has a sentence per wrong field.
    """
    return read_spec(Search, source, overrides, [SEARCH_RECIPES])


def trials_experiment(search: Search) -> Experiment:
    """Return the experiment of the trials, with the base attack.

    Raises:
        InputError: If the experiment is wrong.
    """
    return _experiment(
        search, search.name, search.data, search.targets, search.schedule_groups, [search.attack]
    )


def confirming_experiment(search: Search, best: Sequence[AttackSpec]) -> Experiment:
    """Return the experiment of the best attacks and the baselines on held-out images and models.

    Every attack is scored raw and with ``eps*sign``, or ``equal-rms`` under L2.

    Args:
        search: The search.
        best: The best attacks; empty to check the experiment before the trials.

    Raises:
        InputError: If the experiment is wrong.
    """
    confirm = search.confirm
    attacks = [_scored(attack.model_dump(mode="json")) for attack in best]
    attacks += [_scored(baseline) for baseline in baselines(search, best)]
    targets = (*search.targets, *confirm.held_out)
    name = f"{search.name}-confirmed"
    return _experiment(search, name, confirm.data, targets, confirm.schedule_groups, attacks)


def baselines(search: Search, best: Sequence[AttackSpec]) -> list[dict[str, Any]]:
    """Return the specs of the baselines, under the search's threat and budget.

    Without a budget, baselines get the cost of the most expensive best attack, or of the base
    attack if ``best`` is empty.

    Args:
        search: The search.
        best: The best attacks.
    """
    threat = {field: search.attack[field] for field in COMPARABLE_FIELDS if field in search.attack}
    if "budget" not in threat:
        measures = best or [AttackSpec.model_validate({"name": "base", **search.attack})]
        most = max(attack.restarts * attack.steps_taken * attack.step_cost for attack in measures)
        threat.pop("steps", None)
        threat["budget"] = {"forward_equivalents": most}
    attacks = []
    for baseline in search.confirm.baselines:
        own = {"preset": baseline} if isinstance(baseline, str) else dict(baseline)
        attacks.append({**threat, **own})
    return attacks


def _scored(attack: dict[str, Any]) -> dict[str, Any]:
    """Add the raw score and a score at a common size; a larger perturbation transfers better."""
    return {
        **attack,
        "scores": ["raw", "eps*sign"]
        if attack.get("norm", "linf") == "linf"
        else ["raw", "equal-rms"],
    }


def _experiment(
    search: Search,
    name: str,
    data: DataSpec,
    targets: Sequence[str],
    groups: int,
    attacks: Sequence[dict[str, Any]],
) -> Experiment:
    """Return an experiment with the search's sources and with the models in use."""
    shared = search.model_dump(mode="json", include={"seed", "shard_size", "numerics", "runtime"})
    used = {*search.sources, *targets}
    models = [model for model in search.models if model.name in used]
    return read_experiment(
        {
            **shared,
            "name": name,
            "data": data.model_dump(mode="json"),
            "models": [model.model_dump(mode="json") for model in models],
            "sources": list(search.sources),
            "targets": list(targets),
            "attacks": [{"name": attack.get("preset", "base"), **attack} for attack in attacks],
            "schedule_groups": groups,
        }
    )
