"""Overrides of fields of a raw spec, written as ``field.path=value``."""

from typing import Any

from segtransfer.errors import InputError
from segtransfer.tasks.yaml_files import parse

# The field that a bare name stands for, per list or section of a spec.
SHORTHAND = {"attacks": "preset", "attack": "preset", "models": "zoo", "data": "sample"}


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set a field of a raw spec, in place.

    Args:
        raw: The spec as read from YAML.
        override: ``field.path=value`` with a value in YAML. ``attacks.0.eps`` sets a field of the
            first attack, also if the attack is given as a bare preset name; ``attacks.*.eps``
            sets the field of every attack. Missing mappings of the path are created.

    Raises:
        InputError: The override has another form or is no YAML, or its path has an item that a list
            lacks, or a field below a plain value.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise InputError(f"override '{override}' is not of the form field.path=value")
    _set(raw, path.split("."), parse(text, f"override '{override}': '{text}'"), override)


def _set(raw: dict[str, Any], parts: list[str], value: Any, override: str) -> None:
    node: Any = raw
    for depth, part in enumerate(parts):
        where = ".".join(parts[:depth]) or "the experiment"
        if isinstance(node, list):
            if part == "*":
                for number in range(len(node)):
                    _set(raw, [*parts[:depth], str(number), *parts[depth + 1 :]], value, override)
                return
            if not part.isdigit() or int(part) >= len(node):
                allowed = f"0 to {len(node) - 1}, or * for every item" if node else "none"
                raise InputError(
                    f"override '{override}': {where} has no item '{part}'; allowed: {allowed}"
                )
            key: Any = int(part)
        elif isinstance(node, dict):
            key = part
        else:
            raise InputError(f"override '{override}': {where} is '{node}' and has no fields")
        if depth == len(parts) - 1:
            node[key] = value
            return
        child = node[key] if isinstance(node, list) else node.get(key)
        child = {} if child is None else child
        if isinstance(child, str) and parts[0] in SHORTHAND and depth < 2:
            child = {SHORTHAND[parts[0]]: child}
        node[key] = child
        node = child
