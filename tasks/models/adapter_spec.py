"""The base of adapters, a typed spec with a method to load, and the registry."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo, WithJsonSchema

from segtransfer.tasks.json_schema import NAMED_ENTRY
from segtransfer.tasks.registry import (
    EntrySpec,
    ForeignSpec,
    Registry,
    is_spec_of,
    read_entry,
)

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter


class AdapterSpec(EntrySpec):
    """The base of adapters: fields in a spec, and the method ``load``.

        class Exported(AdapterSpec):  # in a spec: adapter: {"my_adapters:Exported": {file: net.pt}}
            file: AnyPath

            def load(self):
                return Mine(torch.jit.load(self.file, map_location="cpu"))  # a Segmenter

    Attributes:
        kind: The name of the adapter, ``module:attribute`` or an installed package's.
    """

    @abstractmethod
    def load(self) -> Segmenter:
        """Return the model on the CPU, with the same weights at each call.

        The plan loads the model, too, because its weights identify it, with the fields of the spec
        and the content of the files and folders named in them.

        Returns:
            A ``Segmenter`` with ``num_classes``; the caller freezes it and moves it to its device.

        Raises:
            InputError: If files are missing or wrong, with a sentence for the user.
        """


ADAPTERS: Registry[type[AdapterSpec]] = Registry(
    "adapters",
    (),  # models of shipped libraries are fields of ModelSpec
    is_spec_of(AdapterSpec),
    "class with a method load, derived from segtransfer.extend.AdapterSpec",
)


class ForeignAdapter(AdapterSpec, ForeignSpec):
    """An adapter of an installed package or of the user's folder."""

    registry = ADAPTERS

    def load(self) -> Segmenter:
        """Return the model, as the adapter's own class loads it."""
        model: Segmenter = self.typed().load()
        return model


def _read(value: Any, info: ValidationInfo) -> Any:
    return read_entry(ADAPTERS, ForeignAdapter, value, info.context)


Adapter = Annotated[
    SerializeAsAny[AdapterSpec], BeforeValidator(_read), WithJsonSchema(NAMED_ENTRY)
]
