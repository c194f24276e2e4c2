"""The typed spec of an experiment: models, data, attacks, and the runtime."""

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.experiment.threat import Threat, allow_every_preset, check_threat, with_threat
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.json_schema import JsonSchema
from segtransfer.tasks.models.numerics import REFERENCE, Numerics
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.schema import Frozen, Name, Whole, added_later, suggest


class Experiment(Frozen):
    """Attacks made on source models and scored on target models, over the images of a data set.

    Attributes:
        name: The name in reports and MLflow. Letters, digits, ``_``, ``-`` and ``.``, at most 80.
            Default: the name of the file, or ``experiment``.
        data: The images and labels, for example ``camvid`` or ``{folder: my-images}``.
        models: The models, at least one, with different names: the name of a model that ships, or
            a mapping, for example ``{name: psp, mmseg: {config: psp.py, checkpoint: psp.pth}}``.
        attacks: The attacks, at least one, with different names: the name of a preset, or a
            mapping, for example ``{preset: pgd, eps: 8/255, steps: 10}``. The item ``"*"`` is
            every shipped preset with steps whose cost fits ``threat``.
        threat: The common norm, eps and budget of all attacks, for a leaderboard. Default none:
            each attack has its own.
        sources: The names of the models whose gradients make adversarial examples, at least one.
            Default: all models.
        targets: The names of the models on which adversarial examples are scored, at least one.
            Default: all models.
        seed: The seed of scales, noise and starts, 0 to 2^63 - 1. Another seed gives other keys.
        schedule_groups: The number of schedule groups, 1 to 4096. Images of one group share the
            scales of dynamic scaling; intervals treat a group as one cluster, so more groups narrow
            intervals.
        shard_size: The largest number of images per task, 1 to 4096. Smaller shards spread over
            more slots and lose less work when a worker fails.
        numerics: How all models compute, ``reference`` (fp32), ``fast``, or a mapping of options.
        runtime: The execution: store, executor, fleet, limits. No field changes a result or key.
    """

    name: Annotated[Name, Field(max_length=80)] = "experiment"
    data: DataSpec
    models: tuple[ModelSpec, ...]
    attacks: tuple[AttackSpec, ...]
    threat: Threat | None = added_later(None)
    sources: tuple[Name, ...] | None = None
    targets: tuple[Name, ...] | None = None
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0
    schedule_groups: Annotated[Whole, Field(ge=1, le=4096)] = 8
    shard_size: Annotated[Whole, Field(ge=1, le=4096)] = 8
    numerics: Numerics = REFERENCE
    runtime: Runtime = Runtime()

    @model_validator(mode="before")
    @classmethod
    def _share_threat(cls, data: Any) -> Any:
        return with_threat(data) if isinstance(data, dict) else data

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Allow the item ``*`` among attacks in the JSON schema; an experiment has no short form.

        Args:
            fields: The schema of the mapping, which is changed in place.
        """
        allow_every_preset(fields["properties"]["attacks"])
        return []

    @model_validator(mode="after")
    def _names_fit(self) -> "Experiment":
        models = [model.name for model in self.models]
        attacks = [attack.name for attack in self.attacks]
        _check_unique("models", models)
        _check_unique("attacks", attacks)
        if "clean" in attacks:
            raise PydanticCustomError(
                "clean", "an attack is named 'clean', the name of clean scores; rename it", {}
            )
        _check_role("sources", self.sources, models)
        _check_role("targets", self.targets, models)
        if self.threat is not None:
            check_threat(self.attacks, self.threat)
        return self

    @property
    def source_models(self) -> tuple[ModelSpec, ...]:
        """Return the source models, in the order of ``models``."""
        return tuple(m for m in self.models if self.sources is None or m.name in self.sources)

    @property
    def target_models(self) -> tuple[ModelSpec, ...]:
        """Return the target models, in the order of ``models``."""
        return tuple(m for m in self.models if self.targets is None or m.name in self.targets)


def _check_unique(field: str, names: list[str]) -> None:
    """Refuse an empty list and equal names."""
    if not names:
        raise PydanticCustomError("none", "{what} is empty; give at least one", {"what": field})
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PydanticCustomError(
            "twice",
            "two {what} are named '{name}'; rename one",
            {"what": field, "name": twice[0]},
        )


def _check_role(role: str, names: tuple[str, ...] | None, models: list[str]) -> None:
    """Refuse an empty ``sources`` or ``targets``, and a name that no model has."""
    if names == ():
        raise PydanticCustomError(
            "none", "{role} is empty; name at least one model, or remove {role}", {"role": role}
        )
    for name in names or ():
        if name not in models:
            raise PydanticCustomError(
                "unknown_model",
                "{role} names '{name}', which is no model; {hint}",
                {"role": role, "name": name, "hint": suggest(name, models)},
            )
