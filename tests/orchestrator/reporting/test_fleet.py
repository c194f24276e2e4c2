"""The line of a fleet's counts."""

import io

import pytest
from rich.console import Console

from segtransfer.reporting.fleet import print_fleet
from segtransfer.runtime.executors.ray.fleets import FleetStatus
from segtransfer.runtime.status import SlotStatus, Status


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "Fleet 'lab': 1 slot, 1 client, tasks: none; 1 retry"),
        (2, "Fleet 'lab': 2 slots, 2 clients, tasks: none; 2 retries"),
    ],
)
def test_counts_of_a_fleet_agree_with_their_nouns(count: int, expected: str) -> None:
    slot = SlotStatus("s-0", "cpu", None, False, None, 0.0, 0, 0, 0.0)
    status = Status(0, (slot,) * count, {}, count, 0, 0, clients=count)
    console = Console(file=io.StringIO(), width=200)
    print_fleet(FleetStatus("lab", "store", status, {}), console)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[0] == expected
