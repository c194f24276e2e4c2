"""The file ``dataset.json`` beside the images of a folder, and its schema."""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.data.names import ClassName
from segtransfer.tasks.data.spec import SequencePattern
from segtransfer.tasks.spec_errors import validated

Level = Annotated[int, Field(strict=True, ge=0, le=255)]


class DatasetFile(BaseModel):
    """The content of ``dataset.json``; other keys are ignored, unless misspelt.

    Attributes:
        classes: The class names by index, 2 to 255. Default none: ``data.classes`` is needed.
        palette: An RGB colour per class, three numbers from 0 to 255. Default evenly spread hues.
        sequence: A regular expression whose first group, in an image's id, is the image's video.
            Default none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=255)] | None = None
    palette: tuple[tuple[Level, Level, Level], ...] = ()
    sequence: SequencePattern | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_misspelt_key(cls, content: Any) -> Any:
        for key in content if isinstance(content, dict) else ():
            meant = difflib.get_close_matches(key.lower(), cls.model_fields, n=1, cutoff=0.8)
            if meant and key not in cls.model_fields:
                raise PydanticCustomError(
                    "key",
                    "unknown key '{key}': did you mean '{meant}'?",
                    {"key": key, "meant": meant[0]},
                )
        return content

    @field_validator("classes")
    @classmethod
    def _names_differ(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = next((name for name in names or () if (names or ()).count(name) > 1), None)
        if twice is not None:
            raise PydanticCustomError(
                "classes", "two classes are named '{name}'; give each its own name", {"name": twice}
            )
        return names


def read_dataset_file(path: Path) -> DatasetFile:
    """Read a ``dataset.json``.

    Args:
        path: The file, which may be missing.

    Returns:
        The content; defaults for a missing file.

    Raises:
        InputError: If the file cannot be read, is no JSON, gives a key twice, or a field is wrong.
    """
    if not path.is_file():
        return DatasetFile()
    try:
        content = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no valid JSON: {error}") from error
    return validated(DatasetFile, content, str(path))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key '{next(k for k in keys if keys.count(k) > 1)}' is given twice")
    return content
