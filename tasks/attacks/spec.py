"""Typed description of an attack; what a preset, a YAML file and a search all produce."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks import presets
from segtransfer.tasks.attacks.components import (
    Budget,
    Momentum,
    Region,
    Smoothing,
    Target,
    Variance,
    read_smoothing,
)
from segtransfer.tasks.attacks.features import FEATURE_LOSSES
from segtransfer.tasks.attacks.file_hash import with_hash
from segtransfer.tasks.attacks.resolve import (
    DEFAULTS,
    step_cost,
    with_loss,
    with_step_size,
    with_steps,
)
from segtransfer.tasks.attacks.transforms import Transform
from segtransfer.tasks.schema import AnyPath, Frozen, Number, suggest

Scoring = Literal["raw", "eps*sign", "equal-rms"]


@dataclass(frozen=True)
class Variant:
    """One of the images that an attack makes of an image: after ``step`` steps, as ``score``."""

    name: str
    step: int
    score: str


class AttackSpec(Frozen):
    """One attack in pixel space.

    ``norm`` linf: every value within ``eps``; l2: the root mean square of the perturbation within
    ``eps``, so that one eps means the same at any resolution (the L2 norm is eps * sqrt(3 H W)).
    ``eps`` and ``step_size`` are in [0, 1] and may be written ``8/255``; ``step_size`` may also be
    ``eps``, ``eps/4`` or ``eps/steps``, and is the step's root mean square under l2. ``start`` is
    x_0: the clean image or a uniform draw from the ball. ``steps``, or a ``budget`` from which
    they follow; zero steps leave the start as it is and need no source. ``label_version`` says
    how labels follow a transform: ``logits`` go back to the labels' resolution, or ``labels`` go
    where the image went. ``loss`` is a name or ``package.module:function``, averaged over each
    image's labelled pixels, so no image's result depends on its batch; ``layer`` names the module
    whose output a feature loss reads (the backbone's middle stage where the adapter knows it).
    ``restarts`` keep, image by image, the run that fools the source most. ``steps_at`` keeps these
    iterates instead of the last; ``scores`` says as what an iterate is kept: raw, pushed to
    eps * sign, or scaled to a root mean square of ``equal_rms`` * eps. ``files`` is a folder of
    AEs made elsewhere, one PNG an image by its id, scored like ours; nothing is then attacked.
    ``name`` is for people only.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    norm: Literal["linf", "l2"] = "linf"
    eps: Annotated[Number, Field(ge=0, le=1)] = DEFAULTS["eps"]
    step_size: Annotated[Number, Field(ge=0, le=1)] = 2 / 255
    steps: Annotated[int, Field(ge=0, le=100_000)] = int(DEFAULTS["steps"])
    budget: Budget | None = None
    start: Literal["clean", "uniform"] = "clean"
    transforms: Annotated[tuple[Transform, ...], Field(max_length=8)] = ()
    label_version: Literal["logits", "labels"] = "logits"
    loss: str = "cross-entropy"
    loss_sha256: str | None = None
    layer: str | None = None
    momentum: Momentum | None = None
    variance: Variance | None = None
    smoothing: Annotated[Smoothing | None, BeforeValidator(read_smoothing)] = None
    target: Target | None = None
    region: Region | None = None
    restarts: Annotated[int, Field(ge=1, le=1000)] = 1
    steps_at: Annotated[tuple[int, ...], Field(max_length=1000)] = ()
    scores: Annotated[tuple[Scoring, ...], Field(min_length=1)] = ("raw",)
    equal_rms: Annotated[Number, Field(gt=0, le=1)] = 0.75
    files: AnyPath | None = None
    files_sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any, info: ValidationInfo) -> Any:
        """Merge a preset with the fields given, then resolve what depends on other fields."""
        if isinstance(data, str):
            data = {"preset": data}
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if "preset" in data:
            preset = data.pop("preset")
            if not isinstance(preset, str) or preset not in presets.PRESETS:
                raise PydanticCustomError(
                    "preset",
                    "unknown preset '{preset}': {hint}",
                    {"preset": str(preset), "hint": suggest(str(preset), presets.PRESETS)},
                )
            data = {"name": preset, **fields_of_preset(preset, data.get("budget")), **data}
        if data.get("files") is not None:
            data = {"steps": 0, "step_size": 0.0, **data}
        data = with_loss(with_hash(data, info, "files", "files_sha256", "folder"))
        return with_step_size(with_steps(data))

    @model_validator(mode="after")
    def _fields_fit(self) -> "AttackSpec":
        kinds = [transform.kind for transform in self.transforms]
        for wrong, message in (
            (
                self.layer and self.loss not in FEATURE_LOSSES,
                f"layer is for {', '.join(FEATURE_LOSSES)}; loss '{self.loss}' reads no feature",
            ),
            (
                self.target and self.loss in FEATURE_LOSSES,
                f"loss '{self.loss}' reads no label, so it has no target",
            ),
            (
                self.restarts > 1
                and self.start == "clean"
                and self.variance is None
                and all(transform.kind == "si" for transform in self.transforms),
                "restarts would all be the same; give start: uniform, or a transform that draws",
            ),
            (
                self.steps_at and self.budget,
                "steps_at needs a number of steps, a budget has none; give steps instead",
            ),
            (
                any(not 1 <= step <= self.steps for step in self.steps_at)
                or list(self.steps_at) != sorted(set(self.steps_at)),
                f"steps_at must rise from 1 or more to {self.steps}, the number of steps, at most",
            ),
            (
                len(set(self.scores)) < len(self.scores),
                "scores names one of them twice",
            ),
            (
                self.files
                and (self.steps, self.start, self.restarts, self.scores)
                != (0, "clean", 1, ("raw",)),
                "files are scored as they are; leave steps, start, restarts and scores out",
            ),
            (len(set(kinds)) < len(kinds), "transforms names one of them twice"),
            (
                "admix" in kinds and {"ds", "di", "rdi"} & set(kinds[: kinds.index("admix")]),
                "admix mixes images that have not moved; name it before ds, di and rdi",
            ),
        ):
            if wrong:
                raise PydanticCustomError("attack", "{message}", {"message": message})
        return self

    @property
    def step_cost(self) -> float:
        """Mean forwards of a step, in native ones."""
        return step_cost(self.transforms, self.variance, self.loss)

    @property
    def steps_taken(self) -> int:
        """Of one start, without a budget: the loop ends with the last iterate that is kept."""
        return self.steps_at[-1] if self.steps_at else self.steps

    @property
    def variants(self) -> tuple[Variant, ...]:
        """What the attack makes of an image, in the order in which it is stored."""
        steps = self.steps_at or (self.steps,)
        marks = {"raw": "", "eps*sign": ":sign", "equal-rms": ":rms"}
        return tuple(
            Variant(self.name + (f":{step}" if self.steps_at else "") + marks[score], step, score)
            for step in steps
            for score in self.scores
        )

    def identity(self) -> dict[str, Any]:
        """Return all that changes the result of this attack, as canonical JSON values."""
        content = self.identity_fields(exclude={"name", "files"})
        if content["target"] is not None:
            del content["target"]["label_map"]
        if content["region"] is not None:
            del content["region"]["mask"]
        return content


def fields_of_preset(preset: str, budget: Any) -> dict[str, Any]:
    """The fields of a preset; under a budget those that do not depend on a number of steps.

    Few steps are then as long as it takes to reach the bound.
    """
    fields = dict(presets.PRESETS[preset].fields)
    if budget is None:
        return fields
    if fields["steps"] <= 1:
        raise PydanticCustomError(
            "budget",
            "preset '{preset}' has {steps} steps whatever the budget; leave the budget out",
            {"preset": preset, "steps": fields["steps"]},
        )
    del fields["steps"]
    return {**fields, "step_size": "eps/4 at least eps/steps"}
