"""Typed description of an attack; what a preset, a YAML file and a search all produce."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from tasks.attacks import presets
from tasks.schema import Frozen, Number, read_number, suggest


class DynamicScaling(Frozen):
    """S_{r_t}: a fresh scale r_t ~ U(low, low + width) every step (arXiv 2111.11368).

    ``label_version`` says how labels follow the scaled image: ``logits`` resizes the logits back
    to the labels' resolution (bilinear), ``labels`` resizes the labels to the scaled image's
    resolution (nearest neighbour, 255 stays 255). The range is ours: the paper's is not known.
    """

    kind: Literal["ds"] = "ds"
    low: Annotated[Number, Field(gt=0, le=4)] = 0.5
    width: Annotated[Number, Field(ge=0, le=4)] = 1.0
    label_version: Literal["logits", "labels"] = "logits"


class Momentum(Frozen):
    """m = mu * m + g / mean|g|, and the step follows sign(m) (MI-FGSM, Dong et al. 2018)."""

    mu: Annotated[Number, Field(ge=0, le=2)] = 1.0


TRANSFORMS = {"ds": DynamicScaling}


def _read_transform(value: Any) -> Any:
    """Accept ``ds`` and ``{ds: {low: 0.75}}`` beside the full form."""
    if isinstance(value, str):
        value = {value: {}}
    if isinstance(value, dict) and "kind" not in value and len(value) == 1:
        kind, fields = next(iter(value.items()))
        if kind not in TRANSFORMS:
            raise PydanticCustomError(
                "transform",
                "unknown transform '{kind}': {hint}",
                {"kind": str(kind), "hint": suggest(str(kind), TRANSFORMS)},
            )
        value = {"kind": kind, **(fields or {})}
    return value


Transform = Annotated[DynamicScaling, BeforeValidator(_read_transform)]


class AttackSpec(Frozen):
    """One attack under an L-infinity bound, untargeted, in pixel space.

    ``eps`` and ``step_size`` are in [0, 1] and may be written ``8/255``; ``step_size`` may also be
    ``eps``, ``eps/4`` or ``eps/steps``. ``start`` is x_0: the clean image or clean + U(-eps, eps).
    Zero steps leave the start as it is and need no source. ``loss`` is averaged over the labelled
    pixels of each image, so no image's result depends on its batch. ``name`` is for people only.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    eps: Annotated[Number, Field(ge=0, le=1)] = 8 / 255
    step_size: Annotated[Number, Field(ge=0, le=1)] = 2 / 255
    steps: Annotated[int, Field(ge=0, le=100_000)] = 20
    start: Literal["clean", "uniform"] = "clean"
    transforms: Annotated[tuple[Transform, ...], Field(max_length=1)] = ()
    loss: Literal["cross-entropy", "masked-cross-entropy"] = "cross-entropy"
    momentum: Momentum | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        """Merge a preset with the fields that were given, then resolve a relative step size."""
        if isinstance(data, str):
            data = {"preset": data}
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if "preset" in data:
            preset = data.pop("preset")
            if preset not in presets.PRESETS:
                raise PydanticCustomError(
                    "preset",
                    "unknown preset '{preset}': {hint}",
                    {"preset": str(preset), "hint": suggest(str(preset), presets.PRESETS)},
                )
            data = {"name": preset, **presets.PRESETS[preset].fields, **data}
        return _with_step_size(data)

    def identity(self) -> dict[str, Any]:
        """All that changes the result of this attack, as canonical JSON values."""
        return self.model_dump(mode="json", exclude={"name"})


def _with_step_size(data: dict[str, Any]) -> dict[str, Any]:
    """Replace ``eps``, ``eps/4`` and ``eps/steps`` by the number they mean."""
    text = data.get("step_size")
    if not isinstance(text, str) or not text.replace(" ", "").startswith("eps"):
        return data
    form = re.fullmatch(r"eps(?:/(steps|[0-9.]+))?", text.replace(" ", ""))
    eps = read_number(data.get("eps", AttackSpec.model_fields["eps"].default))
    steps: Any = data.get("steps", AttackSpec.model_fields["steps"].default)
    try:
        divisor = form[1] or "1" if form else "0"
        step_size = float(eps) / (max(float(steps), 1) if divisor == "steps" else float(divisor))
    except (TypeError, ValueError, ZeroDivisionError):
        raise PydanticCustomError(
            "step_size",
            "'{value}' is not a step size; write 2/255, 0.01, eps, eps/4 or eps/steps",
            {"value": text},
        ) from None
    return {**data, "step_size": step_size}
