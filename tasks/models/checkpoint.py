"""Checkpoints, read safely: safetensors, or torch files without foreign classes."""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.models.files import foreign_kind

COUNTER = "num_batches_tracked"  # of batch norms; without effect in evaluation
# Names of the entry with the weights, in a file with further state dicts, for example an average.
STATE_ENTRIES = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        state: The tensors by name, without the wrappers' ``module.`` and ``_orig_mod.``.
        meta: The dictionary ``meta`` of mmengine and mmcv, beside the weights; empty if absent.
    """

    state: dict[str, torch.Tensor]
    meta: Mapping[str, Any]


def load_state(path: Path, *, trust: bool = False) -> dict[str, torch.Tensor]:
    """Read the state dict of a checkpoint file.

    Args:
        path: A safetensors or torch file.
        trust: Whether any class may be unpickled, which can run any code.

    Returns:
        Tensors by name, on the CPU; errors are those of ``load_checkpoint``.
    """
    return load_checkpoint(path, trust=trust).state


def load_checkpoint(path: Path, *, trust: bool = False) -> Checkpoint:
    """Read a checkpoint file, on the CPU.

    Torch files are read with ``weights_only=True`` and a short list of further allowed classes,
    those in mmengine's checkpoints.

    Args:
        path: A safetensors or torch file.
        trust: Whether any class may be unpickled, which can run any code.

    Returns:
        The tensors by name, and ``meta``.

    Raises:
        InputError: If the file is torn, holds no state dict or several, or needs a refused class.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path, trust)
    meta = content.get("meta") if isinstance(content, dict) else None
    state = {_unwrapped(key): value for key, value in _state_of(path, content).items()}
    return Checkpoint(state, meta if isinstance(meta, Mapping) else {})


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own class for a torn file
        raise _unreadable(path, "safetensors", str(error)) from error


def _read_torch(path: Path, trust: bool) -> Any:
    try:
        with torch.serialization.safe_globals(_mmengine_globals()):
            return torch.load(
                path, map_location="cpu", weights_only=not trust, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error:")[2].strip() or str(error)
        reason = reason.split("\n")[0].split(" was not an allowed")[0]
        if foreign_kind(path) or reason.startswith(("Unsupported operand", "invalid load key")):
            raise _unreadable(path, "torch", reason) from error
        raise InputError(
            f"checkpoint {path} needs to unpickle foreign classes, which can run any code "
            f"({reason}); if you trust its origin, set trust: true"
        ) from error
    except Exception as error:  # a torn or hostile pickle can raise anything
        raise _unreadable(path, "torch", str(error)) from error


def _unreadable(path: Path, library: str, reason: str) -> InputError:
    kind = foreign_kind(path)
    reason = f"it is {kind}" if kind else reason.split("\n")[0]
    return InputError(
        f"checkpoint {path} is no readable {library} file: {reason}; download or save it again"
    )


def _state_of(path: Path, content: Any) -> dict[str, torch.Tensor]:
    """Return the state dict of a file's content: the content, or its entry with the weights.

    Raises:
        InputError: If there is none, or several without a conventional name.
    """
    if isinstance(content, nn.Module):  # with trust
        content = content.state_dict()
    if not isinstance(content, dict):
        raise InputError(f"checkpoint {path} holds no state dict; save the network's state_dict()")
    if content and all(torch.is_tensor(value) for value in content.values()):
        return content
    entries = {
        name: value.state_dict() if isinstance(value, nn.Module) else value
        for name, value in content.items()
    }
    found = [name for name, value in entries.items() if _holds_state(value)]
    usual = [name for name in STATE_ENTRIES if name in found]
    if len(found) > 1 and not usual:
        raise InputError(
            f"checkpoint {path} holds several state dicts ({', '.join(map(str, found))}); save a "
            "file with the network's weights alone"
        )
    if not found:
        raise InputError(f"checkpoint {path} holds no state dict; save the network's state_dict()")
    return _state_of(path, entries[(usual or found)[0]])


def _holds_state(value: Any, depth: int = 1) -> bool:
    """Tell whether a value is a state dict, or a dictionary with one inside.

    An optimizer's tensors are two dictionaries deep.
    """
    if not isinstance(value, dict) or not value:
        return False
    if all(isinstance(k, str) and torch.is_tensor(v) for k, v in value.items()):
        return True
    return depth > 0 and any(_holds_state(inner, depth - 1) for inner in value.values())


def _unwrapped(key: str) -> str:
    """Return a tensor's name without the prefixes of torch.compile and parallel training."""
    key = key.replace("_orig_mod.", "")
    while key.startswith("module."):
        key = key.removeprefix("module.")
    return key


def select(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the tensors of a file under the names of a network.

    If the network was an attribute of another module (``model.``, ``ema.module.``), the names lose
    the prefix, and tensors outside the prefix are left out.

    Args:
        expected: The network's tensors by name.
        found: The file's tensors by name.

    Returns:
        The file's tensors; unchanged if a name fits without a change, or if no prefix fits.

    Raises:
        InputError: If all names of ``expected`` occur below several prefixes.
    """
    needed = [key for key in expected if not key.endswith(COUNTER)]
    if not needed or any(key in found for key in needed):
        return dict(found)
    ends = "." + needed[0]
    prefixes = [
        key.removesuffix(needed[0])
        for key in found
        if key.endswith(ends) and all(key.removesuffix(needed[0]) + k in found for k in needed)
    ]
    if len(prefixes) > 1:
        raise InputError(
            f"the file holds the network {len(prefixes)} times ({', '.join(prefixes)}); save a "
            "file with one of them alone"
        )
    if not prefixes:
        return dict(found)
    return {
        key.removeprefix(prefixes[0]): value
        for key, value in found.items()
        if key.startswith(prefixes[0])
    }


def _mmengine_globals() -> list[Any]:
    """Return the classes in mmengine's checkpoints beside weights: message-hub histories in numpy.

    A history names its statistics as ``getattr(HistoryBuffer, "mean")``. A ``getattr`` of any other
    object is refused, because it could reach the interpreter's builtins.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    dtypes = {type(np.dtype(kind)) for kind in "?bhilqBHILQefd"}
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]

    def statistic(owner: Any, name: str) -> Any:
        if owner is not HistoryBuffer or name.startswith("_"):
            raise pickle.UnpicklingError(f"getattr of {owner!r} and '{name}' is not allowed")
        return getattr(owner, name)

    narrow = (statistic, "builtins.getattr")
    return [HistoryBuffer, np.ndarray, np.dtype, reconstruct, scalar, narrow, *dtypes]


def describe_mismatch(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> str:
    """Describe the difference between a file's tensors and a network's.

    Args:
        expected: The network's tensors by name.
        found: The file's tensors by name.

    Returns:
        Missing keys, unknown keys and different shapes, five of each; empty without a difference.
    """
    missing = [k for k in expected if k not in found and not k.endswith(COUNTER)]
    unexpected = [k for k in found if k not in expected and not k.endswith(COUNTER)]
    shapes = [
        f"{k} is {tuple(found[k].shape)}, the network has {tuple(expected[k].shape)}"
        for k in expected
        if k in found and found[k].shape != expected[k].shape
    ]
    parts = [
        f"{len(keys)} {what}: {', '.join(keys[:5])}{' ...' if len(keys) > 5 else ''}"
        for what, keys in (
            ("keys missing from the checkpoint", missing),
            ("keys unknown to the network", unexpected),
            ("shapes differ", shapes),
        )
        if keys
    ]
    return "; ".join(parts)
