"""The parts of an attack's spec: momentum, variance, smoothing, target, region, budget."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks.file_hash import with_hash
from segtransfer.tasks.json_schema import NUMBER_OR_FRACTION, JsonSchema
from segtransfer.tasks.schema import AnyPath, Flag, Frozen, Number, Text, Whole


def _from_json_key(value: Any) -> Any:
    """Read the digits of a mapping's key, which is text in every stored spec."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,3}", value) else value


Class = Annotated[Whole, Field(ge=0, le=254)]
ClassKey = Annotated[Class, BeforeValidator(_from_json_key)]
UnitInterval = Annotated[Number, Field(ge=0, le=1)]


class Momentum(Frozen):
    """m = mu * m + g / mean|g|, and the step follows m (MI-FGSM, Dong et al., CVPR 2018).

    Attributes:
        mu: The decay factor.
        nesterov: Whether the gradient is taken at x + step_size * mu * m (NI-FGSM, Lin et al., ICLR
            2020).
    """

    mu: Annotated[Number, Field(ge=0, le=2)] = 1.0
    nesterov: Flag = False


class Variance(Frozen):
    """g + v, v the previous step's gradient variance (VT, Wang and He, CVPR 2021).

    v is the mean gradient over ``neighbours`` points in x + U(-b eps, b eps), less the gradient at
    x. A neighbour gets the same scales as x.

    Attributes:
        neighbours: The number of points.
        bound: b, relative to eps.
    """

    neighbours: Annotated[Whole, Field(ge=1, le=200)] = 20
    bound: Annotated[Number, Field(ge=0, le=10)] = 1.5


class Smoothing(Frozen):
    """The gradient convolved with a Gaussian (TI, Dong et al., CVPR 2019).

    Attributes:
        kernel: The width in pixels, odd.
        sigmas: The number of standard deviations from the kernel's centre to its edge.
    """

    kind: Literal["ti"] = "ti"
    kernel: Annotated[Whole, Field(ge=1, le=99)] = 15
    sigmas: Annotated[Number, Field(gt=0, le=10)] = 3.0

    @field_validator("kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise PydanticCustomError("kernel", "kernel must be odd, so that it has a centre", {})
        return value


class Target(Frozen):
    """Labels to reach, given by exactly one of ``every``, ``classes`` and ``label_map``.

    Attributes:
        every: The class that every labelled pixel is to become.
        classes: Maps a class to the class that its pixels are to become.
        others: Whether pixels of other classes ``keep`` their label or are ignored.
        label_map: A PNG of class indices on the images' grid, the same for every image; 255 is
            ignored.
        sha256: The hash of the label map, filled in when the spec is read.
    """

    every: Class | None = None
    classes: dict[ClassKey, Class] | None = None
    others: Literal["keep", "ignore"] = "keep"
    label_map: AnyPath | None = None
    sha256: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _hash(cls, data: Any, info: ValidationInfo) -> Any:
        return with_hash(data, info, "label_map", "sha256", "file")

    @model_validator(mode="after")
    def _one(self) -> "Target":
        _exactly_one(self, "target", ("every", "classes", "label_map"))
        return self


class Region(Frozen):
    """Pixels that may be changed; of several conditions given, pixels that meet all.

    Attributes:
        classes: Pixels labelled as one of these classes.
        box: Pixels inside top, left, bottom, right, as fractions of the image.
        mask: Pixels that are not zero in a grey or palette PNG on the images' grid, the same for
            every image.
        sha256: The hash of the mask, filled in when the spec is read.
    """

    classes: Annotated[tuple[Class, ...], Field(min_length=1)] | None = None
    box: tuple[UnitInterval, UnitInterval, UnitInterval, UnitInterval] | None = None
    mask: AnyPath | None = None
    sha256: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _hash(cls, data: Any, info: ValidationInfo) -> Any:
        return with_hash(data, info, "mask", "sha256", "file")

    @model_validator(mode="after")
    def _some(self) -> "Region":
        if self.classes is None and self.box is None and self.mask is None:
            raise PydanticCustomError(
                "region", "region names no pixel; give classes, box or mask", {}
            )
        if self.box is not None and (self.box[0] >= self.box[2] or self.box[1] >= self.box[3]):
            raise PydanticCustomError(
                "box", "box is empty; give top, left, bottom, right with top < bottom", {}
            )
        return self


class Budget(Frozen):
    """A cost instead of a number of steps.

    Attributes:
        forward_equivalents: Forwards of the source at the image's native size, each with its
            backward, as counted on the model.
    """

    forward_equivalents: Annotated[Number, Field(gt=0, le=1e6)]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        return data if isinstance(data, dict | Budget) else {"forward_equivalents": data}

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Return the form of a bare number of forward equivalents."""
        return [NUMBER_OR_FRACTION]


def read_smoothing(value: Any) -> Any:
    """Accept ``ti`` and ``{ti: {kernel: 7}}`` beside the full form."""
    if value == "ti":
        return {}
    if isinstance(value, dict) and list(value) == ["ti"]:
        return {} if value["ti"] is None else value["ti"]
    return value


def _exactly_one(spec: Frozen, what: str, fields: tuple[str, ...]) -> None:
    given = [name for name in fields if getattr(spec, name) is not None]
    if len(given) != 1:
        raise PydanticCustomError(
            "one",
            "{what} names {given}; give exactly one of {fields}",
            {
                "what": what,
                "given": " and ".join(given) or "nothing",
                "fields": ", ".join(fields),
            },
        )
