"""Gallery of the page: some images, their AEs, perturbations and predictions, as data URIs."""

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.reporting.panels import (
    amplified_difference,
    colour,
    drawn_label,
    over_image,
)
from segtransfer.reporting.pictured import pictured_sources, pictured_targets
from segtransfer.results import Results
from segtransfer.results.reader import ExperimentReader
from segtransfer.results.text import rows
from segtransfer.results.views import main_attacks
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.memory import return_freed_memory

GALLERY_BYTES = 3_200_000  # of all images, encoded as in the page
LEAST_IMAGES, MOST_IMAGES = 3, 6
LONGEST_SIDE = 384  # pixels of an image's longer side
NEAREST = Image.Resampling.NEAREST
SMALLEST_SCALE = 1 / 32


@dataclass(frozen=True)
class ImageResults:
    """The stored results of an image under the main attacks.

    Attributes:
        name: The id of the image.
        clean: The clean image, uint8 3 x H x W.
        label: The classes, uint8 H x W.
        adversarial: AEs, uint8 3 x H x W, by attack and source.
        predictions: Predictions, uint8 H x W, by attack, source and target.
    """

    name: str
    clean: np.ndarray
    label: np.ndarray
    adversarial: Mapping[tuple[str, str | None], np.ndarray]
    predictions: Mapping[MatrixIndex, np.ndarray]


def draw_gallery(results: Results, budget: int = GALLERY_BYTES) -> list[dict[str, Any]]:
    """Return up to six images; all are scaled down if fewer than three would fit the budget.

    Args:
        results: The experiment.
        budget: Bytes of all images, encoded as in the page.

    Returns:
        Per image its ``name``, ``clean`` image, ``label`` and ``predictions`` (per target), and in
        ``attacks``, per main attack and row, the AE, its perturbation and predictions. A prediction
        is a pair of data URI and percentage of correct pixels. Missing parts are None, and so are
        the parts of models without pictures.
    """
    main = {CLEAN, *main_attacks(results)}
    sources = pictured_sources(results)
    targets = pictured_targets(results, sources)
    reader = results.reader(
        lambda cell: (
            cell.attack in main and cell.source in (None, *sources) and cell.target in targets
        )
    )
    images = _chosen(reader)
    first = next(images, None)
    if first is None:
        return []
    scale = min(1.0, LONGEST_SIDE / max(first.clean.shape[-2:]))
    shown = [_picture(results, first, scale)]
    wanted = budget / min(LEAST_IMAGES, len(results.image_ids))
    while _size(shown) > wanted and scale > SMALLEST_SCALE:
        scale *= min(0.8, 0.95 * (wanted / _size(shown)) ** 0.5)
        shown = [_picture(results, first, scale)]
    for image in images:
        another = _picture(results, image, scale)
        if _size(shown) + _size(another) > budget:
            break
        shown.append(another)
    return shown


def _chosen(reader: ExperimentReader) -> Iterator[ImageResults]:
    """Yield images spread evenly over the data, and read each on its own."""
    names = reader.manifest.shards
    count = min(MOST_IMAGES, len(names))
    even = [names[number * len(names) // count] for number in range(count)]
    # Of few shards more images are shown; no more than those stay in memory.
    stored = (reader.shard(name) for name in even)
    shards = [shard.first(1 + MOST_IMAGES - count) for shard in stored if shard is not None]
    longest = max((len(shard.images) for shard in shards), default=0)
    places = [(s, place) for place in range(longest) for s in shards if place < len(s.images)]
    for shard, place in places[:MOST_IMAGES]:
        yield _read(reader, shard, place)


def _read(reader: ExperimentReader, shard: Shard, place: int) -> ImageResults:
    """Return an image of a shard with its stored results."""
    return_freed_memory()  # of the shard before
    whole = reader.shard(shard.shard_id)
    adversarial = {
        (aes.attack, aes.source): aes.images[place].copy()
        for aes in reader.adversarial(shard.shard_id, whole)
    }
    predictions = {
        scored.cell.index: over_image(scored.evaluation.predictions[place].copy(), shard.size)
        for scored in reader.scored(shard.shard_id, whole, fooled=False)
    }
    name, clean = shard.image_ids[place], shard.images[place]
    label = drawn_label(reader.manifest.headline, shard.labels[place], shard.size)
    return ImageResults(name, clean, label, adversarial, predictions)


def _picture(results: Results, image: ImageResults, scale: float) -> dict[str, Any]:
    """Return an image's entry of the gallery."""

    def predicted(attack: str, source: str | None) -> list[tuple[str, float] | None]:
        entries: list[tuple[str, float] | None] = []
        for target in results.targets:
            prediction = image.predictions.get((attack, source, target))
            if prediction is None:
                entries.append(None)
                continue
            right = (prediction == image.label)[image.label != IGNORE_INDEX]
            share = round(100 * float(right.mean())) if len(right) else 0
            entries.append((class_map(results, prediction, scale), share))
        return entries

    def attacked(attack: str, source: str | None) -> dict[str, Any]:
        made = image.adversarial.get((attack, source))
        pictures: dict[str, Any] = {"image": None, "perturbation": None}
        if made is not None:
            amplified = amplified_difference(made, image.clean)
            pictures = {
                "image": photo(made, scale),
                "perturbation": _uri(resized(rgb(amplified), scale, NEAREST), "jpeg", quality=40),
            }
        return {**pictures, "predictions": predicted(attack, source)}

    return {
        "name": image.name,
        "clean": photo(image.clean, scale),
        "label": class_map(results, image.label, scale),
        "predictions": predicted(CLEAN, None),
        "attacks": [
            [
                attacked(attack, source if results.needs_source(attack) else None)
                for source in rows(results, attack)
            ]
            for attack in main_attacks(results)
        ],
    }


def photo(image: np.ndarray, scale: float) -> str:
    """Return an RGB image, uint8 3 x H x W, as a lossy data URI.

    Args:
        image: The image.
        scale: The factor of both sides, at most 1.

    Returns:
        A data URI of WebP.
    """
    picture = resized(rgb(image), scale, Image.Resampling.LANCZOS)
    return _uri(picture, "webp", quality=78, method=2)


def class_map(results: Results, indices: np.ndarray, scale: float) -> str:
    """Return class indices H x W in the data set's palette as a lossless data URI.

    Index 255, not labelled, is black.

    Args:
        results: The experiment, whose palette colours the classes.
        indices: Class indices, uint8 H x W.
        scale: The factor of both sides, at most 1.
    """
    picture = resized(Image.fromarray(indices), scale, NEAREST)
    # WebP needs half the bytes of a PNG with a palette.
    painted = Image.fromarray(colour(results, np.asarray(picture)))
    return _uri(painted, "webp", lossless=True, method=1)


def rgb(image: np.ndarray) -> Image.Image:
    """Return an image uint8 3 x H x W, RGB, as a picture."""
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def resized(picture: Image.Image, scale: float, resample: Image.Resampling) -> Image.Image:
    """Resize a picture.

    Args:
        picture: The picture.
        scale: The ratio of both sides; at 1 the picture itself is returned.
        resample: The filter.

    Returns:
        A picture of at least one pixel per side.
    """
    if scale == 1:
        return picture
    width, height = (max(1, round(edge * scale)) for edge in picture.size)
    return picture.resize((width, height), resample)


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(sink.getvalue()).decode()}"


def _size(picture: Any) -> int:
    """Return the bytes of all data URIs in an entry of the gallery."""
    if isinstance(picture, dict):
        return sum(map(_size, picture.values()))
    if isinstance(picture, list | tuple):
        return sum(map(_size, picture))
    return len(picture) if isinstance(picture, str) else 0
