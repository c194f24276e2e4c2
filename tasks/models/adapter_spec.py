"""The base of adapters: a typed spec that loads a model, and the registry."""

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo, WithJsonSchema

from segtransfer.tasks.json_schema import NAMED_ENTRY
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.registry import (
    EntrySpec,
    ForeignSpec,
    Registry,
    is_spec_of,
    read_entry,
)


class AdapterSpec(EntrySpec):
    """A kind of model: its fields in a spec, and how the model is loaded."""

    @abstractmethod
    def load(self) -> Segmenter:
        """Return the model on the CPU, with the same weights every time.

        The model is loaded when the plan is made, too: its weights are part of its identity, and so
        are the fields of the spec and the content of files that they name.
        """


ADAPTERS: Registry[type[AdapterSpec]] = Registry(
    "adapters",
    ("segtransfer.tasks.models",),
    is_spec_of(AdapterSpec),
    "class with a method load, derived from segtransfer.extend.AdapterSpec",
)


class ForeignAdapter(AdapterSpec, ForeignSpec):
    """An adapter of an installed package or of the user's folder."""

    registry = ADAPTERS

    def load(self) -> Segmenter:
        """Return the model of the adapter's own class."""
        model: Segmenter = self.typed().load()
        return model


def _read(value: Any, info: ValidationInfo) -> Any:
    return read_entry(ADAPTERS, ForeignAdapter, value, info.context)


Adapter = Annotated[
    SerializeAsAny[AdapterSpec], BeforeValidator(_read), WithJsonSchema(NAMED_ENTRY)
]
