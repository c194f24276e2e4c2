"""Random numbers that depend on their purpose, never on a worker, a batch or an order."""

import hashlib

import torch


def seed_from(*parts: object) -> int:
    """Return a 63-bit seed from the sha256 of the parts' text."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def uniform(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts alone."""
    return seed_from(*parts) / 2**63


def schedule_group(image_id: str, groups: int) -> int:
    """Return the schedule group of an image, 0 to groups - 1, from the hash of its id."""
    return seed_from("group", image_id) % groups


def generator_of(*parts: object) -> torch.Generator:
    """Return a CPU generator seeded from the parts."""
    return torch.Generator().manual_seed(seed_from(*parts))


def image_noise(seed: int, image_id: str, shape: tuple[int, ...], *parts: object) -> torch.Tensor:
    """Return U(-1, 1) noise for one image, float32 on the CPU, from (seed, image id, parts).

    Args:
        seed: The seed of the experiment.
        image_id: The id of the image.
        shape: The shape of the result.
        parts: Names that separate this noise from other noise of the image.
    """
    generator = generator_of("noise", seed, image_id, *parts)
    return torch.rand(shape, generator=generator) * 2 - 1
