"""The page of the signatures for authors of losses, transforms, models and data readers."""

from pages.signatures import signatures_page
from segtransfer import extend


def extend_page() -> str:
    """Return the page."""
    return signatures_page(
        extend,
        "Signatures of segtransfer.extend",
        "Every name for authors of losses, transforms, gradient rules, presets, models, data "
        "readers and metrics, functions first. [Parts of your own](../how-to/registries.md) has an "
        "example of each. The site shows the signature, arguments, result and errors of each name; "
        "without the site, "
        "`help(segtransfer.extend.resize)` prints the same.",
    )
