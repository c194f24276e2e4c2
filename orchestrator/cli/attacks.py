"""``segtransfer attacks``."""

from segtransfer.cli.console import console


def attacks() -> None:
    """List the attack presets with their formulas."""
    from segtransfer.reporting.terminal import print_attacks

    print_attacks(console)
