"""The typed spec of a data set: its source, the choice of images, and their grid."""

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
    """A data set, given by exactly one of ``sample``, ``folder`` and ``mmseg``.

    Attributes:
        sample: The name of a sample that ships with the package.
        folder: A folder with images/ and labels/ of equal file stems.
        mmseg: A config file, or the name of a config that mmseg ships.
        data_root: The folder of an mmseg data set's files.
        split: A sub-folder of images/ and labels/; or the train, val or test loader of an mmseg
            config.
        classes: The class names, by index.
        sequence: A regular expression whose first group, in an image's id, is the video of the
            image.
        sequences: Keeps the images of these videos.
        images: Keeps this number of images, evenly spaced.
        size: Height and width of the grid of all images, in pixels; by default each image's native
            size.
        fit: How an image is brought to ``size``.
        label_map: Maps each class of the data to its merged class, or to null, which ignores it.
            Merged classes are in the order in which the data's class list first reaches them.
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
