"""Panels of an image: AE, perturbation x 16 and predictions of all targets, a row per attack."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segtransfer.experiment.task import CLEAN
from segtransfer.results import Results
from segtransfer.results.reader import ScoredShard
from segtransfer.results.text import NOT_MEASURED
from segtransfer.tasks.labels import IGNORE_INDEX

AMPLIFICATION = 16
MOST_PIXELS = 1024  # of a picture's longer side; a figure shows fewer


def draw_panel(results: Results, source: str) -> Figure | None:
    """Draw the first image of an experiment under every attack made on ``source``.

    Returns:
        The figure, or None if the store lacks the image.
    """
    reader = results.reader(lambda cell: cell.attack == CLEAN or cell.source == source)
    shard_id = results.manifest.shards[0]
    shard = reader.shard(shard_id)
    if shard is None:
        return None
    attacks = [attack for attack in results.attacks if results.needs_source(attack)]
    columns = 2 + len(results.targets)
    figure = Figure(figsize=(2.5 * columns, 2.05 * (len(attacks) + 1) + 0.9), layout="constrained")
    grid = figure.subplots(len(attacks) + 1, columns, squeeze=False)
    lines = dict(zip([CLEAN, *attacks], grid, strict=True))
    clean, label = shard.images[0], shard.labels[0]
    _show(grid[0, 0], clean.transpose(1, 2, 0), "clean image")
    _show(grid[0, 1], colour(results, label), "label (black: void)")
    for name, line in lines.items():
        line[0].set_ylabel(name, fontsize=9)
    for aes in reader.adversarial(shard_id, shard):
        line, image = lines[aes.attack], aes.images[0]
        _show(line[0], image.transpose(1, 2, 0), "adversarial image")
        amplified = amplified_difference(image, clean).transpose(1, 2, 0)
        _show(line[1], amplified, f"perturbation x {AMPLIFICATION}")
    for scored in reader.scored(shard_id, shard, fooled=False):
        axes = lines[scored.cell.attack][2 + results.targets.index(scored.cell.target)]
        _prediction(results, axes, scored, label)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(f"made on {source}; image {shard.image_ids[0]}", fontsize=11, parse_math=False)
    _legend(results, figure)
    return figure


def colour(results: Results, indices: np.ndarray) -> np.ndarray:
    """Return class indices H x W as RGB uint8 H x W x 3 in the palette; 255 is black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(results.classes)] = results.manifest.palette
    table[IGNORE_INDEX] = 0
    return table[indices]


def amplified_difference(image: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return the perturbation, ``AMPLIFICATION`` times as strong around grey, as uint8."""
    delta = image.astype(np.int16) - clean
    return (128 + AMPLIFICATION * delta).clip(0, 255).astype(np.uint8)


def _prediction(results: Results, axes: Axes, scored: ScoredShard, label: np.ndarray) -> None:
    """Show the prediction of a shard's first image, with the share of right pixels."""
    cell, prediction = scored.cell, scored.evaluation.predictions[0]
    right = (prediction == label)[label != IGNORE_INDEX]
    share = f"{100 * right.mean():.0f} % right" if len(right) else NOT_MEASURED
    own = " (itself)" if cell.target == cell.source else ""
    _show(axes, colour(results, prediction), f"{cell.target}{own}: {share}")


def _show(axes: Axes, image: np.ndarray, title: str) -> None:
    every = -(-max(image.shape[:2]) // MOST_PIXELS)  # a figure holds all its pictures
    axes.imshow(image[::every, ::every].copy(), interpolation="nearest")
    axes.set_title(title, fontsize=8.5)


def _legend(results: Results, figure: Figure) -> None:
    colours = np.array(results.manifest.palette) / 255
    patches = [
        Patch(color=tuple(c), label=name) for c, name in zip(colours, results.classes, strict=True)
    ][:20]
    legend = figure.legend(
        handles=patches, loc="outside lower center", ncols=min(len(patches), 11), fontsize=8,
        frameon=False,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
