"""The parts of an attack's spec: momentum, variance, smoothing, target, region, budget."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks.file_hash import with_hash
from segtransfer.tasks.json_schema import NUMBER_OR_FRACTION, JsonSchema
from segtransfer.tasks.schema import AnyPath, FilledIn, Flag, Frozen, Number, Whole


def _from_json_key(value: Any) -> Any:
    """Read the digits of a mapping's key, which is text in every stored spec."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,3}", value) else value


Class = Annotated[Whole, Field(ge=0, le=254)]
ClassKey = Annotated[Class, BeforeValidator(_from_json_key)]
UnitInterval = Annotated[Number, Field(ge=0, le=1)]


class Momentum(Frozen):
    """m = mu * m + g / mean|g|, and the step follows m (MI-FGSM, Dong et al., CVPR 2018).

    mean|g| is the mean over the values of each image.

    Attributes:
        mu: The decay factor, in [0, 2]. Default 1.
        nesterov: Whether the gradient is taken at x + step_size * mu * m (NI-FGSM, Lin et al., ICLR
            2020). Default false.
    """

    mu: Annotated[Number, Field(ge=0, le=2)] = 1.0
    nesterov: Flag = False


class Variance(Frozen):
    """g + v, v the previous step's gradient variance (VT, Wang and He, CVPR 2021).

    v is the mean gradient over points in x + U(-b eps, b eps), less the gradient at x. A neighbour
    gets the same scales as x.

    Attributes:
        neighbours: The number of points, each a gradient per step, 1 to 200. Default 20.
        bound: The radius b of the neighbourhood, in multiples of eps, in [0, 10]. Default 1.5.
    """

    neighbours: Annotated[Whole, Field(ge=1, le=200)] = 20
    bound: Annotated[Number, Field(ge=0, le=10)] = 1.5


class Smoothing(Frozen):
    """The gradient convolved with a Gaussian (TI, Dong et al., CVPR 2019).

    Attributes:
        kind: The name, ``ti``.
        kernel: The width of the kernel in pixels, odd, 1 to 99. Default 15.
        sigmas: The number of standard deviations from the kernel's centre to its edge, in (0, 10].
            Default 3.
    """

    kind: Literal["ti"] = "ti"
    kernel: Annotated[Whole, Field(ge=1, le=99)] = 15
    sigmas: Annotated[Number, Field(gt=0, le=10)] = 3.0

    @field_validator("kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise PydanticCustomError(
                "kernel",
                "the kernel needs a centre pixel, so its width is odd; give {less} or {more}",
                {"less": value - 1, "more": value + 1},
            )
        return value


class Target(Frozen):
    """Labels to reach, given by exactly one of ``every``, ``classes`` and ``label_map``.

    Attributes:
        every: The class to reach at every labelled pixel, an index from 0 to 254.
        classes: Maps a true class to the class to reach at its pixels, both indices from 0 to 254.
        others: The target of pixels whose class is not in ``classes``: ``keep``, their own label,
            or ``ignore``, none. Default ``keep``.
        label_map: A grey or palette PNG of class indices on the images' grid, used for every image;
            255 is ignored. A path, relative to the spec's file.
        sha256: The sha256 of the label map, filled in when the spec is read; leave it out.
    """

    every: Class | None = None
    classes: dict[ClassKey, Class] | None = None
    others: Literal["keep", "ignore"] = "keep"
    label_map: AnyPath | None = None
    sha256: FilledIn = None

    @model_validator(mode="before")
    @classmethod
    def _hash(cls, data: Any, info: ValidationInfo) -> Any:
        return with_hash(data, info, "label_map", "sha256", "file")

    @model_validator(mode="after")
    def _one(self) -> "Target":
        _exactly_one(self, "target", ("every", "classes", "label_map"))
        return self


class Region(Frozen):
    """Pixels to perturb: the pixels that meet every condition given.

    Attributes:
        classes: Pixels labelled with any of these classes, indices from 0 to 254.
        box: Pixels inside [top, left, bottom, right], fractions of height and width in [0, 1].
        mask: Non-zero pixels of a grey or palette PNG on the images' grid, used for every image. A
            path, relative to the spec's file.
        sha256: The sha256 of the mask, filled in when the spec is read; leave it out.
    """

    classes: Annotated[tuple[Class, ...], Field(min_length=1)] | None = None
    box: tuple[UnitInterval, UnitInterval, UnitInterval, UnitInterval] | None = None
    mask: AnyPath | None = None
    sha256: FilledIn = None

    @model_validator(mode="before")
    @classmethod
    def _hash(cls, data: Any, info: ValidationInfo) -> Any:
        return with_hash(data, info, "mask", "sha256", "file")

    @model_validator(mode="after")
    def _some(self) -> "Region":
        if self.classes is None and self.box is None and self.mask is None:
            raise PydanticCustomError(
                "region", "region has no condition; give classes, box or mask", {}
            )
        if self.box is not None and (self.box[0] >= self.box[2] or self.box[1] >= self.box[3]):
            raise PydanticCustomError(
                "box",
                "box {box} is empty; give [top, left, bottom, right] with top < bottom and left < "
                "right, fractions in [0, 1]",
                {"box": str(list(self.box))},
            )
        return self


class Budget(Frozen):
    """A cost per image, from which the number of steps follows.

    Attributes:
        forward_equivalents: The cost per image: pixels processed in forwards, each with its
            backward, divided by the pixels of a forward at native size. In (0, 1,000,000].
    """

    forward_equivalents: Annotated[Number, Field(gt=0, le=1e6)]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        return data if isinstance(data, dict | Budget) else {"forward_equivalents": data}

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Return the JSON schema of the short form: a bare number of forward equivalents."""
        return [NUMBER_OR_FRACTION]


def read_smoothing(value: Any) -> Any:
    """Read the short forms ``ti`` and ``{ti: {kernel: 7}}`` of ``smoothing``.

    Args:
        value: The raw value of the field.

    Returns:
        The fields of a ``Smoothing``; any other value unchanged.
    """
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
