"""The base of a study: an ordinary experiment, and facts on its models that studies need."""

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
from segtransfer.tasks.schema import Frozen, Name, Text, suggest

DEFAULT = "zoo"
SCORES = {"raw": "", "eps*sign": ":sign"}  # every claim is judged raw and at equal energy
Twins = tuple[Name, Name]


class Options(Frozen):
    """Facts on models that an experiment's spec lacks.

    ``twins``: pairs of one network trained with scale augmentation (the first) and without.
    ``stride_twins``: pairs of one network at a finer (the first) and a coarser output stride.
    ``heads``: kind of head by the model's name, for models whose adapter does not know it.
    """

    twins: tuple[Twins, ...] = ()
    stride_twins: tuple[Twins, ...] = ()
    heads: dict[Name, Text] = Field(default_factory=dict)


class BaseExperiment(Experiment):
    """An experiment whose attacks a study replaces by its own.

    The first iterative attack gives ``eps``, ``steps`` and ``cost`` (its budget, or the cost of its
    steps). If ``attacks`` is left out, this is PGD with its defaults.
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
        for what, named in given.items():
            for name in named:
                if name not in names:
                    raise PydanticCustomError(
                        "unknown_model",
                        "study.{what} names '{name}', which is no model: {hint}",
                        {"what": what, "name": name, "hint": suggest(name, names)},
                    )
        if not any(attack.steps for attack in self.attacks):
            raise PydanticCustomError(
                "no_steps",
                "no attack takes steps, so a study knows neither eps nor cost; give one that does",
                {},
            )
        if self._guide.norm != "linf":
            raise PydanticCustomError(
                "norm",
                "attack '{name}' is bounded by {norm}, and studies by linf; give one that is, too",
                {"name": self._guide.name, "norm": self._guide.norm},
            )
        return self

    @property
    def _guide(self) -> AttackSpec:
        return next(attack for attack in self.attacks if attack.steps)

    @property
    def eps(self) -> float:
        return self._guide.eps

    @property
    def steps(self) -> int:
        return self._guide.steps

    @property
    def cost(self) -> float:
        """Forward equivalents per image, equal for all attacks of a study."""
        guide = self._guide
        if guide.budget is not None:
            return guide.budget.forward_equivalents
        return guide.restarts * guide.steps_taken * guide.step_cost


def read_base(
    source: str | Path | dict[str, Any] | BaseExperiment, overrides: Sequence[str] = ()
) -> BaseExperiment:
    """Read a base from a YAML file, the name of a shipped base or recipe, a mapping or a spec.

    Args:
        source: The file, name, mapping or spec; attacks of a recipe are replaced by the study's.
        overrides: ``field.path=value`` strings, applied in order.

    Raises:
        InputError: The base is wrong; the message has a sentence per wrong field.
    """
    return read_spec(BaseExperiment, source, overrides, [STUDY_BASES, EXPERIMENT_RECIPES], "base")


def split_base(given: Sequence[str]) -> tuple[str, list[str]]:
    """Split arguments into base and overrides: a first argument without ``=`` names the base."""
    if given and ("=" not in given[0] or Path(given[0]).is_file()):
        return given[0], list(given[1:])
    return DEFAULT, list(given)


def experiment_of(
    base: BaseExperiment, study: str, attacks: Sequence[dict[str, Any]], **changes: Any
) -> Experiment:
    """Return the base's experiment with a study's attacks and with changed fields."""
    content = base.model_dump(mode="json", exclude={"study"})
    name = f"{base.name[:60]}-{study}"
    return read_experiment({**content, "name": name, "attacks": list(attacks), **changes})


def check_transfer(base: BaseExperiment) -> None:
    """Raise InputError if the only source is the only target."""
    sources, targets = ({m.name for m in role} for role in (base.source_models, base.target_models))
    if sources == targets and len(sources) == 1:
        raise InputError(
            f"the only source and target is {sources.pop()}, so nothing transfers; name other "
            "models as targets"
        )


def at_equal_cost(base: BaseExperiment, preset: str, **fields: Any) -> dict[str, Any]:
    """Return an attack at the base's eps and cost, scored raw and as eps*sign."""
    budget = {"forward_equivalents": base.cost}
    return {"preset": preset, "eps": base.eps, "budget": budget, "scores": list(SCORES), **fields}
