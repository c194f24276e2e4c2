"""The typed spec of a data set: its source, the choice of images, and their grid."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.data.names import ClassName, composed
from segtransfer.tasks.data.reader_spec import Reader
from segtransfer.tasks.json_schema import TEXT, JsonSchema
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.schema import (
    AnyPath,
    Frozen,
    Name,
    NameOrPath,
    Number,
    Text,
    Whole,
    WrittenIn,
    added_later,
)

SPLITS = ("train", "val", "test")
Side = Annotated[Whole, Field(ge=16, le=16384)]


def _is_pattern(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise PydanticCustomError(
            "pattern",
            "'{value}' is no regular expression ({error}); write one such as '^([^_]+)_'",
            {"value": value, "error": str(error)},
        ) from error
    if not groups:
        raise PydanticCustomError(
            "pattern",
            "'{value}' has no group; put the video's part of the id in parentheses, for example "
            "'^([^_]+)_'",
            {"value": value},
        )
    return value


def _file_value(value: Any) -> str:
    """Return a number or colour of label files as text, in one spelling."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}", value):
        return str(int(value))
    if isinstance(value, str) and re.fullmatch(r"#[0-9A-Fa-f]{6}", value):
        return value.lower()
    raise PydanticCustomError(
        "file_value",
        "'{value}' is no value of a label file; write a whole number, or a colour as '#ff8000'",
        {"value": str(value)},
    )


def _differ(values: Any) -> Any:
    """Refuse two spellings of the same value of label files; only the last would count."""
    spelled: dict[str, Any] = {}
    for value in values if isinstance(values, dict) else ():
        try:
            known = spelled.setdefault(_file_value(value), value)
        except PydanticCustomError:
            continue  # reported with its place by the key's own validation
        if known is not value:
            raise PydanticCustomError(
                "file_value",
                "'{one}' and '{other}' are the same value; delete one of them",
                {"one": str(known), "other": str(value)},
            )
    return values


def _with_root(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with ``root`` in the place of its old name ``data_root``."""
    if "data_root" not in fields:
        return fields
    root, old = fields.get("root"), fields["data_root"]
    if root is not None and old not in (None, root):
        raise PydanticCustomError(
            "root",
            "data_root '{old}' is the old name of root, which is '{root}'; leave data_root out",
            {"old": str(old), "root": str(root)},
        )
    rest = {name: value for name, value in fields.items() if name != "data_root"}
    return rest | {"root": old if root is None else root}


def _below(root: str, folder: str) -> str:
    """Return the path of ``folder`` below ``root``."""
    if Path(folder).is_absolute() or folder.startswith("~"):
        raise PydanticCustomError(
            "root",
            "folder '{folder}' is not relative, and root is '{root}'; leave root out, or write "
            "folder relative to root",
            {"root": root, "folder": folder},
        )
    path = str(Path(root, folder))
    return WrittenIn(path, root.folder) if isinstance(root, WrittenIn) else path


SequencePattern = Annotated[Text, AfterValidator(_is_pattern)]
FileValue = Annotated[str, BeforeValidator(_file_value)]
ClassOrNull = Annotated[int, Field(strict=True, ge=0, le=254)] | str | None
ValueMap = Annotated[dict[FileValue, ClassOrNull], Field(min_length=1), BeforeValidator(_differ)]
SOURCES_OF_DATA = ("sample", "folder", "mmseg", "reader")
OF_FOLDERS = ("image_suffix", "label_suffix", "ignore_index", "values")


class Crops(Frozen):
    """Crops of labelled images, each with a dominant class, which is the class of the crop.

    The places are drawn from the image's id. A draw without a dominant class is skipped.

    Attributes:
        size: [height, width] of a crop in pixels of the files, 16 to 16384.
        per_image: The largest number of crops per image. Default 1.
        min_share: The smallest share of a crop's pixels with the dominant class, in (0, 1].
            Default 0.5.
    """

    size: tuple[Side, Side]
    per_image: Annotated[Whole, Field(ge=1)] = 1
    min_share: Annotated[Number, Field(gt=0, le=1)] = 0.5


class DataSpec(Frozen):
    """A data set, given by exactly one of ``sample``, ``folder``, ``mmseg`` and ``reader``.

    Attributes:
        sample: The name of a sample in the package: ``camvid``, 32 frames of 240 x 320 pixels.
        folder: A folder with images/ and labels/ of equal file stems. A path, relative to the
            spec's file or to ``root``.
        mmseg: A config file of mmseg, or the name of a config in the package mmseg.
        reader: A registered reader of another kind of data, ``{module:Class: fields}``.
        root: The folder of an mmseg data set's files, in place of its config's ``data_root``; or
            the folder at which a relative ``folder`` starts. ``data_root`` is the old name.
        split: A sub-folder of images/ and labels/, default none; or the loader of an mmseg config,
            ``train``, ``val`` or ``test``, default ``test``.
        classes: The class names by index, 2 to 255. Default those of dataset.json or the config.
        sequence: A regular expression whose first group, in an image's id, is the image's video.
            Intervals treat a video as a cluster. Default the folder in the id.
        sequences: The videos whose images are used. Default all.
        images: The number of images, evenly spaced over the data set. Default all.
        size: [height, width] of the grid of all images, in pixels, 16 to 16384. Default each
            image's native size.
        fit: The way of an image to its grid: ``resize``, ``crop`` or ``pad`` to ``size``;
            ``native``, unchanged (as every ``fit`` without ``size``); ``pipeline``, the resize in
            the test pipeline of an mmseg config, scored at the label's native size. Default
            ``resize``.
        label_map: Maps each class of the data to a merged class, or to null to ignore the class.
            Merged classes are in order of their first appearance by class index. Default none.
        image_suffix: The end of a folder's image names before the file ending, for example
            ``_leftImg8bit``. Default empty.
        label_suffix: The end of a folder's label names, in place of ``image_suffix``. Default
            empty.
        ignore_index: The value of pixels without a class in a folder's labels. Default 255.
        values: Maps each number or colour ``#rrggbb`` in a folder's labels to a class (name or
            index), or to null to ignore it; for labels other than class indices. Default none.
        crops: Crops of the images in place of whole images, each of a dominant class, for
            classifiers. Default none.
    """

    sample: Literal["camvid"] | None = None
    folder: AnyPath | None = None
    mmseg: NameOrPath | None = None
    reader: Reader | None = added_later(None)
    root: AnyPath | None = None
    split: Name | None = None
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=255)] | None = None
    sequence: SequencePattern | None = None
    sequences: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    images: Annotated[Whole, Field(ge=1)] | None = None
    size: tuple[Side, Side] | None = None
    fit: Literal["resize", "crop", "pad", "native", "pipeline"] = "resize"
    label_map: dict[ClassName, ClassName | None] | None = None
    image_suffix: Annotated[str, AfterValidator(composed)] = added_later("")
    label_suffix: Annotated[str, AfterValidator(composed)] = added_later("")
    ignore_index: Annotated[int, Field(strict=True)] = added_later(IGNORE_INDEX)
    values: ValueMap | None = added_later(None)
    crops: Crops | None = added_later(None)

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: object) -> object:
        if not isinstance(data, dict):
            return {"sample": data} if isinstance(data, str) else data
        fields = _with_root(data)
        folder, root = fields.get("folder"), fields.get("root")
        if not isinstance(folder, str) or not isinstance(root, str):
            return fields
        if folder.strip() and root.strip():  # an empty text is refused as such
            return fields | {"folder": _below(root, folder), "root": None}
        return fields

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Return the JSON schema of the short form, a bare sample.

        Args:
            fields: The schema of the mapping, which gets ``data_root``, the old name of ``root``.
        """
        fields["properties"]["data_root"] = TEXT | {"description": "The old name of root."}
        return [TEXT]

    @model_validator(mode="after")
    def _one_source(self) -> "DataSpec":
        given = [k for k in SOURCES_OF_DATA if getattr(self, k) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "data",
                "data names {given}; give exactly one of {allowed}",
                {
                    "given": " and ".join(given) or "no source",
                    "allowed": ", ".join(SOURCES_OF_DATA),
                },
            )
        if self.reader and self.classes:
            raise PydanticCustomError(
                "data", "a reader gives its own classes; leave classes out", {}
            )
        if self.root is not None and self.mmseg is None:
            raise PydanticCustomError(
                "root",
                "root is for data.mmseg and data.folder, and data.{source} is given; leave root "
                "out",
                {"source": given[0]},
            )
        if self.folder is None:
            for name in sorted(self.model_fields_set.intersection(OF_FOLDERS)):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise PydanticCustomError(
                        "data",
                        "{name} is for data.folder, and data.{source} is given; leave {name} out",
                        {"name": name, "source": given[0]},
                    )
        if self.ignore_index != IGNORE_INDEX and self.values is not None:
            raise PydanticCustomError(
                "data",
                "values and ignore_index exclude each other; leave ignore_index out, and map "
                "ignored values to null",
                {},
            )
        if self.sample and self.split:
            raise PydanticCustomError(
                "split",
                "split is '{split}', and sample '{sample}' has no splits; leave split out, or "
                "choose images by sequences",
                {"sample": self.sample, "split": self.split},
            )
        return self

    @model_validator(mode="after")
    def _one_grid(self) -> "DataSpec":
        if self.fit in ("native", "pipeline") and self.size is not None:
            raise PydanticCustomError(
                "fit",
                "fit '{fit}' determines the size of each image, and size is {size}; leave size "
                "out, or set fit to resize, crop or pad",
                {"fit": self.fit, "size": str(list(self.size))},
            )
        if self.fit == "pipeline" and self.mmseg is None:
            raise PydanticCustomError(
                "fit",
                "fit 'pipeline' is the test pipeline of data.mmseg, and data.{source} is given; "
                "set fit: native, or give a size",
                {"source": next(k for k in SOURCES_OF_DATA if getattr(self, k) is not None)},
            )
        return self
