"""``segtransfer models``."""

from segtransfer.cli.console import console


def models() -> None:
    """List models, metrics, adapters and data readers: shipped, and of installed packages."""
    from segtransfer.reporting.registries import print_entries
    from segtransfer.reporting.terminal import print_models
    from segtransfer.tasks.data.reader_spec import READERS
    from segtransfer.tasks.metrics import METRICS
    from segtransfer.tasks.models.adapter_spec import ADAPTERS

    print_models(console)
    print_entries(console, ADAPTERS)
    print_entries(console, READERS)
    print_entries(console, METRICS)
