"""``segtransfer attacks``."""

from segtransfer.cli.console import console


def attacks() -> None:
    """List presets, transforms and losses: shipped ones and those of installed packages."""
    from segtransfer.reporting.registries import print_entries
    from segtransfer.reporting.terminal import print_attacks
    from segtransfer.tasks.attacks.losses import LOSSES
    from segtransfer.tasks.attacks.transforms import TRANSFORMS

    print_attacks(console)
    print_entries(console, TRANSFORMS)
    print_entries(console, LOSSES)
