"""``segtransfer models``."""

from segtransfer.cli.console import console


def models() -> None:
    """List the models that ship."""
    from segtransfer.reporting.terminal import print_models

    print_models(console)
