"""Checkpoints, read safely: safetensors, or torch files without foreign classes."""

import hashlib
import os
import pickle
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.urls import secret_part, without_credentials

URL_SCHEMES = ("https", "http")


def sha256_of(path: str | Path) -> str:
    """Return the hex sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def fetch(location: str, sha256: str | None) -> Path:
    """Return the local file of a checkpoint; download a URL once into the cache.

    Args:
        location: A path, or an http(s) URL.
        sha256: The hash of the content; required for a URL.

    Raises:
        InputError: If the file is missing, a URL has no ``sha256``, carries credentials or is not
            http(s), or the content has another hash.
    """
    if "://" not in location:
        path = Path(location)
        if not path.is_file():
            raise InputError(f"checkpoint {path} does not exist; give the path of a file")
    else:
        shown = without_credentials(location)
        if urlparse(location).username is not None or secret_part(location):
            # A spec is kept in the store and logged to MLflow.
            raise InputError(
                f"checkpoint {shown}: leave the credentials out of the URL; download the file, and "
                "give its path"
            )
        if sha256 is None:
            raise InputError(f"checkpoint {shown} is a URL; give its sha256 beside it")
        if urlparse(location).scheme not in URL_SCHEMES:
            raise InputError(f"checkpoint {shown}: only {', '.join(URL_SCHEMES)} URLs are read")
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "segtransfer"
        path = cache / f"{sha256}{Path(urlparse(location).path).suffix}"
        if not path.exists():
            _download(location, path)
    if sha256 is not None and (actual := sha256_of(path)) != sha256:
        if "://" in location:
            path.unlink(missing_ok=True)  # so that the next call downloads it again
        raise InputError(f"checkpoint {location} has sha256 {actual}, not {sha256} as given")
    return path


def _download(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent)
    try:
        with urllib.request.urlopen(url, timeout=60) as reply, os.fdopen(handle, "wb") as file:
            while piece := reply.read(1 << 20):
                file.write(piece)
        os.replace(partial, path)
    except (urllib.error.URLError, OSError) as error:
        Path(partial).unlink(missing_ok=True)
        raise InputError(f"checkpoint {url} could not be downloaded: {error}") from error


def load_state(path: Path, *, trust: bool = False) -> dict[str, torch.Tensor]:
    """Read the state dict of a checkpoint file, on the CPU.

    Torch files are read with ``weights_only=True`` and a short list of allowed classes that
    mmengine's checkpoints hold.

    Args:
        path: A safetensors or torch file.
        trust: Whether any class may be unpickled, which can run any code.

    Raises:
        InputError: If the file is torn, holds no state dict, or a class was refused.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:  # safetensors raises its own class for a torn file
            raise InputError(
                f"checkpoint {path} is no readable safetensors file: {error}"
            ) from error
    try:
        with torch.serialization.safe_globals(_mmengine_globals()):
            content = torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error:")[2].strip() or str(error)
        reason = reason.split("\n")[0].split(" was not an allowed")[0]
        if reason.startswith(("Unsupported operand", "invalid load key")):
            raise InputError(f"checkpoint {path} is no readable torch file: {reason}") from error
        raise InputError(
            f"checkpoint {path} needs unpickling of foreign classes, which can run any code "
            f"({reason}); if you trust its origin, set trust: true"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, ImportError, AttributeError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"checkpoint {path} is no readable torch file: {reason}") from error
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict) or not all(torch.is_tensor(v) for v in content.values()):
        raise InputError(f"checkpoint {path} holds no state dict of tensors")
    return {key.removeprefix("module."): value for key, value in content.items()}


def _mmengine_globals() -> list[Any]:
    """Return the classes of mmengine's checkpoints beside weights: message-hub histories in numpy.

    A history names its statistics as ``getattr(HistoryBuffer, "mean")``. A ``getattr`` of any other
    object would reach the interpreter's builtins, so it is refused.
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
    """Describe the keys that keep ``found`` from fitting ``expected``; empty if it fits."""
    counters = "num_batches_tracked"
    missing = [k for k in expected if k not in found and not k.endswith(counters)]
    unexpected = [k for k in found if k not in expected and not k.endswith(counters)]
    shapes = [
        f"{k} is {tuple(found[k].shape)}, the config makes {tuple(expected[k].shape)}"
        for k in expected
        if k in found and found[k].shape != expected[k].shape
    ]
    parts = [
        f"{len(keys)} {what}: {', '.join(keys[:5])}{' ...' if len(keys) > 5 else ''}"
        for what, keys in (
            ("keys missing from the checkpoint", missing),
            ("keys unknown to the config", unexpected),
            ("shapes differ", shapes),
        )
        if keys
    ]
    return "; ".join(parts)
