"""The parts of an attack's spec: momentum, variance, smoothing, target, region, budget."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks.file_hash import with_hash
from segtransfer.tasks.schema import AnyPath, Frozen, Number

Class = Annotated[int, Field(ge=0, le=254)]
UnitInterval = Annotated[Number, Field(ge=0, le=1)]


class Momentum(Frozen):
    """m = mu * m + g / mean|g|, and the step follows m (MI-FGSM, Dong et al., CVPR 2018).

    ``nesterov``: the gradient is taken at x + step_size * mu * m (NI-FGSM, Lin et al., ICLR 2020).
    """

    mu: Annotated[Number, Field(ge=0, le=2)] = 1.0
    nesterov: bool = False


class Variance(Frozen):
    """g + v, v the last step's mean gradient over ``neighbours`` in x + U(-b eps, b eps) less its
    own gradient, b = ``bound`` (VT, Wang and He, CVPR 2021). A neighbour sees the same scales."""

    neighbours: Annotated[int, Field(ge=1, le=200)] = 20
    bound: Annotated[Number, Field(ge=0, le=10)] = 1.5


class Smoothing(Frozen):
    """The gradient convolved with a Gaussian (TI, Dong et al., CVPR 2019): ``kernel`` pixels
    wide, ``sigmas`` standard deviations from its centre to its edge."""

    kind: Literal["ti"] = "ti"
    kernel: Annotated[int, Field(ge=1, le=99)] = 15
    sigmas: Annotated[Number, Field(gt=0, le=10)] = 3.0

    @field_validator("kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise PydanticCustomError("kernel", "kernel must be odd, so that it has a centre", {})
        return value


class Target(Frozen):
    """Labels to reach, exactly one of: ``every`` labelled pixel becomes that class; ``classes``
    maps classes to classes, ``others`` keep their own label or do not count; ``label_map`` is a
    PNG of class indices on the images' grid, the same for every image, 255 where it is all one.
    ``sha256`` of the label map is filled in when the spec is read."""

    every: Class | None = None
    classes: dict[Class, Class] | None = None
    others: Literal["keep", "ignore"] = "keep"
    label_map: AnyPath | None = None
    sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _hash(cls, data: Any, info: ValidationInfo) -> Any:
        return with_hash(data, info, "label_map", "sha256", "file")

    @model_validator(mode="after")
    def _one(self) -> "Target":
        _exactly_one(self, "target", ("every", "classes", "label_map"))
        return self


class Region(Frozen):
    """Pixels that may be changed: those labelled as one of ``classes``, those inside ``box``
    (top, left, bottom, right as fractions of the image), those where ``mask`` (a grey or palette
    PNG on the images' grid, the same for every image) is not zero; of several given, those that
    are all of it. ``sha256`` of the mask is filled in when the spec is read."""

    classes: Annotated[tuple[Class, ...], Field(min_length=1)] | None = None
    box: tuple[UnitInterval, UnitInterval, UnitInterval, UnitInterval] | None = None
    mask: AnyPath | None = None
    sha256: str | None = None

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
    """A cost instead of a number of steps: ``forward_equivalents`` are forwards of the source at
    the image's own size, each with its backward, as counted on the model."""

    forward_equivalents: Annotated[Number, Field(gt=0, le=1e6)]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        return data if isinstance(data, dict | Budget) else {"forward_equivalents": data}


def read_smoothing(value: Any) -> Any:
    """Accept ``ti`` and ``{ti: {kernel: 7}}`` beside the full form."""
    if value == "ti":
        return {}
    if isinstance(value, dict) and list(value) == ["ti"]:
        return value["ti"] or {}
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
