"""JSON schemas of specs as people write them: descriptions of fields, and short forms."""

import inspect
import re
from typing import Any

JsonSchema = dict[str, Any]

TEXT: JsonSchema = {"type": "string"}
NUMBER: JsonSchema = {"type": "number"}
# A number, or a fraction such as 8/255.
NUMBER_OR_FRACTION: JsonSchema = {
    "anyOf": [NUMBER, TEXT | {"pattern": "^[-+0-9. ]+(e[-+]?[0-9]+)?(/[0-9 ]+)?$"}]
}
# A name, or a mapping of the name to its fields.
NAMED_ENTRY: JsonSchema = {"anyOf": [TEXT, {"type": "object"}]}
NULL: JsonSchema = {"type": "null"}


# pydantic's words of bounds, which remain in the schema of a field with a custom validator.
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def describe_fields(spec: type, schema: JsonSchema) -> None:
    """Add the descriptions in a class's docstring to its schema, and name bounds as JSON schema.

    The first paragraph describes the class, the section ``Attributes`` its fields. The section of a
    derived class comes before those of its bases.

    Args:
        spec: The class.
        schema: The schema of the mapping of its fields, changed in place.
    """
    schema["description"] = inspect.cleandoc(spec.__doc__ or "").partition("\n\n")[0]
    for owner in spec.__mro__:
        for name, text in attributes_of(owner).items():
            if name in schema.get("properties", {}):
                schema["properties"][name].setdefault("description", text)
    for field in schema.get("properties", {}).values():
        _name_bounds(field)


def _name_bounds(schema: JsonSchema) -> None:
    """Rename pydantic's bounds in a field's schema, in place."""
    for ours, name in BOUNDS.items():
        if ours in schema:
            schema[name] = schema.pop(ours)
    parts = [*schema.get("anyOf", ()), *schema.get("prefixItems", ())]
    parts += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    for part in parts:
        if isinstance(part, dict):
            _name_bounds(part)


def attributes_of(spec: type) -> dict[str, str]:
    """Return the section ``Attributes`` of a class's own docstring.

    Args:
        spec: The class; sections of its bases are not read.

    Returns:
        The text of each name in a line, without double backticks; empty without the section.
    """
    _, _, section = inspect.cleandoc(spec.__dict__.get("__doc__") or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in found}


def described(schema: JsonSchema) -> JsonSchema:
    """Return the default and the description in a field's schema.

    Args:
        schema: The JSON schema of a field.

    Returns:
        A new mapping with the keys ``default`` and ``description``, if present.
    """
    return {key: schema[key] for key in ("default", "description") if key in schema}
