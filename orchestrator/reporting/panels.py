"""Panels of an image: AE, perturbation and predictions of all targets, a row per attack."""

import math
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segtransfer.experiment.task import CLEAN
from segtransfer.reporting.drawn_tables import (
    GREY,
    LINE_HEIGHT,
    NAME,
    NOTE,
    TEXT,
    TITLE,
    width_of_text,
    wrapped,
)
from segtransfer.reporting.matrix_tables import ATTACK_AXIS, TARGET_AXIS, by_backbone
from segtransfer.reporting.pictured import pictured_targets
from segtransfer.reporting.table_pages import MARGIN, PAGE_WIDTH
from segtransfer.results import Results
from segtransfer.results.reader import ScoredShard
from segtransfer.results.text import NOT_MEASURED, settings
from segtransfer.tasks.image_metrics import OF_IMAGES
from segtransfer.tasks.labels import IGNORE_INDEX, labels_of_grid

AMPLIFICATION = 16
MOST_PIXELS = 1024  # of a picture's longer side; a figure shows fewer
DARK, BRIGHT = 0.33, 0.42  # mean of an image that is brightened, and the mean it then has
LABELS, NARROWEST = 1.35, 1.15  # inches, of the attacks' names and of the least picture
GAP, CAPTION = 0.06, 0.2  # inches, between pictures and for the text below each
MOST_SWATCHES = 24  # in the legend


def draw_panel(results: Results, source: str) -> Figure | None:
    """Draw the first image of an experiment under every attack made on a source model.

    Of many targets, the source itself and the first ones of each backbone are drawn.

    Args:
        results: The experiment.
        source: The source model. Attacks without a source model are drawn as well.

    Returns:
        The figure, or None if the store lacks the image.
    """
    targets = pictured_targets(results, [source])
    reader = results.reader(lambda cell: cell.source in (None, source) and cell.target in targets)
    shard_id = results.manifest.shards[0]
    shard = reader.shard(shard_id)
    if shard is None:
        return None
    label = drawn_label(results.headline, shard.labels[0], shard.size)
    panel = _Panel(results, source, targets, shard.images[0], label, shard.image_ids[0])
    for aes in reader.adversarial(shard_id, shard):
        panel.adversarial(aes.attack, aes.images[0])
    for scored in reader.scored(shard_id, shard, fooled=False):
        panel.prediction(scored)
    return panel.figure


class _Panel:
    """A figure with a row per attack and a column per target, filled picture by picture."""

    def __init__(
        self,
        results: Results,
        source: str,
        targets: list[str],
        image: np.ndarray,
        label: np.ndarray,
        name: str,
    ) -> None:
        self._results, self._clean, self._label = results, image, label
        groups = by_backbone(results, targets)
        self._targets = {model: group.name for group in groups for model in group.models}
        self._rows = [CLEAN, *results.attacks]
        columns = 2 + len(self._targets)
        room = PAGE_WIDTH - LABELS - 2 * MARGIN - GAP * (columns - 1)
        self._wide = max(NARROWEST, room / columns)
        self._high = self._wide * image.shape[1] / image.shape[2]
        self._gamma = gamma_of(image)
        self._width = 2 * MARGIN + LABELS + columns * self._wide + GAP * (columns - 1)
        heading = f"Image {name} under attacks made on {source}"
        self._lines = wrapped(heading, self._width - 2 * MARGIN, TITLE)
        self._top = MARGIN + 0.2 * len(self._lines) + 0.06 + 3 * LINE_HEIGHT
        self._legend = list(self._legend_lines())
        notes = self._notes()
        below = 0.1 + LINE_HEIGHT * (1.3 * len(self._legend) + len(notes)) + MARGIN
        self._height = self._top + len(self._rows) * (self._high + CAPTION) + below
        self.figure = Figure(figsize=(self._width, self._height))
        self._axes = {
            (row, column): self._place(i, column)
            for i, row in enumerate(self._rows)
            for column in range(columns)
        }
        self._heads()
        self._foot(notes)
        self._show(CLEAN, 0, self._bright(image), "clean image")
        self._show(CLEAN, 1, colour(results, label), "label")

    def adversarial(self, attack: str, image: np.ndarray) -> None:
        """Show an AE, uint8 3 x H x W, and its perturbation.

        Args:
            attack: The name of an attack's variant.
            image: The AE.
        """
        self._show(attack, 0, self._bright(image), "adversarial image")
        amplified = amplified_difference(image, self._clean).transpose(1, 2, 0)
        self._show(attack, 1, amplified, f"perturbation × {AMPLIFICATION}")

    def prediction(self, scored: ScoredShard) -> None:
        """Show the prediction of a shard's first image, with the share of correct pixels.

        Args:
            scored: The predictions of a target on a shard.
        """
        cell, size = scored.cell, (self._clean.shape[-2], self._clean.shape[-1])
        prediction = over_image(scored.evaluation.predictions[0], size)
        right = (prediction == self._label)[self._label != IGNORE_INDEX]
        share = f"{100 * right.mean():.0f} % correct" if len(right) else NOT_MEASURED
        column = 2 + list(self._targets).index(cell.target)
        axes = self._show(cell.attack, column, colour(self._results, prediction), share)
        if cell.source and self._results.group(cell.source, cell.target) == "diagonal":
            for side in axes.spines.values():
                side.set(visible=True, linewidth=2.2, color="black")

    def _place(self, row: int, column: int) -> Axes:
        x = MARGIN + LABELS + column * (self._wide + GAP)
        y = self._top + row * (self._high + CAPTION)
        box = (x / self._width, 1 - (y + self._high) / self._height,
               self._wide / self._width, self._high / self._height)  # fmt: skip
        axes = self.figure.add_axes(box, facecolor="#eeeeee")
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set_visible(False)
        return axes

    def _show(self, row: str, column: int, picture: np.ndarray, caption: str) -> Axes:
        axes = self._axes[row, column]
        every = -(-max(picture.shape[:2]) // MOST_PIXELS)  # a figure holds all its pictures
        shown = picture[::every, ::every].copy()
        axes.imshow(shown, interpolation="nearest", aspect="auto")
        axes.set_xlabel(caption, fontsize=TEXT, labelpad=2)
        return axes

    def _bright(self, image: np.ndarray) -> np.ndarray:
        """Return an image as uint8 H x W x 3, brightened like the clean image."""
        picture = image.transpose(1, 2, 0)
        if self._gamma == 1:
            return picture
        return (255 * (picture / 255) ** self._gamma).round().astype(np.uint8)

    def _write(self, x: float, y: float, text: str, points: float, **style: object) -> None:
        look = {"va": "center", "parse_math": False} | style
        place = x / self._width, 1 - y / self._height
        self.figure.text(*place, text, fontsize=points, **look)  # type: ignore[arg-type]

    def _heads(self) -> None:
        """Write the title, and the names of columns and rows."""
        for i, line in enumerate(self._lines):
            self._write(MARGIN, MARGIN + 0.1 + 0.2 * i, line, TITLE)
        left = MARGIN + LABELS + 2 * (self._wide + GAP)
        self._write(left, self._top - 2.5 * LINE_HEIGHT, f"{TARGET_AXIS} →", TEXT, color=GREY)
        self._write(MARGIN, self._top - 0.5 * LINE_HEIGHT, f"{ATTACK_AXIS} ↓", TEXT, color=GREY)
        for target, backbone in self._targets.items():
            middle = left + self._wide / 2
            heads = (NAME, target, 1.5, "black"), (NOTE, backbone, 0.5, GREY)
            for points, text, up, shade in heads:
                y, (line, *_) = self._top - up * LINE_HEIGHT, wrapped(text, self._wide, points)
                self._write(middle, y, line, points, ha="center", color=shade)
            left += self._wide + GAP
        for i, row in enumerate(self._rows):
            y = self._top + i * (self._high + CAPTION) + 0.1
            self._write(MARGIN, y, row, NAME, weight="bold")
            words = settings(self._results, row) if row != CLEAN else ""
            for number, line in enumerate(wrapped(words, LABELS - 0.1, NOTE) if words else ()):
                self._write(MARGIN, y + (number + 1.1) * LINE_HEIGHT, line, NOTE, color=GREY)

    def _notes(self) -> list[str]:
        """Return the sentences that explain the figure."""
        notes = [
            "Correct: the share of labelled pixels whose predicted class is that of the label. "
            "Black pixels of the label are not labelled.",
            "A framed prediction is white-box: the source is the target, or a part of it. "
            f"Perturbations are drawn {AMPLIFICATION} times as strong, around grey.",
        ]
        if len(self._targets) < len(self._results.targets):
            notes.append(
                f"{len(self._targets)} of {len(self._results.targets)} targets are drawn: "
                "white boxes, and the first ones of each backbone."
            )
        if self._gamma != 1:
            notes.append(f"Photographs are shown brighter than they are (gamma {self._gamma:.2f}).")
        room = self._width - 2 * MARGIN
        return [line for note in notes for line in wrapped(note, room, TEXT)]

    def _legend_lines(self) -> Iterator[list[tuple[str, tuple[float, ...]]]]:
        """Yield the classes with their colours, in lines as wide as the figure."""
        line: list[tuple[str, tuple[float, ...]]] = []
        used = 0.0
        palette = np.array(self._results.manifest.palette) / 255
        for name, shade in list(zip(self._results.classes, palette, strict=True))[:MOST_SWATCHES]:
            need = width_of_text(name, TEXT) + 0.45
            if line and used + need > self._width - 2 * MARGIN:
                yield line
                line, used = [], 0.0
            line.append((name, tuple(shade)))
            used += need
        yield line

    def _foot(self, notes: list[str]) -> None:
        """Draw the legend of the classes, and the notes."""
        y = self._top + len(self._rows) * (self._high + CAPTION) + 0.1
        for line in self._legend:
            x = MARGIN
            for name, shade in line:
                box = x / self._width, 1 - (y + 0.05) / self._height
                size = 0.2 / self._width, 0.1 / self._height
                self.figure.add_artist(Rectangle(box, *size, color=shade, lw=0))
                self._write(x + 0.26, y, name, TEXT)
                x += width_of_text(name, TEXT) + 0.45
            y += 1.3 * LINE_HEIGHT
        for note in notes:
            self._write(MARGIN, y, note, TEXT, color=GREY)
            y += LINE_HEIGHT


def gamma_of(image: np.ndarray) -> float:
    """Return the exponent that makes a dark image bright enough to be seen; 1 for others.

    Args:
        image: The clean image, uint8 3 x H x W.
    """
    mean = float(image.mean()) / 255
    return math.log(BRIGHT) / math.log(mean) if 0 < mean < DARK else 1.0


def colour(results: Results, indices: np.ndarray) -> np.ndarray:
    """Return class indices H x W as RGB uint8 H x W x 3 in the palette; 255 is black.

    Args:
        results: The experiment, whose palette colours the classes.
        indices: Class indices, uint8 H x W.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(results.classes)] = results.manifest.palette
    table[IGNORE_INDEX] = 0
    return table[indices]


def drawn_label(headline: str, label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the label of an image as the targets are scored on it, on the image's grid.

    Args:
        headline: The experiment's headline metric.
        label: Class indices, uint8 h x w.
        size: Height and width of the image.

    Returns:
        The label itself; for classifiers the class of the image at each of H x W pixels.
    """
    grid = (1, 1) if headline == OF_IMAGES else label.shape
    return over_image(labels_of_grid(label[None], grid)[0], size)


def over_image(classes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return classes for drawing: the class of a whole image, 1 x 1, at each of its pixels.

    Args:
        classes: Class indices, uint8 h x w.
        size: Height and width of the image.

    Returns:
        uint8 H x W for 1 x 1, else ``classes`` itself.
    """
    return np.full(size, classes.item(), np.uint8) if classes.shape == (1, 1) else classes


def amplified_difference(image: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return the perturbation, ``AMPLIFICATION`` times as strong around grey, as uint8.

    Args:
        image: The AE, uint8 3 x H x W.
        clean: The clean image, uint8 3 x H x W.

    Returns:
        uint8 3 x H x W; 128 is no change, and stronger changes are clipped to 0 and 255.
    """
    delta = image.astype(np.int16) - clean
    return (128 + AMPLIFICATION * delta).clip(0, 255).astype(np.uint8)
