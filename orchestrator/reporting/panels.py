"""Panels of an image: AE, perturbation x 16 and predictions of all targets, a row per attack."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segtransfer.experiment.task import CLEAN
from segtransfer.results import Results
from segtransfer.results.text import NOT_MEASURED
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.labels import IGNORE_INDEX

AMPLIFICATION = 16
MOST_PIXELS = 1024  # of a picture's longer side; a figure shows fewer


def draw_panel(results: Results, source: str) -> Figure | None:
    """Draw the first image of an experiment under every attack made on ``source``.

    Returns:
        The figure, or None if the store lacks the image.
    """
    shard_id = results.manifest.shards[0]
    shard = results.store.shard(shard_id)
    if shard is None:
        return None
    attacks = [attack for attack in results.attacks if results.needs_source(attack)]
    columns = 2 + len(results.targets)
    figure = Figure(figsize=(2.5 * columns, 2.05 * (len(attacks) + 1) + 0.9), layout="constrained")
    grid = figure.subplots(len(attacks) + 1, columns, squeeze=False)
    shard = shard.first(1)
    clean = shard.images[0]
    _show(grid[0, 0], clean.transpose(1, 2, 0), "clean image")
    _show(grid[0, 1], colour(results, shard.labels[0]), "label (black: void)")
    _predictions(results, grid[0, 2:], CLEAN, None, shard)
    grid[0, 0].set_ylabel("clean", fontsize=9)
    for line, attack in zip(grid[1:], attacks, strict=True):
        key = _attack_key(results, attack, source, shard_id)
        images = results.store.attack_images(key) if key else None
        line[0].set_ylabel(attack, fontsize=9)
        if images is not None:
            image = images[results.variants[attack].made][0]
            delta = image.astype(np.int16) - clean
            amplified = (128 + AMPLIFICATION * delta).clip(0, 255).astype(np.uint8)
            _show(line[0], image.transpose(1, 2, 0), "adversarial image")
            _show(line[1], amplified.transpose(1, 2, 0), f"perturbation x {AMPLIFICATION}")
        _predictions(results, line[2:], attack, source, shard)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(f"made on {source}; image {shard.image_ids[0]}", fontsize=11)
    _legend(results, figure)
    return figure


def colour(results: Results, indices: np.ndarray) -> np.ndarray:
    """Return class indices H x W as RGB uint8 H x W x 3 in the palette; 255 is black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(results.classes)] = results.manifest.palette
    table[IGNORE_INDEX] = 0
    return table[indices]


def _predictions(
    results: Results, axes_row: np.ndarray, attack: str, source: str | None, shard: Shard
) -> None:
    for axes, target in zip(axes_row, results.targets, strict=True):
        key = _evaluation_key(results, attack, source, target, shard.shard_id)
        evaluation = results.store.evaluation(key) if key else None
        if evaluation is None:
            continue
        prediction, label = evaluation.predictions[0], shard.labels[0]
        right = (prediction == label)[label != IGNORE_INDEX]
        share = f"{100 * right.mean():.0f} % right" if len(right) else NOT_MEASURED
        own = " (itself)" if target == source else ""
        _show(axes, colour(results, prediction), f"{target}{own}: {share}")


def _show(axes: Axes, image: np.ndarray, title: str) -> None:
    every = -(-max(image.shape[:2]) // MOST_PIXELS)  # a figure holds all its pictures
    axes.imshow(image[::every, ::every].copy(), interpolation="nearest")
    axes.set_title(title, fontsize=8.5)


def _legend(results: Results, figure: Figure) -> None:
    colours = np.array(results.manifest.palette) / 255
    patches = [
        Patch(color=tuple(c), label=name) for c, name in zip(colours, results.classes, strict=True)
    ][:20]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=min(len(patches), 11), fontsize=8,
        frameon=False,
    )  # fmt: skip


def _attack_key(results: Results, attack: str, source: str, shard_id: str) -> str | None:
    for cell in results.manifest.cells:
        if (cell.attack, cell.source, cell.shard_id) == (attack, source, shard_id):
            return cell.attack_key
    return None


def _evaluation_key(
    results: Results, attack: str, source: str | None, target: str, shard_id: str
) -> str | None:
    for cell in results.manifest.cells:
        if (*cell.index, cell.shard_id) == (attack, source, target, shard_id):
            return cell.key
    return None
