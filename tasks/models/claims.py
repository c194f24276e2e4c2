"""Statements in a checkpoint: class names, and the preprocessing of the training config.

mmengine and mmcv store both in the checkpoint's ``meta``, beside the weights.
"""

import ast
from collections.abc import Mapping
from typing import Any

from segtransfer.errors import InputError


def classes_of(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names in a checkpoint's ``meta``.

    mmengine writes ``dataset_meta.classes`` (at first in capitals), mmcv wrote ``CLASSES``.

    Args:
        meta: The checkpoint's ``meta``.

    Returns:
        Names by index, or None without a list.

    Raises:
        InputError: If two lists differ.
    """
    inner = meta.get("dataset_meta")
    places = {"meta": meta, "meta.dataset_meta": inner if isinstance(inner, Mapping) else {}}
    lists = {
        f"{place}.{key}": tuple(held[key])
        for place, held in places.items()
        for key in ("classes", "CLASSES")
        if _is_class_list(held.get(key))
    }
    if len(set(lists.values())) > 1:
        raise InputError(f"{' and '.join(lists)} name different classes; give the model's classes")
    return next(iter(lists.values()), None)


def _is_class_list(value: Any) -> bool:
    return (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(n, str) for n in value)
    )


def preprocessing_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``data_preprocessor`` of the training config quoted in ``meta``.

    mmengine quotes the config as ``cfg``, mmcv as ``config``, with ``img_norm_cfg`` instead. The
    text is parsed and never executed.

    Args:
        meta: The checkpoint's ``meta``.

    Returns:
        Fields by name, without None; empty without a quoted config.
    """
    texts = [meta[key] for key in ("cfg", "config") if isinstance(meta.get(key), str)]
    assigned = _assignments(texts[0]) if texts else {}
    model = assigned.get("model")
    found = model.get("data_preprocessor") if isinstance(model, dict) else None
    found = found or assigned.get("data_preprocessor")
    if not found and isinstance(old := assigned.get("img_norm_cfg"), dict):
        found = {"bgr_to_rgb": old.get("to_rgb"), **old}
    return {k: v for k, v in found.items() if v is not None} if isinstance(found, dict) else {}


def _assignments(text: str) -> dict[str, Any]:
    """Return the top-level names of a Python text whose values are literals or ``dict(...)``."""
    try:
        body = ast.parse(text).body
        return {
            statement.targets[0].id: _literal(statement.value)
            for statement in body
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _literal(node: ast.expr) -> Any:
    """Return the value of a literal or of ``dict(...)``; None for any other expression."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {word.arg: _literal(word.value) for word in node.keywords if word.arg}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def check_preprocessing(
    config: Mapping[str, Any], meta: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    """Compare a config's ``data_preprocessor`` with the statements in a checkpoint.

    Args:
        config: The ``data_preprocessor`` of the config.
        meta: The checkpoint's ``meta``.
        state: The checkpoint's tensors, which may hold ``data_preprocessor.mean`` and ``std``.

    Raises:
        InputError: If mean, standard deviation or channel order differ.
    """
    said = preprocessing_of(meta)
    differ = []
    for field, absent in (("mean", [0.0] * 3), ("std", [1.0] * 3)):
        ours = _numbers(config.get(field), absent)
        tensor = state.get(f"data_preprocessor.{field}")
        quoted = [] if tensor is None else [tensor.flatten().tolist()]
        quoted += [said[field]] if field in said else []
        for value in quoted:
            theirs = _numbers(value, None)
            if theirs and any(abs(a - b) > 1e-3 for a, b in zip(ours, theirs, strict=False)):
                differ.append(f"{field} {ours} / {theirs}")
    flips = ("bgr_to_rgb", "rgb_to_bgr")
    if any(flip in said for flip in flips):
        order = ["RGB" if any(part.get(f) for f in flips) else "BGR" for part in (config, said)]
        if order[0] != order[1]:
            differ.append(f"channel order {order[0]} / {order[1]}")
    if differ:
        raise InputError(
            f"its data_preprocessor differs from the config's (config / checkpoint: "
            f"{', '.join(differ)}); give the config of the training, or, if the config is right, "
            "save the checkpoint's state_dict alone"
        )


def _numbers(value: Any, absent: Any) -> Any:
    """Return the value as a list of three floats, or ``absent`` if it is no such list."""
    try:
        values = [float(part) for part in value]
    except (TypeError, ValueError):
        return absent
    return values if len(values) == 3 else absent
