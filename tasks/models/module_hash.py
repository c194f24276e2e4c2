"""The hash of a torch module's tensors, the identity of a model built by a callable."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from segtransfer.errors import InputError


def module_hash(module: nn.Module, name: str) -> str:
    """Return the sha256 of names, types, shapes and bytes of all tensors of a module.

    The hash covers parameters, buffers (persistent or not), tensors and arrays in plain attributes,
    and the extra state of modules.

    Args:
        module: The module, on any device.
        name: The model's name, for messages.

    Returns:
        64 hex digits.

    Raises:
        InputError: If a parameter has no shape yet.
    """
    digest = hashlib.sha256()
    for path, tensor in sorted(_tensors(module), key=lambda item: item[0]):
        if is_lazy(tensor):
            raise InputError(
                f"model '{name}': {path} has no shape before the first forward (a lazy module); "
                "let the callable run one forward"
            )
        tensor = tensor.detach()
        if not tensor.is_meta:
            tensor = tensor.dequantize() if tensor.is_quantized else tensor
            tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
            tensor = tensor.cpu().resolve_conj().resolve_neg()
        digest.update(json.dumps([path, str(tensor.dtype), list(tensor.shape)]).encode())
        if not tensor.is_meta:
            content = tensor.contiguous().reshape(-1).view(torch.uint8)
            digest.update(content.numpy().tobytes())
    return digest.hexdigest()


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield all tensors of a module with their paths."""
    for path, part in module.named_modules():
        yield from _within(f"{path}.", dict(part.named_parameters(recurse=False)))
        yield from _within(f"{path}.", dict(part.named_buffers(recurse=False)))
        held = {k: v for k, v in vars(part).items() if k not in ("_parameters", "_buffers")}
        yield from _within(f"{path}.", {k: v for k, v in held.items() if k != "_modules"})
        if type(part).get_extra_state is not nn.Module.get_extra_state:
            yield from _within(f"{path}.", {"extra_state": part.get_extra_state()})


def _within(
    path: str, value: Any, around: frozenset[int] = frozenset()
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors and arrays in nested mappings, lists and tuples.

    Args:
        path: The place of the value.
        value: Anything; other kinds yield nothing.
        around: The ids of the containers around the value, because containers may hold themselves.
    """
    if torch.is_tensor(value):
        yield path, value
    elif isinstance(value, np.ndarray) and value.dtype != object:
        content = torch.from_numpy(np.frombuffer(value.tobytes(), np.uint8).copy())
        yield f"{path}:{value.dtype}{value.shape}", content
    elif isinstance(value, Mapping | list | tuple) and id(value) not in around:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            yield from _within(f"{path}{key}/", inner, around | {id(value)})
