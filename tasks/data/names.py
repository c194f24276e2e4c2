"""Names of images, models and attacks as names of files."""

import re


def file_name(name: str) -> str:
    """A name as one part of a path on any system: a character that is not allowed there, or would
    lead elsewhere, is written %XX, so that different names stay different."""
    return re.sub(r'[%/\\:*?"<>|\x00-\x1f]|^\.', lambda found: f"%{ord(found[0]):02X}", name)
