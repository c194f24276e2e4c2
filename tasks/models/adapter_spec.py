"""The base of adapters: a typed spec that loads a model, and the registry."""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo

from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.registry import ForeignSpec, Registry, is_spec_of, read_entry
from segtransfer.tasks.schema import Frozen, Text


class AdapterSpec(Frozen):
    """A kind of model: its fields in a spec, and how the model is loaded.

    Attributes:
        kind: The name of the adapter in specs.
    """

    kind: Text

    def load(self) -> Segmenter:
        """Return the model on the CPU, with the same weights every time.

        The model is loaded when the plan is made, too: its weights are part of its identity, and so
        are the fields of the spec and the content of files that they name.
        """
        raise NotImplementedError

    def typed(self) -> "AdapterSpec":
        """Return the adapter as an object of its own class."""
        return self


ADAPTERS: Registry[type[AdapterSpec]] = Registry(
    "adapters",
    ("segtransfer.tasks.models",),
    is_spec_of(AdapterSpec),
    "class derived from segtransfer.extend.AdapterSpec",
)


class ForeignAdapter(AdapterSpec, ForeignSpec):
    """An adapter of an installed package or of the user's folder."""

    def typed(self) -> AdapterSpec:
        """Return the adapter as an object of its own class.

        Raises:
            InputError: If its code is missing or has another hash.
        """
        typed: AdapterSpec = self.built(ADAPTERS)
        return typed


def _read(value: Any, info: ValidationInfo) -> Any:
    return read_entry(ADAPTERS, ForeignAdapter, value, info.context)


Adapter = Annotated[SerializeAsAny[AdapterSpec], BeforeValidator(_read)]
