"""Slots, models and clients of a fleet on the terminal."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from segtransfer.reporting.live import plural, rough

if TYPE_CHECKING:
    from segtransfer.runtime.executors.ray.fleets import FleetStatus


def print_fleet(news: "FleetStatus", console: Console) -> None:
    """Print a fleet's task counts, its slots with models and tasks, and fingerprints.

    Args:
        news: The status of the fleet.
        console: The terminal.
    """
    status = news.status
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items() if count)
    console.print(
        f"Fleet '{news.name}': {plural(len(status.slots), 'slot')}, "
        f"{plural(status.clients, 'client')}, tasks: {counts or 'none'}; "
        f"{plural(status.retries, 'retry', 'retries')}",
        highlight=False,
    )
    if status.seconds_left:
        console.print(f"Time left: {rough(status.seconds_left)}", highlight=False)
    console.print(f"Store: {news.store}", highlight=False)
    if not status.slots:
        console.print("No slot is ready yet; workers take some seconds to start.")
        return
    table = Table("slot", "model", "task", "for", "queue", "done", "forwards/s")
    for column in table.columns[3:]:
        column.justify = "right"
    for slot in status.slots:
        does = "loading" if slot.loading else slot.task or "idle"
        table.add_row(
            slot.slot_id,
            slot.model or "–",
            does,
            f"{slot.seconds:.0f} s" if slot.task else "",
            str(slot.queued),
            str(slot.done),
            f"{slot.rate:.1f}" if slot.rate else "",
        )
    console.print(table)
    for name, fingerprint in sorted(news.models.values()):
        console.print(f"{name}: fingerprint {fingerprint}", style="dim", highlight=False)
