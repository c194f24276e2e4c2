"""Labels: the ignored index, the rule for values, and the reader of index files."""

from pathlib import Path

import numpy as np
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.image_files import opened

IGNORE_INDEX = 255

LOSSLESS_FORMATS = ("PNG", "TIFF", "BMP", "DIB", "GIF", "PPM", "TGA", "PCX", "SGI", "IM")
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")  # Pillow's names of compressions
SAMPLE_FORMAT = 339  # the TIFF tag; 2 is a signed integer
ORIENTATION = 0x0112
# Pillow stretches grey levels of 2 and 4 bits to 8.
STRETCH = {"L;2": 85, "L;4": 17}


def read_index_map(path: Path, what: str = "label") -> np.ndarray:
    """Read a file with a whole number per pixel, for example the class indices of a label.

    A palette file gives its indices, not its colours.

    Args:
        path: A grey or palette image in a lossless format, for example PNG or TIFF.
        what: The role of the file in error messages, by default ``label``.

    Returns:
        The numbers exactly as stored, H x W, of an integer type. They are not checked against a
        class list.

    Raises:
        InputError: If the file cannot be read, is compressed with loss, has several channels or an
            EXIF orientation, or holds a fraction, NaN or infinity.
    """
    array = read_pixels(path, what)
    if array.ndim != 2:
        raise InputError(
            f"{what} {path} has {array.ndim} dimensions, not 2; save a number per pixel (the class "
            "of a label), as a grey or palette PNG, not colours"
        )
    return whole_numbers(array, f"{what} {path}")


def read_pixels(path: Path, what: str) -> np.ndarray:
    """Read the values of an index file or colour mask exactly as stored.

    Args:
        path: The file.
        what: The role of the file in error messages.

    Returns:
        H x W, or H x W x channels, of the type stored. A palette file gives its indices.

    Raises:
        InputError: If the file cannot be read, is compressed with loss, has other channels than
            grey, grey and alpha, RGB or RGBA, or is rotated by its EXIF tag. A rotated TIFF is
            allowed, because its reader applies the tag.
    """
    with opened(path, what) as file:
        compression = str(file.info.get("compression"))
        if file.format not in LOSSLESS_FORMATS or compression in LOSSY_TIFF:
            raise InputError(
                f"{what} {path} is compressed as "
                f"{compression if compression in LOSSY_TIFF else file.format}, which changes "
                "numbers; save the original as PNG"
            )
        if len(file.getbands()) > 2 and file.mode not in ("RGB", "RGBA"):
            raise InputError(
                f"{what} {path} has pixels of mode {file.mode}, without exact values; save the "
                "file as a grey or palette PNG"
            )
        tiles = getattr(file, "tile", None)  # decoding empties the list
        layout = tiles[0][3] if tiles else None
        turned = file.getexif().get(ORIENTATION, 1)
        if turned != 1 and file.format != "TIFF":  # TIFF is upright once decoded
            raise InputError(
                f"{what} {path} has the EXIF orientation {turned}, which readers of labels do not "
                "apply; save the file upright, without the tag"
            )
        return _as_stored(np.asarray(file), layout, file)


def _as_stored(array: np.ndarray, layout: object, file: Image.Image) -> np.ndarray:
    """Undo Pillow's changes of values: stretched grey levels, and the sign of 8-bit TIFF."""
    raw = layout[0] if isinstance(layout, tuple) and layout else layout
    if raw in STRETCH:
        return array // STRETCH[raw]
    signed = 2 in getattr(file, "tag_v2", {}).get(SAMPLE_FORMAT, ())
    return array.view(np.int8) if signed and array.dtype == np.uint8 else array


def whole_numbers(values: np.ndarray, where: str) -> np.ndarray:
    """Return values as integers.

    Args:
        values: Numbers or booleans of any type and shape.
        where: The origin of the values in error messages.

    Returns:
        An array of the same shape, of an integer type.

    Raises:
        InputError: If a value is NaN, infinite, a fraction, of magnitude 2^53 or more in a float
            array, or no number.
    """
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind != "f":
        raise InputError(f"{where} holds values of type {values.dtype}; give whole numbers")
    wrong = ~(np.abs(values) < 2**53) | (values != np.trunc(values))
    if wrong.any():
        shown = np.unique(values[wrong])[:4].tolist()
        raise InputError(
            f"{where} holds {shown} at {wrong.mean():.0%} of its pixels; give whole numbers"
        )
    return values.astype(np.int64)


def image_classes(labels: np.ndarray) -> np.ndarray:
    """Return the class of each image: the class of most labelled pixels.

    Args:
        labels: Class indices, integers N x h x w; 255 is ignored.

    Returns:
        Of the same type, N x 1 x 1: the first of classes with equally many pixels, 255 for an image
        without labelled pixels.
    """
    classes = np.full((len(labels), 1, 1), IGNORE_INDEX, labels.dtype)
    for image, label in enumerate(labels):
        counts = np.bincount(label.ravel(), minlength=IGNORE_INDEX + 1)[:IGNORE_INDEX]
        if counts.any():
            classes[image] = counts.argmax()
    return classes


def labels_of_grid(labels: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Return the labels for predictions on a grid: of each pixel, or of each image.

    Args:
        labels: Class indices, integers N x h x w; 255 is ignored.
        grid: Height and width of the predictions; 1 x 1 for a classifier.

    Returns:
        N x 1 x 1 for a grid of 1 x 1, else ``labels`` itself.
    """
    return image_classes(labels) if grid == (1, 1) else labels


def class_indices(
    values: np.ndarray, num_classes: int, where: str, *, ignored: int = IGNORE_INDEX, hint: str = ""
) -> np.ndarray:
    """Check the values of a label, and narrow them to class indices.

    Args:
        values: Numbers of any type, H x W.
        num_classes: K, up to 255.
        where: The origin of the values in error messages.
        ignored: The value of pixels without a class, by default 255.
        hint: The end of the error message, an action.

    Returns:
        The class indices, uint8 H x W, with 255 (``IGNORE_INDEX``) for ignored pixels.

    Raises:
        InputError: If a value is no whole number, or is neither in 0 to K - 1 nor ``ignored``.
    """
    numbers = whole_numbers(values, where)
    left_out = numbers == ignored
    wrong = ((numbers < 0) | (numbers >= num_classes)) & ~left_out
    if wrong.any():
        raise InputError(
            f"{where} has values {np.unique(numbers[wrong])[:8].tolist()}; allowed are 0 to "
            f"{num_classes - 1} (the {num_classes} classes) and {ignored} (ignored){hint}"
        )
    return np.where(left_out, IGNORE_INDEX, numbers).astype(np.uint8)
