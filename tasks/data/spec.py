"""Typed description of a data set: where it is read, which images, on which grid."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.schema import AnyPath, Frozen, NameOrPath

Side = Annotated[int, Field(ge=16, le=16384)]


def _is_pattern(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise PydanticCustomError(
            "pattern",
            "'{value}' is no regular expression: {error}",
            {"value": value, "error": str(error)},
        ) from error
    if not groups:
        raise PydanticCustomError(
            "pattern", "'{value}' has no group; write '^([^_]+)_', say", {"value": value}
        )
    return value


class DataSpec(Frozen):
    """Exactly one of ``sample`` (ships with the package), ``folder`` and ``mmseg``.

    ``folder`` holds images/ and labels/ with equal file stems, with ``split`` as a sub-folder of
    both; ``mmseg`` is a config file (or the name of one of mmseg's), ``split`` its train, val or
    test loader. ``sequence`` is a regular expression whose first group, in an image's id, is the
    video that it is from; ``sequences`` keeps the images of these videos; ``images`` keeps that
    many, evenly spaced; ``size`` (height, width) is the grid that every image is brought to by
    ``fit``, the native size where it is left out. ``label_map`` merges classes: each class of the
    data to its merged class, or to null, which ignores it; merged classes stand in the order in
    which the data's class list first reaches them.
    """

    sample: Literal["camvid"] | None = None
    folder: AnyPath | None = None
    mmseg: NameOrPath | None = None
    data_root: AnyPath | None = None
    split: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=255)] | None = None
    sequence: Annotated[str, AfterValidator(_is_pattern)] | None = None
    sequences: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    images: Annotated[int, Field(ge=1)] | None = None
    size: tuple[Side, Side] | None = None
    fit: Literal["resize", "crop", "pad"] = "resize"
    label_map: dict[str, str | None] | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: object) -> object:
        return {"sample": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _one_source(self) -> "DataSpec":
        given = [k for k in ("sample", "folder", "mmseg") if getattr(self, k) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "data",
                "data names {given}; give exactly one of sample, folder, mmseg",
                {"given": " and ".join(given) or "no source"},
            )
        return self
