"""Names of images, models and attacks as names of files."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

from segtransfer.tasks.schema import Text


def file_name(name: str) -> str:
    """Return a name as one part of a path on any system.

    Characters that are not allowed in file names, or would lead to another folder, are written %XX,
    so different names stay different.
    """
    return re.sub(r'[%/\\:*?"<>|\x00-\x1f]|^\.', lambda found: f"%{ord(found[0]):02X}", name)


def composed(name: str) -> str:
    """Return a name in Unicode's composed normal form, in which equal-looking names are equal."""
    return unicodedata.normalize("NFC", name)


ClassName = Annotated[Text, AfterValidator(composed)]  # the name of a class in a spec or a file
