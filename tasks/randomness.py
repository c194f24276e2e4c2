"""Draws that depend on what they are for, never on a worker, a batch or an order."""

import hashlib

import torch


def seed_from(*parts: object) -> int:
    """A 63-bit seed from the sha256 of the parts' text."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def uniform(*parts: object) -> float:
    """One number in [0, 1), the same wherever these parts are drawn."""
    return seed_from(*parts) / 2**63


def schedule_group(image_id: str, groups: int) -> int:
    """The schedule group of an image, in 0 .. groups - 1, by the hash of its id."""
    return seed_from("group", image_id) % groups


def generator_of(*parts: object) -> torch.Generator:
    """A CPU generator seeded from the parts."""
    return torch.Generator().manual_seed(seed_from(*parts))


def image_noise(seed: int, image_id: str, shape: tuple[int, ...], *parts: object) -> torch.Tensor:
    """U(-1, 1) noise of one image, float32 on the CPU, from (seed, image id, parts)."""
    generator = generator_of("noise", seed, image_id, *parts)
    return torch.rand(shape, generator=generator) * 2 - 1
