"""Numerics in specs: fp32 as loaded, or faster options that keep the signs of gradients."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.json_schema import JsonSchema
from segtransfer.tasks.schema import Frozen, suggest


def _read_option(value: Any) -> Any:
    if value != "auto" and not isinstance(value, bool):
        raise PydanticCustomError(
            "option", "'{value}' is no option; write true, false or auto", {"value": str(value)}
        )
    return value


Option = Annotated[bool | Literal["auto"], BeforeValidator(_read_option)]


class Numerics(Frozen):
    """The precision and layout of computations: ``reference``, ``fast``, or single options.

    ``reference`` sets all options to false, ``fast`` sets all to ``auto``. ``true`` applies an
    option; impossible options, and folds that change the logits, are errors. ``auto`` applies an
    option if adapter and hardware support it, and the check of gradient signs at load passes.

    Attributes:
        fold: Whether batch norms are folded into the convolutions before them: true, false or
            ``auto``. Default false.
        channels_last: Whether weights have the channels-last memory layout: true, false or
            ``auto``. Default false.
        bf16: Whether attacks compute with bf16 autocast, with logits in fp32: true, false or
            ``auto``. AEs are always scored in fp32. Default false.
    """

    fold: Option = False
    channels_last: Option = False
    bf16: Option = False

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        named: dict[str, dict[str, Any]] = {
            "reference": {},
            "fast": dict.fromkeys(cls.model_fields, "auto"),
        }
        if isinstance(data, str) and data not in named:
            raise PydanticCustomError(
                "numerics",
                "unknown numerics '{name}'; {hint}, or any of {options} with true, false or auto",
                {
                    "name": data,
                    "hint": suggest(data, named),
                    "options": ", ".join(cls.model_fields),
                },
            )
        return named[data] if isinstance(data, str) else data

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Return the JSON schema of the short form: ``reference`` or ``fast``.

        Args:
            fields: The schema of the mapping, unchanged.
        """
        return [{"enum": ["reference", "fast"]}]

    def identity(self) -> str | dict[str, Any]:
        """Return the requested options for keys, independent of the device.

        Returns:
            ``reference``, or the options by name.
        """
        return "reference" if self == REFERENCE else self.identity_fields()


REFERENCE = Numerics()
