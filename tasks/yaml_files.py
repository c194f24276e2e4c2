"""YAML that people wrote, read within limits, because a file may come from anybody."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segtransfer.errors import InputError

# libyaml where PyYAML was built with it: tens of times faster.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_BYTES = 2**20
MOST_VALUES = 100_000  # with every alias written out
MOST_LEVELS = 50
# Plain numbers as YAML 1.2 has them. PyYAML's rules are those of YAML 1.1, in which 010 is 8, 1:30
# is 90 and 1e-3 is text. Underscores and 0b11 stay, as they cannot mean anything else.
NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(?:[0-9][0-9_]*|0b[01_]+|0o[0-7]+|0x[0-9a-fA-F_]+)",
    "tag:yaml.org,2002:float": r"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)"
    r"(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


class _Loader(LOADER):
    """A loader of plain values, by the rules of YAML 1.2 for numbers."""

    # Dates and = are text, too: no spec has a field for them.
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
    """A dumper that quotes the texts that either version of YAML reads as numbers."""


for _tag, _form in NUMBERS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"(?:{_form})$"), list("-+.0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_mapping(path: Path, needs: str) -> dict[str, Any]:
    """Read the mapping in a YAML file, of plain values alone.

    Args:
        path: The file.
        needs: What the mapping should hold, for error messages.

    Raises:
        InputError: If the file cannot be read, is too large, or holds something else.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{path} is larger than {MOST_BYTES:,} bytes; give a smaller file")
    try:
        value = parse(content.decode(), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no valid YAML: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no mapping; it needs {needs}")
    return value


def parse(text: str, where: str) -> Any:
    """Parse a YAML text of plain values.

    Args:
        text: The YAML.
        where: The name of the text in error messages.

    Raises:
        InputError: If the text is no valid YAML, or too large or too deep.
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
    except Exception as error:  # PyYAML raises KeyError for !!bool x, and others like it
        raise InputError(f"{where} is no valid YAML: {' '.join(str(error).split())}") from None


def dump(value: Any, *, flow_lists: bool = False) -> str:
    """Return plain values as YAML that ``parse`` reads back, keys in their order.

    Args:
        value: The value.
        flow_lists: Whether a list or mapping of scalars is written in one line.
    """
    style = None if flow_lists else False
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=style
    )


def _check_keys(loader: Any, node: yaml.Node, where: str, seen: set[int]) -> None:
    """Refuse a mapping that gives a key twice, because only the last value would count."""
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
                f"{line}; leave one of them out"
            )
        lines[name] = line


@dataclass
class _Subtree:
    """A value that is being read: the number of values in it, and its depth."""

    anchor: str | None
    values: int = 1
    levels: int = 1


def _check_size(events: Iterable[Any], where: str) -> None:
    """Refuse YAML that nests too deeply, or is too large with every alias written out.

    Nine lines of aliases can stand for a billion values. Reading them costs nothing, but walking
    through them never ends.
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
                raise InputError(f"{where} holds *{event.anchor} inside or before &{event.anchor}")
            node = _close(anchors[event.anchor], open_nodes[-1], anchors)
        elif isinstance(event, yaml.ScalarEvent):
            node = _close(_Subtree(event.anchor), open_nodes[-1], anchors)
        else:
            continue
        if len(open_nodes) - 2 + node.levels > MOST_LEVELS:
            raise InputError(f"{where} nests more than {MOST_LEVELS} levels deep; write it flatter")
        if open_nodes[-1].values > MOST_VALUES:
            raise InputError(
                f"{where} holds more than {MOST_VALUES:,} values, aliases written out; give fewer"
            )


def _close(node: _Subtree, parent: _Subtree, anchors: dict[str, _Subtree]) -> _Subtree:
    """Add a value that was read to its end to its parent."""
    if node.anchor is not None:
        anchors[node.anchor] = node
    parent.values += node.values
    parent.levels = max(parent.levels, node.levels + 1)
    return node
