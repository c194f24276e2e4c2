"""The page of the Python API's signatures."""

import segtransfer
from pages.signatures import signatures_page


def api_page() -> str:
    """Return the page."""
    return signatures_page(
        segtransfer,
        "Signatures of segtransfer",
        "Every public name, functions first. The [Python API](python.md) has examples. The site "
        "shows the signature, arguments, result and errors of each name; without the site, "
        "`help(segtransfer.run)` prints the same.",
    )
