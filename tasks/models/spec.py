"""Typed description of a model: which adapter, which weights, what it is called."""

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tasks.models.zoo import ZOO
from tasks.schema import AnyPath, Frozen, NameOrPath, suggest


class MmsegSource(Frozen):
    """An mmsegmentation model: a config file (or the name of one that mmseg ships) and weights.

    ``checkpoint`` is a .pth or .safetensors file, or a URL together with ``sha256``. A checkpoint
    that needs Python's unpickling of foreign classes is refused unless ``trust`` is true.
    """

    config: NameOrPath
    checkpoint: AnyPath
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    trust: bool = False


class TorchSource(Frozen):
    """An importable callable ``package.module:function`` that returns a torch module.

    The module takes RGB images in [0, 1] (N x 3 x H x W) and returns logits N x K x H x W; it owns
    its normalisation. ``arguments`` are passed by keyword.
    """

    callable: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    arguments: dict[str, Any] = Field(default_factory=dict)


class ModelSpec(Frozen):
    """One model under a name: exactly one of ``zoo``, ``mmseg`` and ``torch``.

    ``backbone`` groups models in the results (same backbone, other backbone) and is read from the
    config where it is not given; ``classes`` likewise, where the config or the weights name them.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=60)]
    zoo: str | None = None
    mmseg: MmsegSource | None = None
    torch: TorchSource | None = None
    backbone: str | None = None
    classes: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"zoo": data}
        if isinstance(data, dict) and isinstance(data.get("zoo"), str):
            if data["zoo"] not in ZOO:
                raise PydanticCustomError(
                    "zoo",
                    "unknown zoo model '{name}': {hint}",
                    {"name": data["zoo"], "hint": suggest(data["zoo"], ZOO)},
                )
            data = {"name": data["zoo"], **data}
        return data

    @model_validator(mode="after")
    def _one_adapter(self) -> "ModelSpec":
        given = [k for k in ("zoo", "mmseg", "torch") if getattr(self, k) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "adapter",
                "model '{name}' names {given}; give exactly one of zoo, mmseg, torch",
                {"name": self.name, "given": " and ".join(given) or "no adapter"},
            )
        return self
