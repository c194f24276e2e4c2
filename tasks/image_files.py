"""Image files of users: pixels as mmcv's default reader decodes them, or an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from segtransfer.errors import InputError

RGB_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")


@contextmanager
def opened(path: Path, what: str) -> Iterator[Image.Image]:
    """Open an image file; turn any exception of its decoder into an InputError.

    Args:
        path: The file.
        what: The role of the file in error messages, for example ``image``.

    Yields:
        The file, not yet decoded.

    Raises:
        InputError: If the file cannot be decoded, or has more pixels than Pillow decodes.
    """
    try:
        with Image.open(path) as file:
            yield file
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{what} {path} is too large: {error} Scale the image down, or cut it into tiles"
        ) from error
    except Exception as error:  # a torn file raises any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{what} {path} cannot be read: {reason}; restore the file, or save it as PNG again"
        ) from error


def read_image(path: Path) -> np.ndarray:
    """Read an image file as RGB, with the pixels of mmcv's default ``imread``.

    EXIF orientation is applied, grey becomes RGB, an alpha channel is dropped, and 16 bits are cut
    to the high byte.

    Args:
        path: A file in any format of Pillow.

    Returns:
        uint8 H x W x 3, RGB.

    Raises:
        InputError: If the file cannot be decoded, has more pixels than Pillow decodes, or has
            pixels of another kind than RGB or grey of 8 or 16 bits, for example CMYK or float.
    """
    with opened(path, "image") as file:
        check_mode(file, path)
        upright = ImageOps.exif_transpose(file)
        if upright.mode.startswith("I;16"):
            high = np.asarray(upright) >> 8
            return np.repeat(high.astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(upright.convert("RGB"))


def check_mode(file: Image.Image, path: Path) -> None:
    """Check that an image has RGB or grey levels of 8 or 16 bits.

    Args:
        file: The image, decoded or not.
        path: The file, for the error message.

    Raises:
        InputError: If the image has other pixels, for example CMYK or float.
    """
    if file.mode not in RGB_MODES and not file.mode.startswith("I;16"):
        raise InputError(
            f"image {path} has pixels of mode {file.mode}, without exact RGB values; save the "
            "image as RGB or grey of 8 or 16 bits"
        )
