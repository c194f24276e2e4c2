"""YAML files, read within limits, because a file may come from anybody."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segtransfer.errors import InputError

# libyaml is tens of times faster, if PyYAML was built with it.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_BYTES = 2**20
MOST_VALUES = 100_000  # every use of an alias counts
MOST_LEVELS = 50
# Plain numbers by YAML 1.2. PyYAML follows YAML 1.1, in which 010 is 8, 1:30 is 90 and 1e-3 is
# text. Underscores and 0b11 remain numbers, because no other meaning is possible.
NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(?:[0-9][0-9_]*|0b[01_]+|0o[0-7]+|0x[0-9a-fA-F_]+)",
    "tag:yaml.org,2002:float": r"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)"
    r"(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


class _Loader(LOADER):
    """A loader of plain values, by the rules of YAML 1.2 for numbers."""

    # Dates and = are text, because no spec has a field of dates.
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [r for r in found if r[0].rpartition(":")[2] in ("bool", "null", "merge")]
        for first, found in LOADER.yaml_implicit_resolvers.items()
    }

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node).replace("_", "").lower()
        for prefix, base in (("0b", 2), ("0o", 8), ("0x", 16)):
            if text.lstrip("+-").startswith(prefix):
                return int(text, base)
        return int(text)


class _Dumper(yaml.SafeDumper):
    """A dumper with quotes around texts that either version of YAML reads as numbers."""


for _tag, _form in NUMBERS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"(?:{_form})$"), list("-+.0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_mapping(path: Path, needs: str) -> dict[str, Any]:
    """Read a YAML file with a mapping of plain values.

    Args:
        path: The file, of at most 1 MiB.
        needs: The expected content of the mapping, for error messages.

    Returns:
        The mapping.

    Raises:
        InputError: If the file cannot be read, is too large, is no valid YAML, or holds no mapping.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES:,} bytes; give a smaller file")
    try:
        value = parse(content.decode(), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no valid YAML: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no mapping; give a mapping with {needs}")
    return value


def parse(text: str, where: str) -> Any:
    """Parse a YAML text of plain values, numbers by YAML 1.2.

    Args:
        text: The YAML.
        where: The name of the text in error messages.

    Returns:
        Nested mappings, lists and scalars; None for an empty text.

    Raises:
        InputError: If the text is no valid YAML, gives a key twice, has more than 100,000 values
            (every use of an alias counts), or more than 50 levels.
    """
    try:
        _check_size(yaml.parse(text, LOADER), where)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_keys(loader, node, where, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except InputError:
        raise
    except Exception as error:  # PyYAML raises KeyError for !!bool x, for example
        raise InputError(f"{where} is no valid YAML: {' '.join(str(error).split())}") from None


def dump(value: Any, *, flow_lists: bool = False) -> str:
    """Return plain values as YAML text, the inverse of ``parse``.

    Args:
        value: Nested mappings, lists and scalars; keys keep their order.
        flow_lists: Whether a list or mapping of scalars is written in a single line.

    Returns:
        The text.
    """
    style = None if flow_lists else False
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=style
    )


def _check_keys(loader: Any, node: yaml.Node, where: str, seen: set[int]) -> None:
    """Refuse a mapping with a key given twice, because only the last value would count."""
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(loader, item, where, seen)
        return
    lines: dict[Any, int] = {}
    for key, value in node.value:
        _check_keys(loader, value, where, seen)
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        name, line = loader.construct_object(key), key.start_mark.line + 1
        if name in lines:
            raise InputError(
                f"{where} gives the key '{key.value}' twice, in line {lines[name]} and in line "
                f"{line}; delete one of them"
            )
        lines[name] = line


@dataclass
class _Subtree:
    """A value during reading: the number of values in it, and its depth."""

    anchor: str | None
    values: int = 1
    levels: int = 1


def _check_size(events: Iterable[Any], where: str) -> None:
    """Refuse YAML with too many levels, or too many values if every use of an alias counts.

    Nine lines of aliases can represent a billion values: fast to read, endless to traverse.
    """
    anchors: dict[str, _Subtree] = {}
    open_nodes = [_Subtree(None)]
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            node = _Subtree(event.anchor)
            open_nodes.append(node)
        elif isinstance(event, yaml.CollectionEndEvent):
            node = _close(open_nodes.pop(), open_nodes[-1], anchors)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise InputError(
                    f"{where} uses *{event.anchor} inside or before &{event.anchor}; move the "
                    "anchor before its use"
                )
            node = _close(anchors[event.anchor], open_nodes[-1], anchors)
        elif isinstance(event, yaml.ScalarEvent):
            node = _close(_Subtree(event.anchor), open_nodes[-1], anchors)
        else:
            continue
        if len(open_nodes) - 2 + node.levels > MOST_LEVELS:
            raise InputError(f"{where} has more than {MOST_LEVELS} levels; nest fewer")
        if open_nodes[-1].values > MOST_VALUES:
            raise InputError(
                f"{where} has more than {MOST_VALUES:,} values, with every use of an alias "
                "counted; give fewer"
            )


def _close(node: _Subtree, parent: _Subtree, anchors: dict[str, _Subtree]) -> _Subtree:
    """Add a value, read to its end, to its parent."""
    if node.anchor is not None:
        anchors[node.anchor] = node
    parent.values += node.values
    parent.levels = max(parent.levels, node.levels + 1)
    return node
