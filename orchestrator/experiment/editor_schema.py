"""JSON schemas of spec files, for editors."""

from typing import Any

from segtransfer.tasks.json_schema import NULL, TEXT
from segtransfer.tasks.schema import Frozen

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def editor_schema(spec: type[Frozen], *, inherits: bool = True) -> dict[str, Any]:
    """Return the JSON schema of the files that hold a kind of spec.

    Args:
        spec: The class of the spec.
        inherits: Whether a file may name a base. A file with a base needs no other field, and null
            removes a field of the base.

    Returns:
        A schema of draft 2020-12, with a description per field.
    """
    schema = spec.model_json_schema()
    if inherits:
        required = schema.pop("required", [])
        schema["anyOf"] = [
            {"required": ["base"], "properties": {"base": TEXT}},
            {"required": required, "properties": _nullable(schema["properties"])},
        ]
        schema["properties"]["base"] = {
            "type": ["string", "null"],
            "description": "The path of a YAML file or the name of a recipe whose fields this file "
            "changes. A relative path starts at the folder of this file. Null: no base.",
        }
    return {"$schema": DRAFT, **schema}


def _nullable(fields: dict[str, Any]) -> dict[str, Any]:
    """Allow null, which removes a base's field, in the schema of each field.

    Args:
        fields: The schema of each field; changed in place.

    Returns:
        A schema per changed field that refuses null, for files without a base.
    """
    filled = {name: field for name, field in fields.items() if field.get("default", 0) is not None}
    for name, field in filled.items():
        told = {key: field[key] for key in ("default", "description", "title") if key in field}
        value = {key: content for key, content in field.items() if key not in told}
        if isinstance(told.get("default"), dict):  # has the working folder in it
            del told["default"]
        fields[name] = {"anyOf": [value, NULL], **told}
    return {name: {"not": NULL} for name in filled}
