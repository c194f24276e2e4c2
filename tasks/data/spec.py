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
            "'{value}' is no regular expression: {error}",
            {"value": value, "error": str(error)},
        ) from error
    if not groups:
        raise PydanticCustomError(
            "pattern", "'{value}' has no group; write '^([^_]+)_', say", {"value": value}
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
    """Refuse two spellings of one value of label files; only the last would count."""
    spelled: dict[str, Any] = {}
    for value in values if isinstance(values, dict) else ():
        try:
            known = spelled.setdefault(_file_value(value), value)
        except PydanticCustomError:
            continue  # told with its place
        if known is not value:
            raise PydanticCustomError(
                "file_value",
                "'{one}' and '{other}' are the same value; write it once",
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
    """Return the path of a folder that starts at ``root``."""
    if Path(folder).is_absolute() or folder.startswith("~"):
        raise PydanticCustomError(
            "root",
            "root is '{root}' and folder '{folder}' starts elsewhere; leave root out, or write "
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


class DataSpec(Frozen):
    """A data set, given by exactly one of ``sample``, ``folder``, ``mmseg`` and ``reader``.

    Attributes:
        sample: The name of a sample that ships with the package.
        folder: A folder with images/ and labels/ of equal file stems.
        mmseg: A config file, or the name of a config that mmseg ships.
        reader: A registered reader of another kind of data, ``{module:Class: fields}``.
        root: The folder of an mmseg data set's files, in the place of the ``data_root`` of its
            config; or the folder at which a relative ``folder`` starts. ``data_root`` is its old
            name.
        split: A sub-folder of images/ and labels/; or the train, val or test loader of an mmseg
            config.
        classes: The class names, by index.
        sequence: A regular expression whose first group, in an image's id, is the video of the
            image.
        sequences: Keeps the images of these videos.
        images: Keeps this number of images, evenly spaced.
        size: Height and width of the grid of all images, in pixels; by default each image's native
            size.
        fit: How an image reaches its grid: ``resize``, ``crop`` or ``pad`` to ``size``; ``native``
            keeps its size, as every ``fit`` does without ``size``; ``pipeline`` resizes as the test
            pipeline of an mmseg config does, and scores at the label's native size.
        label_map: Maps each class of the data to its merged class, or to null, which ignores it.
            Merged classes are in the order in which the data's class list first reaches them.
        image_suffix: The end of the names of a folder's images, for example ``_leftImg8bit``.
        label_suffix: The end of the names of a folder's labels, in the place of ``image_suffix``.
        ignore_index: The value of pixels without a class in a folder's labels.
        values: Maps each value or colour in a folder's labels to a class (name or index), or to
            null, which ignores it; for files that hold other numbers than class indices.
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
        """Return the form of a bare sample; the mapping may use the old name of ``root``."""
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
                "data", "a reader of data says its classes; leave classes out", {}
            )
        if self.root is not None and self.mmseg is None:
            raise PydanticCustomError(
                "root",
                "root is for data of mmseg or folder, and the data are of {source}; leave root out",
                {"source": given[0]},
            )
        if self.folder is None:
            for name in sorted(self.model_fields_set.intersection(OF_FOLDERS)):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise PydanticCustomError(
                        "data",
                        "{name} is for data.folder; {source} data has rules of its own",
                        {"name": name, "source": given[0]},
                    )
        if self.ignore_index != IGNORE_INDEX and self.values is not None:
            raise PydanticCustomError(
                "data", "values and ignore_index say the same; map ignored values to null", {}
            )
        if self.sample and self.split:
            raise PydanticCustomError(
                "split",
                "sample '{sample}' has no splits, and split is '{split}'; leave split out, or "
                "choose images by sequences",
                {"sample": self.sample, "split": self.split},
            )
        return self

    @model_validator(mode="after")
    def _one_grid(self) -> "DataSpec":
        if self.fit in ("native", "pipeline") and self.size is not None:
            raise PydanticCustomError(
                "fit",
                "fit '{fit}' decides the size of each image, and size is {size}; leave size out, "
                "or give fit resize, crop or pad",
                {"fit": self.fit, "size": str(list(self.size))},
            )
        if self.fit == "pipeline" and self.mmseg is None:
            raise PydanticCustomError(
                "fit",
                "fit 'pipeline' is the test pipeline of data.mmseg, and the data are of "
                "{source}; give fit native, or a size",
                {"source": next(k for k in SOURCES_OF_DATA if getattr(self, k) is not None)},
            )
        return self
