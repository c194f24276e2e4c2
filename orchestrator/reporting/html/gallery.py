"""Gallery of the page: some images, their AEs, perturbations and predictions, as data URIs."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from segtransfer.experiment.task import CLEAN
from segtransfer.reporting.html.tables import main_attacks
from segtransfer.reporting.panels import AMPLIFICATION, colour
from segtransfer.results import Results
from segtransfer.results.text import rows
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.labels import IGNORE_INDEX

GALLERY_BYTES = 3_200_000  # of all images, encoded as in the page
LEAST_IMAGES, MOST_IMAGES = 3, 6
LONGEST_SIDE = 384  # pixels of an image's longer side
NEAREST = Image.Resampling.NEAREST
SMALLEST_SCALE = 1 / 32


@dataclass
class ArrayCache:
    """Cache of one image's stored AEs and predictions, by attack, source and target."""

    results: Results
    _known: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _evaluations(self) -> dict[tuple[str, str | None, str, str], str]:
        return {(*c.index, c.shard_id): c.key for c in self.results.manifest.cells}

    @cached_property
    def _attacks(self) -> dict[tuple[str, str | None, str], str]:
        cells = self.results.manifest.cells
        return {(c.attack, c.source, c.shard_id): c.attack_key for c in cells if c.attack_key}

    def adversarial(
        self, attack: str, source: str | None, shard_id: str, place: int
    ) -> np.ndarray | None:
        """Return an AE, uint8 3 x H x W, or None if it is missing."""
        key = self._attacks[attack, source, shard_id]
        if key not in self._known:
            images = self.results.store.attack_images(key)
            self._known[key] = None if images is None else images[:, place].copy()
        images = self._known[key]
        return None if images is None else images[self.results.variants[attack].made]

    def prediction(
        self, attack: str, source: str | None, target: str, shard_id: str, place: int
    ) -> np.ndarray | None:
        """Return a prediction, uint8 H x W, or None if it is missing."""
        key = self._evaluations[attack, source, target, shard_id]
        if key not in self._known:
            evaluation = self.results.store.evaluation(key)
            predictions = None if evaluation is None else evaluation.predictions
            self._known[key] = None if predictions is None else predictions[place].copy()
        return self._known[key]

    def clear(self) -> None:
        """Drop all arrays."""
        self._known.clear()


def draw_gallery(results: Results, budget: int = GALLERY_BYTES) -> list[dict[str, Any]]:
    """Return up to six images; all are scaled down if fewer than three would fit the budget.

    Args:
        results: The experiment.
        budget: Bytes of all images, encoded as in the page.

    Returns:
        Per image its ``name``, ``clean`` image, ``label`` and ``predictions`` (per target), and in
        ``attacks``, per main attack and row, the AE, its perturbation and predictions. A prediction
        is a pair of data URI and percentage of correct pixels. Missing parts are None.
    """
    places = list(_chosen(results))
    if not places:
        return []
    cache = ArrayCache(results)
    scale = min(1.0, LONGEST_SIDE / max(places[0][0].images.shape[-2:]))
    shown = [_picture(cache, *places[0], scale)]
    wanted = budget / min(LEAST_IMAGES, len(places))
    while _size(shown) > wanted and scale > SMALLEST_SCALE:
        scale *= min(0.8, 0.95 * (wanted / _size(shown)) ** 0.5)
        shown = [_picture(cache, *places[0], scale)]
    for place in places[1:]:
        another = _picture(cache, *place, scale)
        if _size(shown) + _size(another) > budget:
            break
        shown.append(another)
    return shown


def _chosen(results: Results) -> Iterator[tuple[Shard, int]]:
    """Yield shard and index of images spread evenly over the data."""
    names = results.manifest.shards
    count = min(MOST_IMAGES, len(names))
    even = [names[number * len(names) // count] for number in range(count)]
    # Of few shards more images are shown; no more than those stay in memory.
    stored = (results.store.shard(name) for name in even)
    shards = [shard.first(1 + MOST_IMAGES - count) for shard in stored if shard is not None]
    longest = max((len(shard.images) for shard in shards), default=0)
    places = [(s, place) for place in range(longest) for s in shards if place < len(s.images)]
    yield from places[:MOST_IMAGES]


def _picture(cache: ArrayCache, shard: Shard, place: int, scale: float) -> dict[str, Any]:
    """Return an image's entry of the gallery."""
    results, clean = cache.results, shard.images[place]

    def predicted(attack: str, source: str | None) -> list[tuple[str, float] | None]:
        entries: list[tuple[str, float] | None] = []
        for target in results.targets:
            prediction = cache.prediction(attack, source, target, shard.shard_id, place)
            if prediction is None:
                entries.append(None)
                continue
            label = shard.labels[place]
            right = (prediction == label)[label != IGNORE_INDEX]
            share = round(100 * float(right.mean())) if len(right) else 0
            entries.append((class_map(results, prediction, scale), share))
        return entries

    def attacked(attack: str, source: str | None) -> dict[str, Any]:
        made = cache.adversarial(attack, source, shard.shard_id, place)
        pictures: dict[str, Any] = {"image": None, "perturbation": None}
        if made is not None:
            delta = made.astype(np.int16) - clean
            amplified = (128 + AMPLIFICATION * delta).clip(0, 255).astype(np.uint8)
            pictures = {
                "image": photo(made, scale),
                "perturbation": _uri(_resized(_rgb(amplified), scale, NEAREST), "jpeg", quality=40),
            }
        return {**pictures, "predictions": predicted(attack, source)}

    shown = {
        "name": shard.image_ids[place],
        "clean": photo(clean, scale),
        "label": class_map(results, shard.labels[place], scale),
        "predictions": predicted(CLEAN, None),
        "attacks": [
            [
                attacked(attack, source if results.needs_source(attack) else None)
                for source in rows(results, attack)
            ]
            for attack in main_attacks(results)
        ],
    }
    cache.clear()
    return shown


def photo(image: np.ndarray, scale: float) -> str:
    """Return an RGB image, uint8 3 x H x W, as a lossy data URI."""
    picture = _resized(_rgb(image), scale, Image.Resampling.LANCZOS)
    return _uri(picture, "webp", quality=78, method=2)


def class_map(results: Results, indices: np.ndarray, scale: float) -> str:
    """Return class indices H x W in the data set's palette as a lossless data URI.

    Index 255, not labelled, is black.
    """
    picture = _resized(Image.fromarray(indices), scale, NEAREST)
    # WebP needs half the bytes of a PNG with a palette.
    painted = Image.fromarray(colour(results, np.asarray(picture)))
    return _uri(painted, "webp", lossless=True, method=1)


def _rgb(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def _resized(picture: Image.Image, scale: float, resample: Image.Resampling) -> Image.Image:
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
