"""The base of data readers: a typed spec that opens a data set, and the registry."""

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
    """A kind of data set: its fields in a spec, and how the data set is opened."""

    @abstractmethod
    def open(self, split: str | None) -> Any:
        """Return the data set; pixels and labels are read later, an item at a time.

        Args:
            split: ``data.split`` of the spec.

        Returns:
            A ``Dataset``.
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
        """Return the data set of the reader's own class."""
        return self.typed().open(split)


def _read(value: Any, info: ValidationInfo) -> Any:
    return read_entry(READERS, ForeignReader, value, info.context)


Reader = Annotated[SerializeAsAny[ReaderSpec], BeforeValidator(_read), WithJsonSchema(NAMED_ENTRY)]
