"""Every field of every spec has a description, which JSON schemas and reference pages print."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

from segtransfer.tasks.json_schema import JsonSchema
from segtransfer.tasks.schema import Frozen


def import_all(package: str) -> None:
    path = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(path, f"{package}."):
        if ".zoo." not in module.name:  # configs of mmseg
            importlib.import_module(module.name)


def subclasses(spec: type[Frozen]) -> Iterator[type[Frozen]]:
    for derived in spec.__subclasses__():
        yield derived
        yield from subclasses(derived)


def specs() -> list[type[Frozen]]:
    packages = ("segtransfer.tasks", "segtransfer.search_spaces")
    for package in packages:
        import_all(package)
    found = {spec for spec in subclasses(Frozen) if spec.__module__.startswith(packages)}
    return sorted(found, key=lambda spec: f"{spec.__module__}.{spec.__qualname__}")


def mappings(schema: object) -> Iterator[JsonSchema]:
    """Yield the properties of every mapping in a JSON schema, by field."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema["properties"]
        for part in schema.values():
            yield from mappings(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from mappings(part)


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.__name__)
def test_field_of_a_spec_has_a_description(spec: type[Frozen]) -> None:
    fields = list(mappings(spec.model_json_schema()))
    missing = [name for by_name in fields for name in by_name if not described(by_name[name])]
    assert missing == []


def described(field: object) -> bool:
    return isinstance(field, dict) and len(str(field.get("description", ""))) > 4


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.__name__)
def test_description_of_a_field_with_a_default_names_the_default(spec: type[Frozen]) -> None:
    schemas = mappings(spec.model_json_schema())
    fields = next((f for f in schemas if set(spec.model_fields) <= set(f)), {})
    without = [
        name
        for name, field in spec.model_fields.items()
        if field.get_default(call_default_factory=True, validated_data={}) is not None
        and not field.is_required()
        and name != "kind"
        and "default" not in fields[name]["description"].lower()
    ]
    assert without == []
