"""Named fleets: detached drivers on a Ray cluster, shared by the clients of many commands."""

import re
from dataclasses import dataclass
from typing import Any

from segtransfer.errors import InputError
from segtransfer.experiment.provenance import code_hash
from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.runtime.executors.ray.driver import (
    RayClient,
    driver_namespaces,
    end_driver,
    find_driver,
    join_cluster,
    start_driver,
)
from segtransfer.runtime.executors.ray.nodes import NO_NODES, ask_autoscaler
from segtransfer.runtime.status import Status
from segtransfer.store import Store

FLEET_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
NAMESPACE_PREFIX = "segtransfer-fleet-"  # of a fleet's driver, followed by the fleet's name


@dataclass(frozen=True)
class FleetStatus:
    """A fleet at a moment.

    Attributes:
        name: The fleet.
        store: Location of the store of the fleet.
        status: The state of the fleet's driver.
        models: Name and fingerprint of the clients' models, by model key.
    """

    name: str
    store: str
    status: Status
    models: dict[str, tuple[str, str]]


def start_fleet(fleet: str, runtime: Runtime) -> None:
    """Start a driver that outlives this command, and wait until it answers.

    Args:
        fleet: Name of the fleet: 1 to 80 letters, digits, "_", "." and "-".
        runtime: Runtime options of the fleet.

    Raises:
        InputError: If the name or the store is invalid, no cluster answers, or the fleet is up
            already.
        DriverError: If the driver cannot start.
    """
    Store(runtime.store)
    if not FLEET_NAME.fullmatch(fleet):
        raise InputError(
            f"'{fleet}' is not a name for a fleet. Use 1 to 80 letters, digits, '_', '.' and '-'."
        )
    join_cluster(NAMESPACE_PREFIX + fleet, existing=True)
    try:
        actor = start_driver(runtime, NAMESPACE_PREFIX + fleet, detached=True)
    except ValueError:  # the name is taken
        raise InputError(
            f"Fleet '{fleet}' is already up. See 'segtransfer fleet status {fleet}', or choose "
            "another name."
        ) from None
    RayClient(actor, NAMESPACE_PREFIX + fleet, owns_driver=False).hello()


def attach(fleet: str, store: str) -> RayClient:
    """Return a client of a fleet; closing the client keeps the fleet.

    Args:
        fleet: Name of the fleet.
        store: Location of the client's store.

    Raises:
        InputError: If no cluster answers, or the fleet is not up, runs other code, or uses another
            store.
    """
    connection = join_cluster(NAMESPACE_PREFIX + fleet, existing=True)
    driver = find_fleet(fleet)
    client = RayClient(driver, NAMESPACE_PREFIX + fleet, owns_driver=False, connection=connection)
    theirs = client.hello()
    if theirs["code"] != code_hash():
        raise InputError(
            f"Fleet '{fleet}' runs other code than this command ({theirs['code'][:8]}, here "
            f"{code_hash()[:8]}). End the fleet with 'segtransfer fleet down {fleet}' and start it "
            "again."
        )
    if theirs["store"] != store:
        raise InputError(
            f"Fleet '{fleet}' writes to the store {theirs['store']}, but the experiment names "
            f"{store}. Set runtime.store={theirs['store']}."
        )
    return client


def store_of(fleet: str) -> str:
    """Return the location of the store of a fleet.

    Raises:
        InputError: If no cluster answers, or the fleet is not up.
    """
    connection = join_cluster(NAMESPACE_PREFIX + fleet, existing=True)
    namespace = NAMESPACE_PREFIX + fleet
    try:
        driver = find_fleet(fleet)
        return RayClient(driver, namespace, owns_driver=False).hello()["store"]
    finally:
        if connection is not None:
            connection.close()


def find_fleet(fleet: str) -> Any:
    """Return the driver of a fleet, an actor; the cluster must be joined.

    Raises:
        InputError: If the fleet is not up.
    """
    driver = find_driver(NAMESPACE_PREFIX + fleet)
    if driver is None:
        up = ", ".join(fleets()) or "none"
        raise InputError(
            f"No fleet '{fleet}' is up on this cluster (up: {up}). Start it with 'segtransfer "
            f"fleet up {fleet}'."
        )
    return driver


def status_of(fleet: str) -> FleetStatus:
    """Return the present state of a fleet.

    Raises:
        InputError: If no cluster answers, or the fleet is not up.
    """
    join_cluster(NAMESPACE_PREFIX + fleet, existing=True)
    driver = find_fleet(fleet)
    client = RayClient(driver, NAMESPACE_PREFIX + fleet, owns_driver=False)
    return FleetStatus(fleet, client.hello()["store"], client.status(), client.models())


def end_fleet(fleet: str) -> None:
    """End a fleet's driver and workers, and withdraw requests for nodes.

    Requests are withdrawn even if the fleet is not up, because a killed run may have left a
    request. Runs that still wait for nodes repeat their requests.

    Raises:
        InputError: If no cluster answers, or the fleet is not up.
    """
    join_cluster(NAMESPACE_PREFIX + fleet, existing=True)
    try:
        actor = find_fleet(fleet)
    except InputError:
        ask_autoscaler(NO_NODES)
        raise
    end_driver(actor)


def fleets() -> list[str]:
    """List the cluster's fleets; the cluster must be joined.

    Returns:
        Names, sorted.
    """
    return sorted(
        namespace.removeprefix(NAMESPACE_PREFIX)
        for namespace in driver_namespaces()
        if namespace.startswith(NAMESPACE_PREFIX)
    )
