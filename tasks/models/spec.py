"""The typed spec of a model: adapter, weights, name."""

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
from segtransfer.tasks.json_schema import TEXT, JsonSchema, described
from segtransfer.tasks.models.adapter_spec import Adapter
from segtransfer.tasks.models.defences import Defence
from segtransfer.tasks.models.inference import Inference
from segtransfer.tasks.models.zoo import ZOO
from segtransfer.tasks.schema import (
    AnyPath,
    Flag,
    Frozen,
    Name,
    NameOrPath,
    Number,
    Text,
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


def resolve_hub_name(value: Any, info: ValidationInfo) -> Any:
    """Make a folder beside the spec absolute; keep a name on the Hugging Face hub.

    Args:
        value: The raw value.
        info: The validation context with the folder of the spec's file.

    Returns:
        An absolute path; the value itself if it has the form of a hub name and is no folder.
    """
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
        "'{value}' is no name of a callable; {hint}",
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
        "unknown zoo model '{name}'; {hint}; write a model of your own as {own}",
        {"name": value, "hint": suggest(value, ZOO), "own": OWN_MODEL},
    )


class MmsegSource(Frozen):
    """An mmsegmentation model.

    Attributes:
        config: A config file, or the name of a config in the package mmseg.
        checkpoint: The weights: a .pth or .safetensors file, or an http(s) URL with ``sha256``.
        weights: ``mmseg``, in place of ``checkpoint``: the weights published in the metafile beside
            the config.
        sha256: The sha256 of the weights, 64 hex digits; required for the URL of a checkpoint.
        trust: Whether weights may unpickle foreign classes, which can run any code. Default false.
        classifier: Whether the weights are of the config's backbone and a linear head on its last
            features, averaged over the image: a model with a class per image. Default false.
    """

    config: NameOrPath
    checkpoint: AnyPath | None = None
    weights: Literal["mmseg"] | None = added_later(None)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    trust: Flag = False
    classifier: Flag = added_later(False)

    @model_validator(mode="after")
    def _has_weights(self) -> "MmsegSource":
        if self.classifier and self.checkpoint is None:
            raise PydanticCustomError(
                "weights",
                "mmseg publishes no weights of a classifier; give checkpoint, a file of the "
                "config's backbone with a linear head",
                {},
            )
        if (self.checkpoint is None) == (self.weights is None):
            raise PydanticCustomError(
                "weights",
                "{given}; give either checkpoint (a file, or a URL with sha256) or weights: mmseg "
                "(the published weights of the config)",
                {
                    "given": "an mmseg model needs weights"
                    if self.weights is None
                    else "checkpoint and weights exclude each other"
                },
            )
        return self


class TorchSource(Frozen):
    """An importable callable from keyword arguments to a torch module.

    The module takes RGB images, float32 N x 3 x H x W in [0, 1], and returns logits N x K x H x W,
    or N x K if the model is a classifier. It does its own normalisation. It has an attribute
    ``num_classes``, K, and optionally ``size_divisor``, the divisor of every height and width it
    takes.

    Attributes:
        callable: The name ``package.module:function``, importable on every node.
        arguments: Keyword arguments of the callable, JSON values. Default none.
        weights: A state dict to load into the module: a .pth or .safetensors file, or an http(s)
            URL with ``sha256``. Default none: the callable must build the same weights at each
            call, and the plan builds the module to identify it.
        sha256: The sha256 of ``weights``, 64 hex digits; required for a URL.
        classifier: Whether the model predicts a class per image: logits N x K. Default false.
    """

    callable: Annotated[Text, AfterValidator(_read_callable)]
    arguments: dict[Text, Any] = Field(default_factory=dict)
    weights: AnyPath | None = added_later(None)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = added_later(None)
    classifier: Flag = added_later(False)

    @field_validator("arguments")
    @classmethod
    def _are_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise PydanticCustomError(
                "arguments",
                "{error}; give finite numbers, text, booleans, null, lists and mappings",
                {"error": str(error)},
            ) from None
        return value

    @model_validator(mode="after")
    def _hash_has_a_file(self) -> "TorchSource":
        if self.sha256 is not None and self.weights is None:
            raise PydanticCustomError(
                "weights", "sha256 is given without weights; give torch.weights, too", {}
            )
        return self


class HuggingfaceSource(Frozen):
    """A semantic or universal segmentation model of transformers.

    Attributes:
        model: A folder written by save_pretrained, or a name on the Hugging Face hub.
        revision: A branch, tag or commit of the hub's model. Default ``main``.
        trust: Whether ``pytorch_model.bin``, whose unpickling can run any code, is read in the
            absence of safetensors. Default false.
    """

    model: Annotated[str, BeforeValidator(resolve_hub_name)]
    revision: Text | None = None
    trust: Flag = False


class EnsembleSpec(Frozen):
    """Several models as a single model, in the same actor.

    An evaluation scores the weighted mean of the logits. A member cannot be the name of another
    model of the experiment, nor an ensemble.

    Attributes:
        members: Two models or more, each a zoo name or a whole model.
        weights: A positive weight per member, scaled to sum 1. Default equal weights.
        average: The quantity averaged in an attack: ``logits``; ``gradients``, each divided by its
            mean magnitude; or ``loss``, hence raw gradients. Default ``logits``.
        own_scales: Whether each member's transforms are drawn separately; needs ``average``
            gradients or loss. Default false.
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
                "ensemble member '{name}' is an ensemble; list its members instead",
                {"name": nested[0]},
            )
        if self.weights is not None and len(self.weights) != len(self.members):
            raise PydanticCustomError(
                "weights",
                "ensemble has {weights} weights for {members} members; give a weight per member",
                {"weights": len(self.weights), "members": len(self.members)},
            )
        if not all(LEAST_WEIGHT <= weight < math.inf for weight in self.normalised_weights):
            raise PydanticCustomError(
                "weights",
                "ensemble weights {weights} are too large or too unequal for 32-bit numbers; give "
                "weights such as [2, 1]",
                {"weights": str(list(self.weights or ()))},
            )
        if self.own_scales and self.average == "logits":
            raise PydanticCustomError(
                "own_scales",
                "own_scales is true, and logits of different scales have no mean; set average to "
                "gradients or loss",
                {},
            )
        return self

    @property
    def normalised_weights(self) -> tuple[float, ...]:
        """Return a weight per member, scaled to sum 1."""
        weights = self.weights or (1.0,) * len(self.members)
        return tuple(weight / sum(weights) for weight in weights)


class ModelSpec(Frozen):
    """A model under a name: exactly one of zoo, mmseg, torch, huggingface, ensemble, adapter.

    ``ensemble: [a, b]`` is short for ``ensemble: {members: [a, b]}``, with ``weights``, ``average``
    and ``own_scales`` beside it. The default name of an ensemble is "a-and-b".

    Attributes:
        name: The name in results, at most 60 letters, digits, "_", "-" and "."; by default the
            zoo's.
        zoo: The name of a shipped model; `segtransfer models` lists them.
        mmseg: An mmsegmentation model: config and weights.
        torch: An importable callable from arguments to a torch module.
        huggingface: A model of transformers: a folder, or a name on the hub.
        ensemble: Several models as a single model, a list or a mapping.
        adapter: A model of a registered adapter, ``{module:Class: fields}``.
        backbone: The family of the backbone, by which results group models (same backbone, other
            backbone). Default read from the config;
            a `torch` model has its callable's name.
        classes: The class names by index. Default read from the config or the weights.
        inference: Whole or sliding inference, and its scale. Default as in the model's config.
        label_map: Maps each class of the model to a class of the data, or to null to drop the
            class. Default none: both have the same class list.
        defences: Defences at inference, the first applied to the image first. Default none.
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
    defences: tuple[Defence, ...] = added_later(())

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
        """Return the JSON schema of the short form, a bare zoo name.

        Args:
            fields: The schema of the mapping; zoo models and ensembles need no name, and
                ``ensemble`` may be a list, with its other fields beside it.
        """
        properties = fields["properties"]
        whole = properties["ensemble"]
        properties["ensemble"] = {"anyOf": [{"type": "array"}, whole], **described(whole)}
        for name in ("weights", "average", "own_scales"):
            properties[name] = {"description": f"As ensemble.{name}, if ensemble is a list."}
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
        of_members = ("classes", "inference", "label_map", "defences")
        wrong = [k for k in of_members if self.ensemble and getattr(self, k) not in (None, ())]
        if wrong:
            raise PydanticCustomError(
                "ensemble",
                "ensemble '{name}' has {wrong}; give {wrong} to the members",
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
