"""The base of a study: an ordinary experiment, with facts about its models that studies need."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment, read_spec
from segtransfer.experiment.recipes import EXPERIMENT_RECIPES, STUDY_BASES
from segtransfer.experiment.spec import Experiment
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models import description
from segtransfer.tasks.schema import Frozen, Name, Text, suggest

DEFAULT = "zoo"
SCORES = {"raw": "", "equal-rms": ":rms"}  # every claim is judged raw and at equal energy
Twins = tuple[Name, Name]


class Options(Frozen):
    """Facts about models that an experiment's spec lacks.

    Attributes:
        twins: Pairs of a network trained with scale augmentation (first) and without (second).
        stride_twins: Pairs of a network at a finer (first) and a coarser output stride (second).
        heads: The kind of head by model name, for models whose adapter does not know the head.
    """

    twins: tuple[Twins, ...] = ()
    stride_twins: tuple[Twins, ...] = ()
    heads: dict[Name, Text] = Field(default_factory=dict)


class BaseExperiment(Experiment):
    """An experiment whose attacks a study replaces.

    The first iterative attack, bounded by linf, gives ``eps``, ``steps`` and ``cost``. If
    ``attacks`` is left out, it is PGD with its defaults.

    Attributes:
        attacks: The attacks; only the first iterative attack matters.
        study: Facts about the models.
    """

    attacks: tuple[AttackSpec, ...] = Field(default=({"preset": "pgd"},), validate_default=True)
    study: Options = Options()

    @model_validator(mode="after")
    def _study_fits(self) -> "BaseExperiment":
        names = [model.name for model in self.models]
        given = {
            "twins": [name for pair in self.study.twins for name in pair],
            "stride_twins": [name for pair in self.study.stride_twins for name in pair],
            "heads": list(self.study.heads),
        }
        for field, named in given.items():
            for name in named:
                if name not in names:
                    raise PydanticCustomError(
                        "unknown_model",
                        "study.{field} names '{name}', which is no model; {hint}",
                        {"field": field, "name": name, "hint": suggest(name, names)},
                    )
        if not any(attack.steps for attack in self.attacks):
            raise PydanticCustomError(
                "no_steps",
                "no attack has steps, so eps and cost of the study are unknown; add an iterative "
                "attack to attacks, for example pgd",
                {},
            )
        if self._guide.norm != "linf":
            raise PydanticCustomError(
                "norm",
                "attack '{name}' has norm {norm}, but studies need linf; make an attack with norm "
                "linf the first iterative attack",
                {"name": self._guide.name, "norm": self._guide.norm},
            )
        return self

    @property
    def _guide(self) -> AttackSpec:
        return next(attack for attack in self.attacks if attack.steps)

    @property
    def eps(self) -> float:
        """Return the bound of the study's attacks, a fraction of the pixel range [0, 1]."""
        return self._guide.eps

    @property
    def steps(self) -> int:
        """Return the number of steps of the first iterative attack."""
        return self._guide.steps

    @property
    def cost(self) -> float:
        """Return the cost of every attack of a study, in forward equivalents per image.

        It is the budget of the first iterative attack, or the cost of its steps and restarts.
        """
        guide = self._guide
        if guide.budget is not None:
            return guide.budget.forward_equivalents
        return guide.restarts * guide.steps_taken * guide.step_cost


def read_base(
    source: str | Path | dict[str, Any] | BaseExperiment, overrides: Sequence[str] = ()
) -> BaseExperiment:
    """Read a base from a YAML file, the name of a shipped base or recipe, a mapping or a spec.

    Args:
        source: The file, name, mapping or spec. Of a recipe, the attacks are replaced by a study.
        overrides: ``field.path=value`` strings, applied in order to the fields of ``source``.

    Returns:
        The validated base.

    Raises:
        InputError: If the base is wrong; the message has a sentence per wrong field.
    """
    return read_spec(BaseExperiment, source, overrides, [STUDY_BASES, EXPERIMENT_RECIPES], "base")


def split_base(given: Sequence[str]) -> tuple[str, list[str]]:
    """Split arguments into base and overrides.

    Args:
        given: The arguments. The first names the base unless it has a ``=`` and is no file.

    Returns:
        The base's file or name (``DEFAULT`` without one), and the ``field.path=value`` overrides.
    """
    if given and ("=" not in given[0] or Path(given[0]).is_file()):
        return given[0], list(given[1:])
    return DEFAULT, list(given)


def experiment_of(
    base: BaseExperiment,
    study: str,
    attacks: Sequence[dict[str, Any]],
    *,
    classifiers: bool = False,
    **changes: Any,
) -> Experiment:
    """Return the base's experiment with a study's attacks.

    Args:
        base: The base.
        study: The study's name, appended to the base's name.
        attacks: The specs of the attacks.
        classifiers: Whether the study also runs on a base of classifiers only.
        changes: Fields to replace.

    Returns:
        The validated experiment.

    Raises:
        InputError: If the experiment is wrong, a model is a classifier that the study refuses, or
            classifiers and segmentation models are mixed.
    """
    kinds: dict[bool, str] = {}
    for model in base.models:
        kinds.setdefault(description.describe(model).classifier, model.name)
    if True in kinds and not classifiers:
        raise InputError(
            f"Study {study} measures mIoU of segmentation models, and model '{kinds[True]}' is a "
            "classifier. Name segmentation models, or compare attacks on classifiers with "
            "segtransfer run and compare."
        )
    if len(kinds) > 1:
        raise InputError(
            f"Study {study} needs models of a single kind, but model '{kinds[True]}' is a "
            f"classifier and model '{kinds[False]}' a segmentation model. Give each kind a base of "
            "its own."
        )
    content = base.model_dump(mode="json", exclude={"study"})
    name = f"{base.name[:60]}-{study}"
    return read_experiment({**content, "name": name, "attacks": list(attacks), **changes})


def check_transfer(base: BaseExperiment) -> None:
    """Refuse a base whose only source is its only target.

    Raises:
        InputError: If no pair of different models exists.
    """
    sources, targets = ({m.name for m in role} for role in (base.source_models, base.target_models))
    if sources == targets and len(sources) == 1:
        raise InputError(
            f"A study measures transfer, but {sources.pop()} is the only source and the only "
            "target. Add other models to targets."
        )


def at_equal_cost(base: BaseExperiment, preset: str, **fields: Any) -> dict[str, Any]:
    """Return the spec of an attack at the base's eps and cost, scored raw and at equal energy.

    Args:
        base: The base.
        preset: The name of a preset.
        fields: Fields that replace the preset's.
    """
    budget = {"forward_equivalents": base.cost}
    return {"preset": preset, "eps": base.eps, "budget": budget, "scores": list(SCORES), **fields}
