"""The verb ``segtransfer attacks``."""

from segtransfer.cli.console import console


def attacks() -> None:
    """List the presets, transforms, gradient rules and losses that a spec can name.

    The list has shipped entries and entries of installed packages, with defaults and units.

    Example:
        segtransfer attacks

    Docs: explanation/concepts, how-to/registries
    """
    from segtransfer.reporting.registries import print_entries
    from segtransfer.reporting.terminal import print_attacks
    from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS
    from segtransfer.tasks.attacks.losses import LOSSES
    from segtransfer.tasks.attacks.transforms import TRANSFORMS

    print_attacks(console)
    print_entries(console, TRANSFORMS)
    print_entries(console, GRADIENTS)
    print_entries(console, LOSSES)
