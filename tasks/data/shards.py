"""Shards: the fixed lists of images that one call handles, cut inside schedule groups."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset, load
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.randomness import schedule_group


@dataclass(frozen=True)
class Outline:
    """A shard without its pixels: enough to plan with.

    Attributes:
        shard_id: The hash of the shard's content.
        group: The schedule group of all images.
        image_ids: An id per image.
        nbytes: The size of the images, in bytes.
    """

    shard_id: str
    group: int
    image_ids: tuple[str, ...]
    nbytes: int


@dataclass(frozen=True)
class Shard:
    """Images of one schedule group.

    Attributes:
        shard_id: The sha256 of ids, pixels and labels.
        group: The schedule group of all images.
        image_ids: An id per image.
        sequences: The video sequence of each image.
        images: uint8 N x 3 x H x W, RGB.
        labels: uint8 N x H x W, 255 ignored.
    """

    shard_id: str
    group: int
    image_ids: tuple[str, ...]
    sequences: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray

    @property
    def outline(self) -> Outline:
        """Return the shard without its pixels."""
        return Outline(self.shard_id, self.group, self.image_ids, self.images.nbytes)

    def intact(self) -> bool:
        """Tell whether the content still has the hash that names the shard."""
        return self.shard_id == _content_id(self.image_ids, self.group, self.images, self.labels)


def make_shards(dataset: Dataset, spec: DataSpec, *, groups: int, shard_size: int) -> list[Shard]:
    """Read a data set and cut it into shards.

    Args:
        dataset: The data set.
        spec: ``size`` and ``fit`` of the grid.
        groups: The number of schedule groups.
        shard_size: The largest number of images per shard.

    Returns:
        Shards by group, each of images of one group.

    Raises:
        InputError: If two images have one id, or images differ in size and ``spec.size`` is not
            given.
    """
    members: dict[int, list[DataItem]] = defaultdict(list)
    seen: set[str] = set()
    for item in dataset.items:
        if item.image_id in seen:
            raise InputError(f"data set {dataset.name} has two images named '{item.image_id}'")
        seen.add(item.image_id)
        members[schedule_group(item.image_id, groups)].append(item)
    shards = []
    for group in sorted(members):
        items = members[group]
        for first in range(0, len(items), shard_size):
            shards.append(_shard(dataset, items[first : first + shard_size], spec, group))
    _refuse_mixed_sizes(dataset, shards)
    return shards


def _shard(dataset: Dataset, items: list[DataItem], spec: DataSpec, group: int) -> Shard:
    pairs = [load(dataset, item, spec) for item in items]
    sizes = {image.shape[1:] for image, _ in pairs}
    if len(sizes) > 1:
        raise InputError(_mixed(dataset, sizes))
    images = np.stack([image for image, _ in pairs])
    labels = np.stack([label for _, label in pairs])
    ids = tuple(item.image_id for item in items)
    sequences = tuple(item.sequence for item in items)
    return shard_of(ids, sequences, images, labels, group=group)


def shard_of(
    ids: tuple[str, ...],
    sequences: tuple[str, ...],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    group: int,
) -> Shard:
    """Build a shard whose id is the hash of its content.

    Args:
        ids: An id per image.
        sequences: The video sequence of each image.
        images: uint8 N x 3 x H x W, RGB.
        labels: uint8 N x H x W, 255 ignored.
        group: The schedule group of all images.
    """
    return Shard(_content_id(ids, group, images, labels), group, ids, sequences, images, labels)


def _content_id(ids: tuple[str, ...], group: int, images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256(repr((ids, images.shape, group)).encode())
    digest.update(images.tobytes())
    digest.update(labels.tobytes())
    return digest.hexdigest()


def _refuse_mixed_sizes(dataset: Dataset, shards: list[Shard]) -> None:
    sizes = {shard.images.shape[2:] for shard in shards}
    if len(sizes) > 1:
        raise InputError(_mixed(dataset, sizes))


def _mixed(dataset: Dataset, sizes: set[tuple[int, ...]]) -> str:
    listed = ", ".join(f"{h} x {w}" for h, w in sorted(sizes)[:4])
    return f"images of {dataset.name} have different sizes ({listed}); give data.size"
