"""Random numbers by purpose, independent of worker, batch and order."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_from(*parts: object) -> int:
    """Return a seed from the sha256 of the parts' text.

    Args:
        parts: Values whose ``str`` is hashed, in order.

    Returns:
        A number from 0 to 2^63 - 1.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def uniform(*parts: object) -> float:
    """Return a uniform number determined by the parts alone.

    Args:
        parts: Values whose ``str`` is hashed, in order.

    Returns:
        A number in [0, 1).
    """
    return seed_from(*parts) / 2**63


def schedule_group(image_id: str, groups: int) -> int:
    """Return the schedule group of an image, from the hash of its id.

    Args:
        image_id: The id of the image.
        groups: The number of groups.

    Returns:
        A number from 0 to ``groups`` - 1.
    """
    return seed_from("group", image_id) % groups


def generator_of(*parts: object) -> torch.Generator:
    """Return a torch generator on the CPU, seeded with ``seed_from`` of the parts."""
    return torch.Generator().manual_seed(seed_from(*parts))


def image_noise(seed: int, image_id: str, shape: tuple[int, ...], *parts: object) -> torch.Tensor:
    """Return U(-1, 1) noise for an image, from (seed, image id, parts).

    Args:
        seed: The seed of the experiment.
        image_id: The id of the image.
        shape: The shape of the result.
        parts: The name of the noise; another name gives independent noise.

    Returns:
        float32 of the shape, in [-1, 1), on the CPU.
    """
    generator = generator_of("noise", seed, image_id, *parts)
    return torch.rand(shape, generator=generator) * 2 - 1


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch, and restore them at the end.

    Only foreign models and losses draw from global generators.

    Args:
        parts: Values that determine the seed.
    """
    own, numpys, torchs, devices = _global_states()
    seed = seed_from("foreign", *parts)
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)
        torch.set_rng_state(torchs)
        if devices:
            torch.cuda.set_rng_state_all(devices)


def global_states() -> bytes:
    """Return the states of the global generators, to compare: any draw changes a state."""
    own, numpys, torchs, devices = _global_states()
    parts = [repr(own), repr(numpys[2:]), numpys[1].tobytes()]
    parts += [state.numpy().tobytes() for state in (torchs, *devices)]
    return b"".join(part.encode() if isinstance(part, str) else part for part in parts)


def _global_states() -> tuple[Any, Any, torch.Tensor, list[torch.Tensor]]:
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), devices
