"""The typed spec of an attack, which presets, YAML files and searches all produce."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import (
    Budget,
    Momentum,
    Region,
    Smoothing,
    Target,
    Variance,
    read_smoothing,
)
from segtransfer.tasks.attacks.file_hash import with_hash
from segtransfer.tasks.attacks.losses import is_feature_loss
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.resolve import (
    DEFAULTS,
    read_loss,
    step_cost,
    with_loss,
    with_step_size,
    with_steps,
)
from segtransfer.tasks.attacks.transforms import Transform
from segtransfer.tasks.json_schema import NAMED_ENTRY, NULL, NUMBER, TEXT, JsonSchema, described
from segtransfer.tasks.schema import (
    AnyPath,
    Frozen,
    Name,
    Number,
    PixelFraction,
    Text,
    Whole,
    shorten,
    suggest,
)

Scoring = Literal["raw", "eps*sign", "equal-rms"]


@dataclass(frozen=True)
class Variant:
    """One of the images that an attack makes of each clean image.

    Attributes:
        name: The name in results.
        step: The number of steps taken.
        score: The form in which the iterate is scored.
    """

    name: str
    step: int
    score: str


class AttackSpec(Frozen):
    """One attack in pixel space.

    No image's result depends on its batch.

    Attributes:
        name: For people only.
        norm: ``linf`` bounds every value by ``eps``; ``l2`` bounds the root mean square of the
            perturbation, so that one eps means the same at any resolution (the L2 norm is eps *
            sqrt(3 H W)).
        eps: The bound, in [0, 1]; may be written ``8/255``.
        step_size: In [0, 1]; may also be ``eps``, ``eps/4`` or ``eps/steps``. Under l2 it is the
            root mean square of the step.
        steps: The number of steps; zero steps leave the start as it is and need no source.
        budget: A cost from which ``steps`` follows.
        start: x_0, the clean image or a uniform draw from the ball.
        transforms: The chain of input transforms.
        label_version: How labels follow a transform: ``logits`` go back to the labels' resolution,
            or ``labels`` go with the image.
        loss: A name or ``package.module:function``, averaged over each image's labelled pixels.
        loss_sha256: The hash of the file of a user's loss, filled in when the spec is read.
        layer: The module whose output a feature loss reads, by default the backbone's middle stage
            if the adapter knows it.
        momentum: Accumulation of the gradient.
        variance: Variance tuning of the gradient.
        smoothing: A convolution of the gradient.
        target: Labels to reach instead of the truth to leave.
        region: Pixels that may be changed.
        restarts: The number of runs; per image the run that fools the source most is kept.
        steps_at: Keeps these iterates instead of the last.
        scores: The forms in which an iterate is scored: raw, pushed to eps * sign, or scaled to a
            root mean square of ``equal_rms`` * eps.
        equal_rms: The root mean square of ``equal-rms``, relative to eps.
        files: A folder of AEs made elsewhere, a PNG per image named by its id, scored like ours.
            Nothing is attacked then.
        files_sha256: The hash of the folder, filled in when the spec is read.
    """

    name: Name
    norm: Literal["linf", "l2"] = "linf"
    eps: PixelFraction = DEFAULTS["eps"]
    step_size: PixelFraction = 2 / 255
    steps: Annotated[Whole, Field(ge=0, le=100_000)] = int(DEFAULTS["steps"])
    budget: Budget | None = None
    start: Literal["clean", "uniform"] = "clean"
    transforms: Annotated[tuple[Transform, ...], Field(max_length=8)] = ()
    label_version: Literal["logits", "labels"] = "logits"
    loss: Annotated[Text, AfterValidator(read_loss)] = "cross-entropy"
    loss_sha256: Text | None = None
    layer: Text | None = None
    momentum: Momentum | None = None
    variance: Variance | None = None
    smoothing: Annotated[
        Smoothing | None,
        BeforeValidator(read_smoothing),
        WithJsonSchema({"anyOf": [NAMED_ENTRY, NULL]}),
    ] = None
    target: Target | None = None
    region: Region | None = None
    restarts: Annotated[Whole, Field(ge=1, le=1000)] = 1
    steps_at: Annotated[tuple[Whole, ...], Field(max_length=1000)] = ()
    scores: Annotated[tuple[Scoring, ...], Field(min_length=1)] = ("raw",)
    equal_rms: Annotated[Number, Field(gt=0, le=1)] = 0.75
    files: AnyPath | None = None
    files_sha256: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any, info: ValidationInfo) -> Any:
        """Merge a preset with the fields given, then resolve what depends on other fields."""
        if isinstance(data, str):
            data = {"preset": data}
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if data.get("files", "") is None and not {"files_sha256", "preset"} & data.keys():
            # Without files an attack of ours would be made. A stored attack has files_sha256.
            raise PydanticCustomError(
                "files", "files is null (~ is YAML's null); name a folder, or leave it out", {}
            )
        if "preset" in data:
            preset = data["preset"]
            known = isinstance(preset, str) and (preset in PRESETS or PRESETS.is_foreign(preset))
            if not known:
                return {"name": "unknown", **data}  # the key is refused, and the rest validated
            del data["preset"]
            name, fields = preset.rpartition(":")[2], fields_of_preset(preset, data.get("budget"))
            data = {"name": name, **fields, **data}
        if data.get("files") is not None:
            data = {"steps": 0, "step_size": 0.0, **data}
        data = with_loss(with_hash(data, info, "files", "files_sha256", "folder"))
        return with_step_size(with_steps(data))

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Return the form of a bare preset; the mapping may name a preset, and then no name."""
        preset = {"anyOf": [{"enum": PRESETS.names()}, TEXT | {"pattern": ":"}]}
        properties = fields["properties"]
        properties["preset"] = preset | {
            "description": "The preset whose fields are the defaults; its name is the default name."
        }
        properties["step_size"] = {"anyOf": [NUMBER, TEXT], **described(properties["step_size"])}
        fields["required"] = []
        fields["anyOf"] = [{"required": [field]} for field in ("preset", "name")]
        return [preset]

    @classmethod
    def unknown_key(cls, key: str, value: Any) -> str:
        """Return the sentence about an unknown key, or about an unknown preset."""
        if key == "preset":
            hint = suggest(str(value), PRESETS.names())
            own = "your own is package.module:attribute"
            return f"unknown preset '{shorten(str(value))}': {hint}; {own}"
        return super().unknown_key(key, value)

    @model_validator(mode="after")
    def _steps_fit(self) -> "AttackSpec":
        for wrong, message in (
            (
                self.steps == 0 and self.files is None and not self._only_starts,
                "steps is 0, so nothing is attacked; give steps, or start: uniform without "
                "fields of a step, which is noise",
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
        ):
            if wrong:
                raise PydanticCustomError("steps", "{message}", {"message": message})
        return self

    @model_validator(mode="after")
    def _fields_fit(self) -> "AttackSpec":
        kinds = [transform.kind for transform in self.transforms]
        typed = [_typed(transform) for transform in self.transforms]
        mixing = next((place for place, part in enumerate(typed) if part and part.mixes), 0)
        for wrong, message in (
            (
                self.layer and not self.reads_features,
                f"layer is for losses of features such as fspgd; loss '{self.loss}' reads none",
            ),
            (
                self.target and self.reads_features,
                f"loss '{self.loss}' reads no label, so it has no target",
            ),
            (
                self.restarts > 1
                and self.start == "clean"
                and self.variance is None
                and not any(part is None or part.draws for part in typed),
                "restarts would all be the same; give start: uniform, or a transform that draws",
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
                any(part and part.moves for part in typed[:mixing]),
                f"{kinds[mixing] if kinds else ''} mixes images that have not moved; name it "
                "before transforms that move them",
            ),
        ):
            if wrong:
                raise PydanticCustomError("attack", "{message}", {"message": message})
        return self

    @property
    def _only_starts(self) -> bool:
        """Tell whether the attack is its random start, and has no field that needs a step."""
        parts = (self.momentum, self.variance, self.smoothing, self.target, self.layer)
        return self.start == "uniform" and not self.transforms and not any(parts)

    @property
    def step_cost(self) -> float:
        """Return the mean cost of one step, in forwards at native size."""
        return step_cost(self.transforms, self.variance, reads_clean=self.reads_features)

    @property
    def reads_features(self) -> bool:
        """Tell whether the loss reads features of a layer, not logits."""
        return is_feature_loss(self.loss, self.loss_sha256)

    @property
    def steps_taken(self) -> int:
        """Return the steps per start if there is no budget: up to the last iterate kept."""
        return self.steps_at[-1] if self.steps_at else self.steps

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Return what the attack makes of each clean image, in the order of storage."""
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


def _typed(transform: Transform) -> Any:
    """Return a transform as an object of its own class; None for a stored one without its code."""
    try:
        return transform.typed()
    except InputError:
        return None


def fields_of_preset(preset: str, budget: Any) -> dict[str, Any]:
    """Return the fields of a preset.

    Args:
        preset: The name of the preset.
        budget: The raw budget, or None. Under a budget ``steps`` is left out, and few steps become
            as long as it takes to reach the bound.

    Raises:
        PydanticCustomError: If the preset is unknown, or if there is a budget and the preset has a
            fixed number of steps.
    """
    try:
        fields = dict(PRESETS.find(preset).fields)
    except InputError as error:
        raise PydanticCustomError("preset", "{error}", {"error": str(error)}) from None
    if "preset" in fields:
        raise PydanticCustomError(
            "preset",
            "preset '{preset}' names preset '{other}'; give its fields instead",
            {"preset": preset, "other": str(fields["preset"])},
        )
    if budget is None:
        return fields
    if fields.get("steps") in (0, 1):
        raise PydanticCustomError(
            "budget",
            "preset '{preset}' has {steps} steps whatever the budget; leave the budget out",
            {"preset": preset, "steps": fields["steps"]},
        )
    fields.pop("steps", None)
    return {**fields, "step_size": "eps/4 at least eps/steps"}
