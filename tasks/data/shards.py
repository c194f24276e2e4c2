"""Shards: fixed lists of images, each handled by a call, cut inside schedule groups."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset, load
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.randomness import schedule_group

MOST_WAITING = 64  # images held in memory until their shard is full
Read = tuple[DataItem, np.ndarray, np.ndarray]  # an item, its image 3 x H x W, its label h x w
Sized = TypeVar("Sized")


@dataclass(frozen=True)
class Outline:
    """A shard without its pixels, enough for a plan.

    Attributes:
        shard_id: The sha256 of the shard's content.
        group: The schedule group of all images.
        image_ids: An id per image.
        size: The height and width of all images, in pixels.
        label_size: The height and width of all labels, in pixels.
    """

    shard_id: str
    group: int
    image_ids: tuple[str, ...]
    size: tuple[int, int]
    label_size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Return the size of the images, in bytes."""
        return 3 * len(self.image_ids) * self.size[0] * self.size[1]


@dataclass(frozen=True)
class Shard:
    """Images of equal schedule group and size.

    Attributes:
        shard_id: The sha256 of ids, pixels and labels.
        group: The schedule group of all images.
        image_ids: An id per image.
        sequences: The video sequence of each image.
        images: uint8 N x 3 x H x W, RGB.
        labels: uint8 N x h x w, 255 ignored; h x w is the size of the images, or native.
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
        height, width = self.labels.shape[1:]
        return Outline(self.shard_id, self.group, self.image_ids, self.size, (height, width))

    @property
    def size(self) -> tuple[int, int]:
        """Return the height and width of all images."""
        height, width = self.images.shape[2:]
        return height, width

    @property
    def nbytes(self) -> int:
        """Return the size of images and labels, in bytes."""
        return self.images.nbytes + self.labels.nbytes

    def first(self, count: int) -> "Shard":
        """Return a shard of the first images, copied, under the same id.

        Args:
            count: The number of images; all if the shard has fewer.

        Returns:
            A shard whose ``shard_id`` is not the hash of its content; for measurements alone.
        """
        return replace(
            self,
            image_ids=self.image_ids[:count],
            sequences=self.sequences[:count],
            images=self.images[:count].copy(),
            labels=self.labels[:count].copy(),
        )

    def intact(self) -> bool:
        """Tell whether the content still has the hash in ``shard_id``."""
        return self.shard_id == _content_id(self.image_ids, self.group, self.images, self.labels)


def make_shards(
    dataset: Dataset, spec: DataSpec, *, groups: int, shard_size: int
) -> Iterator[Shard]:
    """Read a data set and cut it into shards, one at a time.

    Args:
        dataset: The data set.
        spec: ``size`` and ``fit`` of the grid.
        groups: The number of schedule groups.
        shard_size: The largest number of images per shard.

    Yields:
        Shards in the order of groups, each of images of equal group and size.

    Raises:
        InputError: If two images have the same id, an image or label cannot be read, or no pixel of
            any image has a class.
    """
    members: dict[int, list[DataItem]] = defaultdict(list)
    seen: set[str] = set()
    for item in dataset.items:
        if item.image_id in seen:
            raise InputError(twice(dataset.name, item.image_id))
        seen.add(item.image_id)
        members[schedule_group(item.image_id, groups)].append(item)
    labelled = 0
    for group in sorted(members):
        images = ((item, *load(dataset, item, spec)) for item in members[group])
        for read in of_one_size(images, _sizes, shard_size):
            shard = _shard(read, group)
            labelled += labelled_pixels(shard)
            yield shard
    if not labelled:
        raise InputError(unlabelled(dataset.name))


def twice(name: str, image_id: str) -> str:
    """Return the error of a data set with the same id for two images.

    Args:
        name: The name of the data set.
        image_id: The repeated id.
    """
    return f"data set {name} has two images with the id '{image_id}'; give each its own"


def unlabelled(name: str) -> str:
    """Return the error of a data set without a labelled pixel.

    Args:
        name: The name of the data set.
    """
    return (
        f"no image of {name} has a labelled pixel: all pixels are ignored, so nothing can be "
        "measured; give a split with public labels"
    )


def of_one_size(
    images: Iterable[Sized], sizes_of: Callable[[Sized], Hashable], shard_size: int
) -> Iterator[list[Sized]]:
    """Group images of equal sizes into lists, in order as far as sizes allow.

    At most ``MOST_WAITING`` images of several sizes are held; then the oldest list is yielded
    before it is full.

    Args:
        images: The images of a schedule group.
        sizes_of: A function from an image to the sizes of image and label.
        shard_size: The largest number of images per list.

    Yields:
        Lists of 1 to ``shard_size`` images.
    """
    waiting: dict[Hashable, list[Sized]] = {}
    for image in images:
        sizes = sizes_of(image)
        waiting.setdefault(sizes, []).append(image)
        if len(waiting[sizes]) == shard_size:
            yield waiting.pop(sizes)
        elif len(waiting) > 1 and sum(map(len, waiting.values())) > MOST_WAITING:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def _sizes(read: Read) -> Hashable:
    return read[1].shape, read[2].shape


def labelled_pixels(shard: Shard) -> int:
    """Return the number of pixels with a class in a shard.

    Args:
        shard: The shard.

    Returns:
        The number of label pixels other than 255.
    """
    return int((shard.labels != IGNORE_INDEX).sum())


def read_again(dataset: Dataset, spec: DataSpec, outline: Outline) -> Shard:
    """Read the pixels of a shard again.

    Args:
        dataset: The data set of the shard.
        spec: ``size`` and ``fit`` of the grid.
        outline: The shard without its pixels.

    Returns:
        The shard; its ``shard_id`` differs from the outline's if files changed.

    Raises:
        InputError: If an image or label cannot be read.
    """
    items = {item.image_id: item for item in dataset.items}
    chosen = [items[image_id] for image_id in outline.image_ids]
    return _shard([(item, *load(dataset, item, spec)) for item in chosen], outline.group)


def _shard(read: Sequence[Read], group: int) -> Shard:
    items, images, labels = zip(*read, strict=True)
    ids = tuple(item.image_id for item in items)
    sequences = tuple(item.sequence for item in items)
    return shard_of(ids, sequences, np.stack(images), np.stack(labels), group=group)


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
        labels: uint8 N x h x w, 255 ignored.
        group: The schedule group of all images.

    Returns:
        The shard; arrays are not copied.
    """
    return Shard(_content_id(ids, group, images, labels), group, ids, sequences, images, labels)


def _content_id(ids: tuple[str, ...], group: int, images: np.ndarray, labels: np.ndarray) -> str:
    same = labels.shape[1:] == images.shape[2:]
    shapes = (ids, images.shape, group) if same else (ids, images.shape, group, labels.shape)
    digest = hashlib.sha256(repr(shapes).encode())
    digest.update(images.ravel().data)  # no copy of a contiguous array
    digest.update(labels.ravel().data)
    return digest.hexdigest()
