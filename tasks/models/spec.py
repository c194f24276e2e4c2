"""The typed spec of a model: its adapter, its weights, its name."""

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from segtransfer.tasks.data.names import ClassName
from segtransfer.tasks.json_schema import TEXT, JsonSchema
from segtransfer.tasks.models.adapter_spec import Adapter
from segtransfer.tasks.models.zoo import ZOO
from segtransfer.tasks.schema import (
    AnyPath,
    Flag,
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

KINDS_OF_MODEL = ("zoo", "mmseg", "torch", "huggingface", "ensemble", "adapter")
OWN_MODEL = (
    "{name: ..., mmseg: {config: ..., checkpoint: ...}}, "
    "{name: ..., torch: {callable: module:function}} or {name: ..., huggingface: {model: ...}}"
)
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
LEAST_WEIGHT = 2.0**-126  # of a normalised weight: the least normal float32
Sides = tuple[Annotated[Whole, Field(ge=1)], Annotated[Whole, Field(ge=1)]]


def resolve_hub_name(value: Any, info: ValidationInfo) -> Any:
    """Make a folder beside the spec absolute; a value that can be a name on the hub stays."""
    path = resolve_path(value, info)
    if isinstance(value, str) and HUB_NAME.fullmatch(value) and not Path(path).is_dir():
        return value
    return path


def _read_callable(value: str) -> str:
    if re.fullmatch(r"\w+(\.\w+)*:\w+", value):
        return value
    module, _, name = value.rpartition(".")
    dotted = module and ":" not in value
    raise PydanticCustomError(
        "callable",
        "'{value}' is not a callable; {hint}",
        {
            "value": value,
            "hint": f"did you mean {module}:{name}?" if dotted else "write package.module:function",
        },
    )


def _read_zoo_name(value: str) -> str:
    if value in ZOO:
        return value
    raise PydanticCustomError(
        "zoo",
        "unknown zoo model '{name}': {hint}; a model of your own is {own}",
        {"name": value, "hint": suggest(value, ZOO), "own": OWN_MODEL},
    )


class MmsegSource(Frozen):
    """An mmsegmentation model.

    Attributes:
        config: A config file, or the name of a config that mmseg ships.
        checkpoint: A .pth or .safetensors file, or a URL.
        weights: ``mmseg`` in place of a checkpoint, for the weights that the metafile beside the
            config publishes.
        sha256: The hash of the weights; required for the URL of a checkpoint.
        trust: Whether weights that need unpickling of foreign classes are read.
    """

    config: NameOrPath
    checkpoint: AnyPath | None = None
    weights: Literal["mmseg"] | None = added_later(None)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    trust: Flag = False

    @model_validator(mode="after")
    def _has_weights(self) -> "MmsegSource":
        if (self.checkpoint is None) == (self.weights is None):
            raise PydanticCustomError(
                "weights",
                "an mmseg model needs either checkpoint (a file, or a URL with sha256) or weights: "
                "mmseg, which takes the published weights of the config; give one of them",
                {},
            )
        return self


class TorchSource(Frozen):
    """An importable callable that returns a torch module.

    The module takes RGB images in [0, 1] (N x 3 x H x W) and returns logits N x K x H x W. It owns
    its normalisation.

    Attributes:
        callable: ``package.module:function``.
        arguments: Keyword arguments of the callable.
        weights: A state dict (.pth or .safetensors, or a URL) to load into the module. Without
            it, the module is built when the plan is made, and its own state is its identity.
        sha256: The hash of ``weights``; required for a URL.
    """

    callable: Annotated[Text, AfterValidator(_read_callable)]
    arguments: dict[Text, Any] = Field(default_factory=dict)
    weights: AnyPath | None = added_later(None)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = added_later(None)

    @field_validator("arguments")
    @classmethod
    def _are_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise PydanticCustomError(
                "arguments",
                "arguments are finite numbers, text, booleans, null, lists and mappings of these: "
                "{error}",
                {"error": str(error)},
            ) from None
        return value

    @model_validator(mode="after")
    def _hash_has_a_file(self) -> "TorchSource":
        if self.sha256 is not None and self.weights is None:
            raise PydanticCustomError(
                "weights", "torch.sha256 is the hash of torch.weights; give weights, too", {}
            )
        return self


class HuggingfaceSource(Frozen):
    """A semantic or universal segmentation model of transformers.

    Attributes:
        model: A folder, or a name on the hub.
        revision: A branch, tag or commit of the hub.
        trust: Whether a ``pytorch_model.bin``, which needs unpickling, is read if there are no
            safetensors.
    """

    model: Annotated[str, BeforeValidator(resolve_hub_name)]
    revision: Text | None = None
    trust: Flag = False


class Inference(Frozen):
    """How a network processes an image.

    Attributes:
        mode: ``whole``, or ``slide`` for windows.
        crop: Height and width of a window in pixels, with ``slide``.
        stride: Rows and columns from one window to the next, with ``slide``; at most ``crop``.
        scale: With ``whole``, the factor by which the image is resized, to sizes that the size
            divisor divides.
    """

    mode: Literal["whole", "slide"]
    crop: Sides | None = None
    stride: Sides | None = None
    scale: Annotated[Number, Field(gt=0, le=4)] = 1.0

    @model_validator(mode="after")
    def _windows_fit(self) -> "Inference":
        given = [k for k in ("crop", "stride") if getattr(self, k) is not None]
        if self.mode == "whole" and given:
            raise PydanticCustomError(
                "inference",
                "inference of mode whole takes no {given}; leave it out, or set mode: slide",
                {"given": " and no ".join(given)},
            )
        if self.mode == "slide" and len(given) < 2:
            raise PydanticCustomError(
                "inference", "inference of mode slide needs crop and stride (height, width)", {}
            )
        if self.mode == "slide" and self.scale != 1:
            raise PydanticCustomError(
                "inference",
                "inference.scale {scale} belongs to mode whole: windows slide over the image as it "
                "is; leave scale out, or set mode: whole",
                {"scale": f"{self.scale:g}"},
            )
        if self.window and any(s > c for c, s in zip(*self.window, strict=True)):
            raise PydanticCustomError(
                "inference",
                "inference.stride {stride} exceeds inference.crop {crop}, so pixels would be left "
                "out; give a stride of at most the crop",
                {"stride": str(list(self.window[1])), "crop": str(list(self.window[0]))},
            )
        return self

    @property
    def window(self) -> tuple[Sides, Sides] | None:
        """Return crop and stride of sliding windows, None if the image is processed whole."""
        return (self.crop, self.stride) if self.crop and self.stride else None


class EnsembleSpec(Frozen):
    """Several models that one actor holds.

    An evaluation always scores the mean of the logits. A member cannot be another model of the
    experiment by its name, nor an ensemble.

    Attributes:
        members: Zoo names, or whole models written out.
        weights: Relative weights, by default equal.
        average: An attack differentiates the mean of the ``logits``, or averages the members'
            ``gradients`` (each divided by its mean magnitude) or ``loss`` (raw gradients).
        own_scales: Whether each member's transforms are drawn separately.
    """

    members: Annotated[tuple["ModelSpec", ...], Field(min_length=2)]
    weights: tuple[Annotated[Number, Field(gt=0)], ...] | None = None
    average: Literal["logits", "gradients", "loss"] = "logits"
    own_scales: Flag = False

    @model_validator(mode="after")
    def _fits(self) -> "EnsembleSpec":
        nested = [member.name for member in self.members if member.ensemble is not None]
        if nested:
            raise PydanticCustomError(
                "nested",
                "ensemble member '{name}' is an ensemble itself; list its members instead",
                {"name": nested[0]},
            )
        if self.weights is not None and len(self.weights) != len(self.members):
            raise PydanticCustomError(
                "weights",
                "ensemble has {weights} weights for {members} members; give one a member",
                {"weights": len(self.weights), "members": len(self.members)},
            )
        if not all(LEAST_WEIGHT <= weight < math.inf for weight in self.normalised_weights):
            raise PydanticCustomError(
                "weights",
                "ensemble weights {weights} are too far apart or too large for 32-bit numbers; "
                "give weights such as [2, 1]",
                {"weights": str(list(self.weights or ()))},
            )
        if self.own_scales and self.average == "logits":
            raise PydanticCustomError(
                "own_scales",
                "own_scales needs average: gradients or loss; logits of differently scaled images "
                "cannot be averaged",
                {},
            )
        return self

    @property
    def normalised_weights(self) -> tuple[float, ...]:
        """Return the weights, scaled to sum to one."""
        weights = self.weights or (1.0,) * len(self.members)
        return tuple(weight / sum(weights) for weight in weights)


class ModelSpec(Frozen):
    """One model under a name: one of zoo, mmseg, torch, huggingface, ensemble and adapter.

    ``ensemble: [a, b]`` is short for ``ensemble: {members: [a, b]}``, with ``weights``, ``average``
    and ``own_scales`` beside it; its default name is "a-and-b".

    Attributes:
        name: The name in results.
        zoo: The name of a model that ships.
        mmseg: An mmsegmentation model.
        torch: An importable callable.
        huggingface: A model of transformers.
        ensemble: Several models in one.
        adapter: A model that a registered adapter loads, ``{module:Class: fields}``.
        backbone: Groups models in results (same backbone, other backbone); by default read from the
            config.
        classes: The class names by index; by default read from the config or the weights.
        inference: By default the model's own config.
        label_map: Maps each class of the model to a class of the data, or to null, which drops it.
    """

    name: Annotated[Name, Field(max_length=60)]
    zoo: Annotated[Text, AfterValidator(_read_zoo_name)] | None = None
    mmseg: MmsegSource | None = None
    torch: TorchSource | None = None
    huggingface: HuggingfaceSource | None = None
    ensemble: EnsembleSpec | None = None
    adapter: Adapter | None = added_later(None)
    backbone: Text | None = None
    classes: tuple[ClassName, ...] | None = None
    inference: Inference | None = None
    label_map: dict[ClassName, ClassName | None] | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"zoo": data}
        if isinstance(data, dict) and isinstance(data.get("zoo"), str):
            data = {"name": data["zoo"], **data}
        if isinstance(data, dict) and isinstance(data.get("ensemble"), list | tuple):
            beside = {k: v for k, v in data.items() if k in EnsembleSpec.model_fields}
            data = {k: v for k, v in data.items() if k not in beside}
            data["ensemble"] = {"members": data["ensemble"], **beside}
        if isinstance(data, dict) and isinstance(data.get("ensemble"), dict):
            members = data["ensemble"].get("members")
            names = [_name_of(m) for m in members] if isinstance(members, list | tuple) else []
            if names and all(names):
                data = {"name": "-and-".join(names)[:60], **data}
        return data

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Return the form of a bare zoo name; zoo models and ensembles need no name."""
        properties = fields["properties"]
        properties["ensemble"] = {"anyOf": [{"type": "array"}, properties["ensemble"]]}
        for name in ("weights", "average", "own_scales"):
            properties[name] = {"description": f"As ensemble.{name}, beside a list of members."}
        fields["required"] = []
        fields["anyOf"] = [{"required": [field]} for field in ("name", "zoo", "ensemble")]
        return [TEXT]

    @model_validator(mode="after")
    def _one_adapter(self) -> "ModelSpec":
        given = [k for k in KINDS_OF_MODEL if getattr(self, k) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "adapter",
                "model '{name}' names {given}; give exactly one of {allowed}",
                {
                    "name": self.name,
                    "given": " and ".join(given) or "no adapter",
                    "allowed": ", ".join(KINDS_OF_MODEL),
                },
            )
        of_members = ("classes", "inference", "label_map")
        wrong = [k for k in of_members if self.ensemble and getattr(self, k) is not None]
        if wrong:
            raise PydanticCustomError(
                "ensemble",
                "ensemble '{name}' has {wrong}; give it to the members",
                {"name": self.name, "wrong": " and ".join(wrong)},
            )
        return self


def _name_of(member: Any) -> str:
    """Return the name of a model as written, empty if it has none."""
    if isinstance(member, ModelSpec):
        return member.name
    if isinstance(member, dict):
        member = member.get("name") or member.get("zoo")
    return member if isinstance(member, str) else ""
