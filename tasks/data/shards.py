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
    """A shard without its pixels, of which the images take ``nbytes``: enough to plan with."""

    shard_id: str
    group: int
    image_ids: tuple[str, ...]
    nbytes: int


@dataclass(frozen=True)
class Shard:
    """Images uint8 N x 3 x H x W and labels uint8 N x H x W of one schedule group.

    ``shard_id`` is the sha256 of ids, pixels and labels: what the shard holds, not where it lay.
    """

    shard_id: str
    group: int
    image_ids: tuple[str, ...]
    sequences: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray

    @property
    def outline(self) -> Outline:
        return Outline(self.shard_id, self.group, self.image_ids, self.images.nbytes)

    def intact(self) -> bool:
        """Whether the content still has the hash that names it."""
        return self.shard_id == _content_id(self.image_ids, self.group, self.images, self.labels)


def make_shards(dataset: Dataset, spec: DataSpec, *, groups: int, shard_size: int) -> list[Shard]:
    """Read a data set and cut it: each shard at most ``shard_size`` images of one group.

    Raises InputError where two images have one id, or images differ in size without ``spec.size``.
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
    """The shard that holds this, under the name that follows from it."""
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
