"""Names of images, models and attacks, as names of files."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

from segtransfer.tasks.schema import Text


def file_name(name: str) -> str:
    """Return a name as a single part of a path on any system.

    Args:
        name: Any text.

    Returns:
        The text with characters forbidden in file names, slashes and a leading dot as %XX.
        Different names give different results.
    """
    return re.sub(r'[%/\\:*?"<>|\x00-\x1f]|^\.', lambda found: f"%{ord(found[0]):02X}", name)


def composed(name: str) -> str:
    """Return a name in Unicode's composed normal form (NFC).

    Args:
        name: Any text.

    Returns:
        A text that is equal for names of equal look, however their accents are encoded.
    """
    return unicodedata.normalize("NFC", name)


ClassName = Annotated[Text, AfterValidator(composed)]  # the name of a class in a spec or a file
