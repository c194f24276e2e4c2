"""URLs that people write, and the credentials that they must not contain."""

import re
from urllib.parse import parse_qsl, urlsplit

_SECRET_OPTION = re.compile(r"passw|secret|token|credential|signature|key|^sig$", re.IGNORECASE)
_BEFORE_HOST = re.compile(r"(\w://)[^\s/]*@")
_OPTIONS = re.compile(r"(\w://[^\s?'\"]*)\?[^\s'\"]*")


def secret_part(url: str) -> str | None:
    """Return the part of a URL that is a credential: ``password``, an option's name, or None."""
    parts = urlsplit(url)
    if parts.password is not None:
        return "password"
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    return next((name for name in names if _SECRET_OPTION.search(name)), None)


def without_credentials(text: str) -> str:
    """Return a text whose URLs lack user, password and options, for messages."""
    return _OPTIONS.sub(r"\1", _BEFORE_HOST.sub(r"\1", text))
