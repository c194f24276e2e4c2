"""YAML that people wrote, read within limits, because a file may come from anybody."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segtransfer.errors import InputError

# libyaml where PyYAML was built with it: tens of times faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_BYTES = 2**20
MOST_VALUES = 100_000  # with every alias written out
MOST_LEVELS = 50


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
        return yaml.load(text, LOADER)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: the 99th of a month, say
        raise InputError(f"{where} is no valid YAML: {' '.join(str(error).split())}") from None


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
