"""The base of data readers, a typed spec with a method to open, and the registry."""

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo, WithJsonSchema

from segtransfer.tasks.json_schema import NAMED_ENTRY
from segtransfer.tasks.registry import (
    EntrySpec,
    ForeignSpec,
    Registry,
    is_spec_of,
    read_entry,
)


class ReaderSpec(EntrySpec):
    """The base of data readers: fields in a spec, and the method ``open``.

        class Pairs(ReaderSpec):  # in a spec: data: {reader: {"my_readers:Pairs": {root: scans}}}
            root: AnyPath

            def open(self, split):
                files = sorted(Path(self.root).glob("*.png"))
                items = (DataItem(f.stem, f.stem, f, f.with_suffix(".tif")) for f in files)
                classes = ("background", "lesion")
                read_label = lambda item: read_index_map(item.label)
                return Dataset("scans", classes, palette_for(2, ()), tuple(items), read_label)

    Attributes:
        kind: The name of the reader, ``module:attribute`` or an installed package's.
    """

    @abstractmethod
    def open(self, split: str | None) -> Any:
        """Return the data set; pixels and labels are read later, an item at a time.

        Args:
            split: ``data.split`` of the spec, None if the spec has none.

        Returns:
            A ``Dataset`` with items in the same order at every call.

        Raises:
            InputError: If files are missing or wrong, with a sentence for the user.
        """


READERS: Registry[type[ReaderSpec]] = Registry(
    "readers",
    ("segtransfer.tasks.data",),
    is_spec_of(ReaderSpec),
    "class with a method open, derived from segtransfer.extend.ReaderSpec",
)


class ForeignReader(ReaderSpec, ForeignSpec):
    """A reader of an installed package or of the user's folder."""

    registry = READERS

    def open(self, split: str | None) -> Any:
        """Return the data set, as the reader's own class opens it."""
        return self.typed().open(split)


def _read(value: Any, info: ValidationInfo) -> Any:
    return read_entry(READERS, ForeignReader, value, info.context)


Reader = Annotated[SerializeAsAny[ReaderSpec], BeforeValidator(_read), WithJsonSchema(NAMED_ENTRY)]
