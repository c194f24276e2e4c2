"""The values in a folder's label files, and their classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.data.names import composed
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.labels import IGNORE_INDEX, class_indices, read_pixels, whole_numbers
from segtransfer.tasks.schema import suggest

HINT = "; data.values maps other values to classes"


@dataclass(frozen=True)
class LabelValues:
    """The classes of the values in label files.

    Attributes:
        classes: The class names, by index.
        ignore_index: The value of ignored pixels, if values are class indices.
        numbers: The class index of each number, 255 to ignore; empty if numbers are class indices.
        colours: The class index of each colour 0xRRGGBB, 255 to ignore.
    """

    classes: tuple[str, ...]
    ignore_index: int
    numbers: Mapping[int, int]
    colours: Mapping[int, int]

    def read(self, path: Path) -> np.ndarray:
        """Read a label file of numbers or colours.

        Args:
            path: A grey, palette or RGB image in a lossless format.

        Returns:
            The class indices, uint8 H x W, 255 ignored.

        Raises:
            InputError: If the file cannot be read exactly, or holds a value without a class.
        """
        pixels, where = read_pixels(path, "label"), f"label {path}"
        if pixels.ndim == 2 and not self.numbers:
            count = len(self.classes)
            return class_indices(pixels, count, where, ignored=self.ignore_index, hint=HINT)
        if pixels.ndim == 2:
            return _look_up(whole_numbers(pixels, where), self.numbers, where, str)
        if pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8 or not self.colours:
            raise InputError(
                f"{where} has {pixels.shape[2]} channels; save a class index per pixel (a grey or "
                "palette PNG), or give the colours, as palette in dataset.json with a colour per "
                "class, or in data.values"
            )
        red, green, blue = (pixels[..., i].astype(np.int64) for i in range(3))
        return _look_up(red << 16 | green << 8 | blue, self.colours, where, "#{:06x}".format)


def label_values(
    spec: DataSpec, classes: tuple[str, ...], palette: Sequence[Sequence[int]]
) -> LabelValues:
    """Return the classes of the values in label files.

    Args:
        spec: ``values`` and ``ignore_index``.
        classes: The class names, by index.
        palette: RGB colours from 0 to 255, used if there is a different colour per class.

    Returns:
        The classes by number and by colour.

    Raises:
        InputError: If ``values`` names an unknown class.
    """
    colours: dict[int, int] = {}
    if len(palette) == len(classes):
        colours = {r << 16 | g << 8 | b: index for index, (r, g, b) in enumerate(palette)}
        if len(colours) < len(classes):
            colours = {}  # with a shared colour, no colour is trusted
    numbers: dict[int, int] = {}
    for value, name in (spec.values or {}).items():
        index = _index(value, composed(name) if isinstance(name, str) else name, classes)
        if value.startswith("#"):
            colours[int(value[1:], 16)] = index
        else:
            numbers[int(value)] = index
    return LabelValues(classes, spec.ignore_index, numbers, colours)


def _index(value: str, name: int | str | None, classes: tuple[str, ...]) -> int:
    if name is None:
        return IGNORE_INDEX
    if isinstance(name, str) and name in classes:
        return classes.index(name)
    if isinstance(name, int) and name < len(classes):
        return name
    raise InputError(
        f"data.values maps {value} to '{name}', no class of the data: {suggest(str(name), classes)}"
    )


def _look_up(
    codes: np.ndarray, table: Mapping[int, int], where: str, show: Callable[[int], str]
) -> np.ndarray:
    """Return the class of each code; refuse codes missing from the table."""
    found, places = np.unique(codes, return_inverse=True)
    unknown = [code for code in found.tolist() if code not in table]
    if unknown:
        raise InputError(
            f"{where} has values [{', '.join(map(show, unknown[:8]))}] without a class; map each "
            "to a class, or to null to ignore it, in data.values"
        )
    return np.array([table[code] for code in found.tolist()], np.uint8)[places].reshape(codes.shape)
