"""JSON schemas of spec files, for editors."""

from typing import Any

from segtransfer.tasks.json_schema import TEXT
from segtransfer.tasks.schema import Frozen

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def editor_schema(spec: type[Frozen], *, inherits: bool = True) -> dict[str, Any]:
    """Return the JSON schema of the files that hold a kind of spec.

    Args:
        spec: The class of the spec.
        inherits: Whether a file may name a base; then all fields may come from the base.
    """
    schema = spec.model_json_schema()
    if inherits:
        schema["properties"]["base"] = {
            "type": ["string", "null"],
            "description": "A file or a recipe whose fields this file changes.",
        }
        required = schema.pop("required", [])
        named = {"required": ["base"], "properties": {"base": TEXT}}
        schema["anyOf"] = [named, {"required": required}]
    return {"$schema": DRAFT, **schema}
