"""Image files of users: their pixels as mmcv's default reader sees them, or a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from segtransfer.errors import InputError

RGB_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")


@contextmanager
def opened(path: Path, what: str) -> Iterator[Image.Image]:
    """Open an image file; any exception of its decoder becomes one sentence.

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
            f"{what} {path} is too large: {error} Scale the image down or cut it into tiles"
        ) from error
    except Exception as error:  # a torn file raises whatever its decoder stumbles over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what} {path} cannot be read: {reason}") from error


def read_image(path: Path) -> np.ndarray:
    """Read an image file as RGB, the same pixels as mmcv's ``imread`` decodes by default.

    EXIF orientation is applied, grey becomes RGB, an alpha channel is dropped, and of 16 bits the
    high byte counts.

    Returns:
        uint8 H x W x 3.

    Raises:
        InputError: If the file cannot be read, or its values are no RGB or grey levels of 8 or 16
            bits, for example CMYK or float.
    """
    with opened(path, "image") as file:
        check_mode(file, path)
        upright = ImageOps.exif_transpose(file)
        if upright.mode.startswith("I;16"):
            high = np.asarray(upright) >> 8
            return np.repeat(high.astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(upright.convert("RGB"))


def check_mode(file: Image.Image, path: Path) -> None:
    """Refuse an image whose values are no RGB or grey levels of 8 or 16 bits.

    Args:
        file: The image, decoded or not.
        path: The file, for the error message.

    Raises:
        InputError: If the values are others, for example CMYK or float.
    """
    if file.mode not in RGB_MODES and not file.mode.startswith("I;16"):
        raise InputError(
            f"image {path} has pixels of kind {file.mode}, which have no exact RGB values; save "
            "it as RGB or grey of 8 or 16 bits"
        )
