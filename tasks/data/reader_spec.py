"""The base of data readers: a typed spec that opens a data set, and the registry."""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo

from segtransfer.tasks.registry import ForeignSpec, Registry, is_spec_of, read_entry
from segtransfer.tasks.schema import Frozen, Text


class ReaderSpec(Frozen):
    """A kind of data set: its fields in a spec, and how the data set is opened.

    Attributes:
        kind: The name of the reader in specs.
    """

    kind: Text

    def open(self, split: str | None) -> Any:
        """Return the data set; pixels and labels are read later, an item at a time.

        Args:
            split: ``data.split`` of the spec.

        Returns:
            A ``Dataset``.
        """
        raise NotImplementedError

    def typed(self) -> "ReaderSpec":
        """Return the reader as an object of its own class."""
        return self


READERS: Registry[type[ReaderSpec]] = Registry(
    "readers",
    ("segtransfer.tasks.data",),
    is_spec_of(ReaderSpec),
    "class derived from segtransfer.extend.ReaderSpec",
)


class ForeignReader(ReaderSpec, ForeignSpec):
    """A reader of an installed package or of the user's folder."""

    def typed(self) -> ReaderSpec:
        """Return the reader as an object of its own class.

        Raises:
            InputError: If its code is missing or has another hash.
        """
        typed: ReaderSpec = self.built(READERS)
        return typed


def _read(value: Any, info: ValidationInfo) -> Any:
    return read_entry(READERS, ForeignReader, value, info.context)


Reader = Annotated[SerializeAsAny[ReaderSpec], BeforeValidator(_read)]
