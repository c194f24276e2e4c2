"""The survey of a data set: every image and label is read and counted once, without a model."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset, on_grid, read_pair
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import of_one_size, twice, unlabelled
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.randomness import schedule_group

MOST_READERS = 8  # threads, each with an image in memory
THUMBNAIL_SIDE = 320  # pixels of the longer side

Size = tuple[int, ...]  # height and width


@dataclass(frozen=True)
class Thumbnail:
    """A small image with its label.

    Attributes:
        image_id: The id of the image.
        image: uint8 h x w x 3, RGB.
        label: uint8 h x w, 255 ignored.
    """

    image_id: str
    image: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class ImageSizes:
    """Sizes of an image, each height and width in pixels.

    Attributes:
        file: The size of the file.
        grid: The size of the image on its grid.
        label: The size of the label used for loss and score.
    """

    file: Size
    grid: Size
    label: Size


@dataclass(frozen=True)
class Counted:
    """The facts of an image.

    Attributes:
        item: The labelled image.
        sizes: Its sizes.
        pixels: The number of pixels per value of the label on its grid, int64 256.
        thumbnail: The small image, for some images.
    """

    item: DataItem
    sizes: ImageSizes
    pixels: np.ndarray
    thumbnail: Thumbnail | None


@dataclass(frozen=True)
class Survey:
    """The facts of a data set.

    Attributes:
        dataset: The data set.
        usable: The usable images and their sizes.
        pixels: The number of labelled pixels per class, int64.
        images_with: The number of images with a pixel of the class, per class, int64.
        ignored: The number of pixels without a class.
        shards: The number of shards.
        thumbnails: Small images, evenly spaced.
        faults: A sentence per unusable image or label, and per other reason to refuse the data.
    """

    dataset: Dataset
    usable: tuple[tuple[DataItem, ImageSizes], ...]
    pixels: np.ndarray
    images_with: np.ndarray
    ignored: int
    shards: int
    thumbnails: tuple[Thumbnail, ...]
    faults: tuple[str, ...]

    @property
    def videos(self) -> int:
        """Return the number of video sequences; an image without a video is its own sequence."""
        return len({item.sequence for item, _ in self.usable})

    @property
    def sizes(self) -> Counter[ImageSizes]:
        """Return the number of usable images by their sizes."""
        return Counter(sizes for _, sizes in self.usable)


def survey(
    spec: DataSpec,
    *,
    groups: int,
    shard_size: int,
    thumbnails: int,
    tell: Callable[[int, int], None],
) -> Survey:
    """Read all images and labels of a data set, and count them.

    Up to ``MOST_READERS`` threads hold an image each.

    Args:
        spec: The data set.
        groups: The number of schedule groups.
        shard_size: The largest number of images per shard.
        thumbnails: The largest number of small images to return.
        tell: Called after each image with the number of images read and of all images.

    Returns:
        The facts. An unusable image is a sentence of ``faults`` and is counted nowhere.

    Raises:
        InputError: If the data set cannot be opened.
    """
    faults: list[str] = []
    dataset = open_dataset(spec, faults)
    usable: list[tuple[DataItem, ImageSizes]] = []
    shown: list[Thumbnail] = []
    pixels, images_with = np.zeros((2, IGNORE_INDEX + 1), np.int64)
    for done, facts in enumerate(_count_all(dataset, spec, thumbnails), 1):
        tell(done, len(dataset.items))
        if isinstance(facts, str):
            faults.append(facts)
        else:
            usable.append((facts.item, facts.sizes))
            pixels += facts.pixels
            images_with += facts.pixels > 0
            shown += [facts.thumbnail] if facts.thumbnail else []
    labelled = pixels[: len(dataset.classes)]
    return Survey(
        dataset=dataset,
        usable=tuple(usable),
        pixels=labelled,
        images_with=images_with[: len(labelled)],
        ignored=int(pixels[IGNORE_INDEX]),
        shards=_shards(usable, groups, shard_size),
        thumbnails=tuple(shown),
        faults=(*faults, *_of_the_whole(dataset, bool(usable) and not labelled.any())),
    )


def _count_all(dataset: Dataset, spec: DataSpec, thumbnails: int) -> Iterator[Counted | str]:
    """Yield the facts of each image, or the sentence of its refusal, in the order of the items.

    A reader of the user's own is called by a single thread, because its code may not be
    thread-safe.
    """
    total = len(dataset.items)
    chosen = {dataset.items[i * total // thumbnails].image_id for i in range(thumbnails)}
    readers = min(MOST_READERS, os.cpu_count() or 1) if spec.reader is None else 1
    pool = ThreadPoolExecutor(readers)
    try:
        yield from pool.map(lambda item: _count(dataset, item, spec, chosen), dataset.items)
    finally:
        pool.shutdown(cancel_futures=True)


def _count(dataset: Dataset, item: DataItem, spec: DataSpec, chosen: set[str]) -> Counted | str:
    """Return the facts of an image, or the sentence of its refusal."""
    try:
        native, indices = read_pair(dataset, item)
        image, label = on_grid(dataset, native, indices, spec)
    except InputError as error:
        return str(error)
    return Counted(
        item,
        ImageSizes(native.shape[:2], image.shape[1:], label.shape),
        np.bincount(label.ravel(), minlength=IGNORE_INDEX + 1),
        _thumbnail(item.image_id, image, label) if item.image_id in chosen else None,
    )


def _thumbnail(image_id: str, image: np.ndarray, label: np.ndarray) -> Thumbnail:
    """Return a small image 3 x H x W and its label h x w, in the label's aspect ratio."""
    ratio = min(1.0, THUMBNAIL_SIDE / max(label.shape))
    height, width = (max(1, round(side * ratio)) for side in label.shape)
    photo = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    small = photo.resize((width, height), Image.Resampling.BILINEAR)
    mask = Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST)
    return Thumbnail(image_id, np.asarray(small), np.asarray(mask))


def _shards(usable: Sequence[tuple[DataItem, ImageSizes]], groups: int, shard_size: int) -> int:
    """Return the number of shards of ``make_shards``."""
    members: dict[int, list[ImageSizes]] = defaultdict(list)
    for item, sizes in usable:
        members[schedule_group(item.image_id, groups)].append(sizes)
    cut = (
        of_one_size(group, lambda sizes: (sizes.grid, sizes.label), shard_size)
        for group in members.values()
    )
    return sum(1 for shards in cut for _ in shards)


def _of_the_whole(dataset: Dataset, nothing: bool) -> list[str]:
    """Return a sentence per reason of ``make_shards`` to refuse a set of usable images.

    Args:
        dataset: The data set.
        nothing: Whether no pixel of the usable images has a class.
    """
    ids = Counter(item.image_id for item in dataset.items)
    faults = [twice(dataset.name, image_id) for image_id, count in ids.items() if count > 1]
    return [*faults, unlabelled(dataset.name)] if nothing else faults
