"""The typed spec of an attack, from presets, YAML files and searches."""

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
from typing_extensions import override

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
from segtransfer.tasks.attacks.gradient_rules.base import AnyGradientRule
from segtransfer.tasks.attacks.loops.spec import Loop, with_preset
from segtransfer.tasks.attacks.losses import is_feature_loss, preparation_of
from segtransfer.tasks.attacks.preset_fields import (
    PRESET_KEYS,
    fields_of_preset,
    preset_schemas,
    read_schedule,
    unknown_preset,
)
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.resolve import (
    DEFAULTS,
    later_step_cost,
    misfit_of_loss,
    preparation_cost,
    read_loss,
    with_loss,
    with_step_size,
    with_steps,
)
from segtransfer.tasks.attacks.scoring import Scoring, mark_of, misfit_of_scores
from segtransfer.tasks.attacks.transforms import Transform
from segtransfer.tasks.attacks.worst_of import check_members, members_cost, with_members
from segtransfer.tasks.json_schema import NAMED_ENTRY, NULL, NUMBER, TEXT, JsonSchema, described
from segtransfer.tasks.registry import EntrySpec
from segtransfer.tasks.schema import (
    AnyPath,
    FilledIn,
    Frozen,
    Name,
    Number,
    PixelFraction,
    Text,
    Whole,
    added_later,
)


@dataclass(frozen=True)
class Variant:
    """A kind of image that an attack makes of each clean image.

    Attributes:
        name: The name in results: the attack's, with ``:step`` for ``steps_at`` and ``:sign``,
            ``:rms``, ``:rms@SCALE`` or ``:smooth`` for ``scores``.
        step: The number of steps taken.
        score: The form of the iterate when scored, of ``scores``.
    """

    name: str
    step: int
    score: str


class AttackSpec(Frozen):
    """An attack in pixel space, on RGB images in [0, 1].

    An image's result does not depend on its batch.

    Attributes:
        name: The name in results, of letters, digits, "_", "-" and "."; by default the preset's.
        norm: The norm of the bound: ``linf`` bounds every value by ``eps``; ``l2`` bounds the root
            mean square of the perturbation, so that eps is comparable across resolutions (the L2
            norm is eps * sqrt(3 H W)). Default ``linf``.
        eps: The bound, a fraction of the pixel range [0, 1], for example ``8/255``. Default 8/255.
        step_size: The length of a step, a fraction of the pixel range [0, 1]; or ``eps``, ``eps/4``
            or ``eps/steps``. Under l2 it is the root mean square of the step. Default 2/255; the
            presets set ``eps/4``.
        steps: The number of steps, 0 to 100,000. Without a step the AE is the start, and no source
            is needed. Default 20.
        budget: The cost per image in forward equivalents, in place of ``steps``. Default none.
        start: The first iterate x_0: ``clean``, the clean image, or ``uniform``, a uniform draw
            from the ball. Default ``clean``.
        transforms: The chain of input transforms, at most 8, first applied first. Default none.
        label_version: The resolution of the loss: ``logits`` resizes logits back to the labels'
            resolution, ``labels`` transforms the labels with the image. Default ``logits``.
        loss: The loss to maximise, the name of a shipped loss or ``package.module:function``; the
            mean over each image's labelled pixels. Default ``cross-entropy``.
        loss_sha256: The sha256 of the code of a user's loss, filled in when the spec is read; leave
            it out.
        layer: The module whose output a feature loss reads, by its name in the network. Default the
            backbone's middle stage, if the adapter knows the backbone.
        gradient: The rule in place of the loss's gradient in a step, a name or a mapping of a name
            to fields. Default none.
        momentum: Accumulation of the gradient over steps (MI, NI). Default none.
        variance: Variance tuning of the gradient (VT). Default none.
        smoothing: Convolution of the gradient with a Gaussian (TI). Default none.
        target: The labels to reach, for a targeted attack. Default none: the attack leaves the
            truth.
        region: The pixels to perturb. Default all.
        restarts: The number of runs, 1 to 1000; per image the run that fools the source most is
            kept. Default 1.
        steps_at: The steps whose iterates are kept, rising, from 1 to ``steps``. Default the last
            step alone.
        scores: The forms of an iterate that are scored: ``raw``; ``eps*sign``, every changed value
            pushed to the bound; ``equal-rms``, scaled to a root mean square of ``equal_rms`` * eps;
            ``equal-rms@SCALE``, the same after a resize by a scale from 0.25 to 4; ``smooth``,
            blurred, then scaled as ``equal-rms``. Default ``raw`` alone.
        equal_rms: The root mean square of ``equal-rms`` and ``smooth``, a fraction of eps in
            (0, 1]. Default 0.75.
        files: A folder of AEs made elsewhere, a PNG per image named by the image's id, in place of
            an attack. A path, relative to the spec's file. Default none.
        files_sha256: The sha256 of ``files``, filled in when the spec is read; leave it out.
        loop: The loop in place of sign steps, for example ``apgd``; ``steps`` counts its
            iterations. Default none.
        worst_of: Attacks of which the strongest is kept per image, by the source's scores alone;
            they share eps, norm, region, target and budget. Default none.
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
    loss_sha256: FilledIn = None
    layer: Text | None = None
    gradient: AnyGradientRule = added_later(None)
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
    files_sha256: FilledIn = None
    loop: Loop | None = added_later(None)
    worst_of: Annotated[tuple["AttackSpec", ...], Field(max_length=32)] = added_later(())

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any, info: ValidationInfo) -> Any:
        """Merge a preset with the fields given, then fill in fields derived from others."""
        if isinstance(data, str):
            data = {"preset": data}
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if data.get("files", "") is None and not {"files_sha256", "preset"} & data.keys():
            # Without files an attack of ours would be made. A stored attack has files_sha256.
            raise PydanticCustomError(
                "files", "files is null (YAML's ~); name a folder, or leave files out", {}
            )
        read_schedule(data)
        fields: dict[str, Any] = {}
        if "preset" in data:
            preset = data["preset"]
            known = isinstance(preset, str) and (preset in PRESETS or PRESETS.is_foreign(preset))
            if not known:
                return {"name": "unknown", **data}  # unknown_key reports the preset
            fields = {"name": preset.rpartition(":")[2], **fields_of_preset(data)}
            data = {name: value for name, value in data.items() if name not in PRESET_KEYS}
        data = with_preset(data, fields)
        if data.get("worst_of", "") in ([], ()) and "files_sha256" not in data:
            # Without members another attack would be made. A stored attack has files_sha256.
            raise PydanticCustomError(
                "worst_of", "worst_of is empty; name attacks, or leave worst_of out", {}
            )
        if data.get("worst_of"):
            return with_members(data, lambda raw: cls.model_validate(raw, context=info.context))
        if data.get("files") is not None:
            data = {"steps": 0, "step_size": 0.0, **data}
        data = with_loss(with_hash(data, info, "files", "files_sha256", "folder"))
        return with_step_size(with_steps(data))

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Return the JSON schema of the short form, a bare preset.

        Args:
            fields: The schema of the mapping, which gets the keys ``preset`` and ``schedule``; with
                a preset, no name is required.
        """
        properties = fields["properties"]
        properties.update(preset_schemas())
        properties["step_size"] = {"anyOf": [NUMBER, TEXT], **described(properties["step_size"])}
        fields["required"] = []
        fields["anyOf"] = [{"required": [field]} for field in ("preset", "name")]
        return [{"anyOf": properties["preset"]["anyOf"]}]

    @classmethod
    @override
    def keys_to_write(cls) -> list[str]:
        return [*PRESET_KEYS, *super().keys_to_write()]

    @classmethod
    def unknown_key(cls, key: str, value: Any) -> str:
        """Return the error of an unknown key or preset.

        Args:
            key: The key; ``preset`` if its value is no preset.
            value: The value under the key.
        """
        if key == "preset":
            return unknown_preset(value)
        return super().unknown_key(key, value)

    @model_validator(mode="after")
    def _steps_fit(self) -> "AttackSpec":
        for wrong, message in (
            (
                self.steps == 0 and self.files is None and not self._only_starts,
                "steps is 0, so no image would change; give steps, or, for random noise, start: "
                "uniform without transforms, gradient, momentum, variance, smoothing, target and "
                "layer",
            ),
            (
                self.steps_at and self.budget,
                "steps_at needs a number of steps, and a budget is given; give steps instead",
            ),
            (
                any(not 1 <= step <= self.steps for step in self.steps_at)
                or list(self.steps_at) != sorted(set(self.steps_at)),
                f"steps_at is {list(self.steps_at)}; give rising numbers from 1 to {self.steps}, "
                "the number of steps",
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
        moves = any(part and (part.moves or part.resizes) for part in typed)
        rule = _typed(self.gradient) if self.gradient else None
        moves = moves or (rule is not None and (rule.views or rule.for_ensembles))
        wrong_loss = misfit_of_loss(self, moves)
        wrong_scores = misfit_of_scores(self.scores, bool(self.region))
        for wrong, message in (
            (wrong_loss, wrong_loss),
            (
                self.restarts > 1
                and self.start == "clean"
                and self.variance is None
                and not any(part is None or part.draws for part in (*typed, *_drawing(self))),
                f"restarts is {self.restarts}, and all runs would be equal; give start: uniform, "
                "or a transform or gradient with random draws",
            ),
            (
                self.gradient and self.variance,
                "variance tunes the gradient of the loss, and gradient replaces it; leave one of "
                "them out",
            ),
            (wrong_scores, wrong_scores),
            (
                self.files
                and (self.steps, self.start, self.restarts, self.scores)
                != (0, "clean", 1, ("raw",)),
                "files holds finished AEs; leave steps, start, restarts and scores out",
            ),
            (len(set(kinds)) < len(kinds), f"transforms is {kinds}; give each transform once"),
            (
                any(part and part.moves for part in typed[:mixing]),
                f"transform {kinds[mixing] if kinds else ''} mixes images, so it must come before "
                f"transforms that move content; transforms is {kinds}",
            ),
        ):
            if wrong:
                raise PydanticCustomError("attack", "{message}", {"message": message})
        if self.loop is not None:
            self.loop.check(self)
        if self.worst_of:
            check_members(self)
        return self

    @property
    def _only_starts(self) -> bool:
        """Tell whether the attack is a random start, without fields of a step."""
        steps = (self.gradient, self.momentum, self.variance, self.smoothing, self.loop)
        parts = (*steps, self.target, self.layer)
        return self.start == "uniform" and not self.transforms and not any(parts)

    @property
    def own_sizes(self) -> bool:
        """Tell whether a loop or the members of ``worst_of`` set the lengths of steps."""
        return not self.step_size and bool(self.loop or self.worst_of)

    @property
    def step_cost(self) -> float:
        """Return the mean cost of a step, in forwards at native size.

        Returns:
            Copies times relative area times (gradients of the rule + neighbours), and the step's
            share of the cost before the first step; 1.0 for PGD. For a loop, the mean over its
            iterations of all costs of a run; for ``worst_of``, over all its steps.
        """
        if self.worst_of:
            return members_cost(self) / self.steps
        steps = max(self.steps_taken, 1)
        cost = later_step_cost(self)
        cost = self.loop.step_cost(cost, steps) if self.loop else cost
        return cost + preparation_cost(self) / steps

    @property
    def reads_features(self) -> bool:
        """Tell whether the loss reads features of a layer in place of logits and labels."""
        return is_feature_loss(self.loss, self.loss_sha256)

    @property
    def steps_taken(self) -> int:
        """Return the number of steps per restart without a budget: up to the last iterate kept."""
        return self.steps_at[-1] if self.steps_at else self.steps

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Return the kinds of images made of each clean image, in the order of storage.

        Returns:
            A variant per step in ``steps_at`` (or the last step) and per form in ``scores``.
        """
        steps = self.steps_at or (self.steps,)
        return tuple(
            Variant(self.name + (f":{step}" if self.steps_at else "") + mark_of(score), step, score)
            for step in steps
            for score in self.scores
        )

    def identity(self) -> dict[str, Any]:
        """Return the fields that determine the attack's result, as JSON values for keys.

        Returns:
            All fields but names and paths; files are represented by their sha256. Fields added
            later are left out while they have their default.
        """
        content = self.identity_fields(exclude={"name", "files"})
        if content["target"] is not None:
            del content["target"]["label_map"]
        if content["region"] is not None:
            del content["region"]["mask"]
        if self.worst_of:
            content["worst_of"] = [member.identity() for member in self.worst_of]
        return content


def _drawing(attack: AttackSpec) -> list[Any]:
    """Return the parts beside transforms that may draw: the rule, and the loss's preparation.

    Returns:
        Objects with the trait ``draws``; None for a part without its code.
    """
    prepared = preparation_of(attack.loss, attack.loss_sha256)
    parts = [] if attack.gradient is None else [_typed(attack.gradient)]
    return parts if prepared is None else [*parts, prepared]


def _typed(part: EntrySpec) -> Any:
    """Return a part as an object of its own class; None for a stored one without its code."""
    try:
        return part.typed()
    except InputError:
        return None
