"""URLs in specs and messages, without credentials."""

import re
from urllib.parse import parse_qsl, urlsplit

_SECRET_OPTION = re.compile(r"passw|secret|token|credential|signature|key|^sig$", re.IGNORECASE)
_BEFORE_HOST = re.compile(r"(\w://)[^\s/]*@")
_OPTIONS = re.compile(r"(\w://[^\s?'\"]*)\?[^\s'\"]*")


def secret_part(url: str) -> str | None:
    """Return the name of the credential in a URL.

    Args:
        url: A URL.

    Returns:
        ``password``, the name of an option such as ``token``, or None.
    """
    parts = urlsplit(url)
    if parts.password is not None:
        return "password"
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    return next((name for name in names if _SECRET_OPTION.search(name)), None)


def without_credentials(text: str) -> str:
    """Remove user, password and options from all URLs in a text, for messages.

    Args:
        text: Any text.

    Returns:
        The text; other parts are unchanged.
    """
    return _OPTIONS.sub(r"\1", _BEFORE_HOST.sub(r"\1", text))
