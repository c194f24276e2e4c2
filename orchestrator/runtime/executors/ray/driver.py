"""The driver as a named Ray actor, and the clients of the actor."""

import logging
import os
import threading
import time
import traceback
import uuid
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    RayActorError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from segtransfer.errors import SegtransferError
from segtransfer.experiment.provenance import code_hash
from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.experiment.shadowing import check_not_shadowed
from segtransfer.runtime.driver import Driver
from segtransfer.runtime.event_log import log_to
from segtransfer.runtime.executors.ray.connection import (
    CONNECT_TIMEOUT,
    Connection,
    explain,
    prepare,
    wait_for_cluster,
)
from segtransfer.runtime.executors.ray.executor import RayExecutor
from segtransfer.runtime.executors.ray.metrics import ray_meter
from segtransfer.runtime.executors.ray.nodes import NO_NODES, ask_autoscaler
from segtransfer.runtime.interrupts import kept_handler
from segtransfer.runtime.sessions import Notice, Submission, UnknownClientError
from segtransfer.runtime.status import Status
from segtransfer.runtime.telemetry import Telemetry
from segtransfer.store import Store

MAX_CONCURRENT_CALLS = 1000  # at a time; each client makes one
POLL_DURATION = 0.5  # seconds for which events() collects notices
LEASE = 60.0  # seconds without a call after which a client counts as dead
RESTART_TIMEOUT = 120.0  # seconds for Ray to restart a dead driver
CANCEL_TIMEOUT = 10.0  # seconds for a driver to answer cancel()
DRIVER = "driver"  # name of the actor in its namespace
# Ray's dashboard, task events and metrics are off in a run's own cluster, because nobody reads them
# and they take 2 % of a laptop's cores.
OWN_CLUSTER = {
    "include_dashboard": False,
    "_system_config": {"task_events_report_interval_ms": 0, "enable_metrics_collection": False},
}


class DriverError(SegtransferError, RuntimeError):
    """The driver stopped, for the reason in the message. Committed results are kept."""


class DriverActor:
    """Runs the driver's loop in a thread; clients call its methods through Ray.

    Any number of calls run at a time. They raise DriverError once the loop has ended.

    Args:
        runtime: Runtime options of the run or fleet.
        lease: Seconds without a call of ``events`` after which a client counts as dead.
        waits: Whether the driver opens workers before its first client comes, and again after Ray
            has restarted the driver.
    """

    def __init__(self, runtime: Runtime, lease: float, waits: bool) -> None:
        code_hash()  # computed now, because files on disk may change while this process runs
        if runtime.log is not None:
            log_to(runtime.log)
        executor = RayExecutor(
            fleet=runtime.fleet, micro_batch=runtime.micro_batch, store=runtime.store
        )
        store = Store(runtime.store)
        # The driver before a restart may have committed results since the clients looked.
        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self._driver = Driver(
            executor,
            store,
            runtime,
            lease=lease,
            telemetry=Telemetry(ray_meter()),
            committed=store.keys() if restarted else (),
        )
        if waits:
            executor.open(1)
        self._error: str | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def hello(self) -> dict[str, str]:
        """Return ``code``, the hash of the driver's code, and ``store``, its store's location."""
        self._check()
        return {"code": code_hash(), "store": self._driver.store.location}

    def submit(self, submission: Submission) -> str:
        """Accept a client's tasks and return the client's id."""
        self._check()
        return self._driver.submit(submission)

    @ray.method(enable_task_events=False)  # because polls would fill Ray's lists of tasks
    def events(self, client: str, after: int) -> list[Notice]:
        """Collect a client's notices for ``POLL_DURATION`` s: few calls spare the workers' cores.

        Returns:
            The notices from number `after` on; may be empty. The last of a client is ``finished``.

        Raises:
            UnknownClientError: If the driver has no such client.
        """
        give_up = time.monotonic() + POLL_DURATION
        while True:
            self._check()
            notices = self._driver.events(client, after)
            ended = bool(notices) and notices[-1].kind == "finished"
            if ended or time.monotonic() > give_up:
                return notices
            time.sleep(0.1)

    @ray.method(enable_task_events=False)
    def status(self) -> Status:
        """Return the present state of slots, tasks and clients."""
        return self._driver.status()

    def models(self) -> dict[str, tuple[str, str]]:
        """Return name and fingerprint of the models of all clients so far, by model key."""
        return self._driver.models()

    def cancel(self, client: str) -> None:
        """Drop a client, and the tasks without another client."""
        self._driver.cancel(client)

    def close(self) -> None:
        """Stop the loop, for which at most 10 s are waited, then release the workers."""
        self._stopping = True
        self._thread.join(timeout=10)
        self._driver.close()

    def _check(self) -> None:
        """Raise DriverError with the reason if the loop has ended."""
        if self._error is not None:
            raise DriverError(self._error)

    def _loop(self) -> None:
        try:
            while not self._stopping:
                self._driver.step(timeout=0.5)
        except OSError as error:
            self._error = f"the store cannot be read or written: {error}"
        except Exception:
            self._error = traceback.format_exc()


class RayClient:
    """Access to a driver that is a Ray actor.

    Every method blocks until the driver answers, and raises DriverError if the driver died or
    raised. While Ray restarts the driver, calls are repeated for ``RESTART_TIMEOUT`` seconds.

    Args:
        actor: The driver.
        namespace: The namespace of the driver.
        owns_driver: Whether `close` ends the driver.
        connection: The connection to the cluster that `close` closes, if any.
    """

    def __init__(
        self,
        actor: Any,
        namespace: str,
        *,
        owns_driver: bool,
        connection: Connection | None = None,
    ) -> None:
        self.namespace = namespace
        self._actor = actor
        self._owns_driver = owns_driver
        self._connection = connection

    def hello(self) -> dict[str, str]:
        """Return ``code``, the hash of the driver's code, and ``store``, its store's location."""
        return self._call("hello")

    def submit(self, submission: Submission) -> str:
        """Submit tasks and return the id of the client, without waiting for results."""
        return self._call("submit", submission)

    def events(self, client: str, after: int) -> list[Notice]:
        """Return the notices from number `after` on, collected for ``POLL_DURATION`` seconds.

        Raises:
            UnknownClientError: If the driver was restarted, or ended the client's lease.
        """
        return self._call("events", client, after)

    def status(self) -> Status:
        """Return the present state of the driver."""
        return self._call("status")

    def models(self) -> dict[str, tuple[str, str]]:
        """Return name and fingerprint of the clients' models, by model key."""
        return self._call("models")

    def cancel(self, client: str) -> None:
        """Drop a client, and the tasks without another client.

        Raises:
            DriverError: If the driver does not answer within ``CANCEL_TIMEOUT`` seconds. A driver
                drops silent clients after ``LEASE`` seconds in any case.
        """
        self._call("cancel", client, timeout=CANCEL_TIMEOUT)

    def close(self) -> None:
        """End the driver and the connection to the cluster, if they are this client's own."""
        if self._owns_driver:
            end_driver(self._actor)
        if self._connection is not None:
            self._connection.close()

    def _call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        """Call a method of the driver, and wait while Ray restarts the driver."""
        give_up = time.monotonic() + (timeout or RESTART_TIMEOUT)
        while True:
            try:
                return ray.get(getattr(self._actor, method).remote(*arguments), timeout=timeout)
            except GetTimeoutError as error:
                raise DriverError(f"the driver did not answer within {timeout:.0f} s") from error
            except RayTaskError as error:
                if isinstance(error.cause, UnknownClientError):
                    raise UnknownClientError(str(error.cause)) from None
                raise DriverError(str(error.cause)) from error
            except ActorUnavailableError as error:
                if time.monotonic() > give_up:
                    raise DriverError(f"the driver died: {_why(error)}") from error
                time.sleep(1.0)
            except RayActorError as error:
                raise DriverError(f"the driver died: {_why(error)}") from error


def own_driver(runtime: Runtime, namespace: str) -> RayClient:
    """Start or join a cluster, and start a driver in a namespace that begins with `namespace`.

    Returns:
        The client of the driver, whose ``close`` ends the driver.

    Raises:
        InputError: If no cluster answers.
    """
    connection = join_cluster(namespace)
    # A driver of the same run may be about to end, if its client was killed.
    namespace = f"{namespace}-{uuid.uuid4().hex[:8]}"
    actor = start_driver(runtime, namespace, detached=False)
    return RayClient(actor, namespace, owns_driver=True, connection=connection)


def start_driver(runtime: Runtime, namespace: str, *, detached: bool) -> Any:
    """Start a driver as a named actor, which asks for no cores and is restarted if it dies.

    The driver is on this node if possible, because a store in a folder need not exist on another.
    Ray forgets the node of an actor without resources, so the driver asks for 1 MiB of memory.

    Args:
        runtime: Runtime options of the run or fleet.
        namespace: The namespace of the driver.
        detached: Whether the driver outlives this process, and has workers before clients come.

    Returns:
        The actor, which may still be starting.

    Raises:
        ValueError: If the namespace has a driver already.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor = ray.remote(DriverActor).options(
        name=DRIVER,
        num_cpus=0,
        memory=2**20,
        max_concurrency=MAX_CONCURRENT_CALLS,
        max_restarts=-1,
        scheduling_strategy=here,
        lifetime="detached" if detached else None,
        namespace=namespace,
    )
    return actor.remote(runtime, LEASE, waits=detached)


def find_driver(namespace: str) -> Any:
    """Look for the driver of a namespace.

    Returns:
        The actor, or None if no driver is up there.
    """
    try:
        return ray.get_actor(DRIVER, namespace=namespace)
    except ValueError:
        return None


def driver_namespaces() -> list[str]:
    """Return the namespaces of all drivers on the cluster."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    return [actor["namespace"] for actor in actors if actor["name"] == DRIVER]


def join_driver(namespace: str, store: str) -> RayClient:
    """Return a further client of a driver, for a process of the same cluster.

    Args:
        namespace: The namespace of the driver.
        store: Location of the client's store.

    Raises:
        DriverError: If the driver has ended, runs other code, or uses another store.
    """
    actor = find_driver(namespace)
    if actor is None:
        raise DriverError(f"no driver is up in the Ray namespace {namespace}; its run has ended")
    client = RayClient(actor, namespace, owns_driver=False)
    if client.hello() != {"code": code_hash(), "store": store}:
        raise DriverError("the driver has other code or another store than this process")
    return client


def end_driver(actor: Any) -> None:
    """End a driver and its workers, and withdraw its request for nodes; it gets 15 s to close."""
    try:
        ray.get(actor.close.remote(), timeout=15)
    except Exception:
        logging.getLogger(__name__).warning("the driver did not close by itself and is killed")
    ray.kill(actor, no_restart=True)
    ask_autoscaler(NO_NODES)  # a driver that hung or died could not withdraw its request


def join_cluster(
    namespace: str, *, existing: bool = False, timeout: float = CONNECT_TIMEOUT
) -> Connection | None:
    """Join the cluster of RAY_ADDRESS, or start a cluster on this machine.

    Args:
        namespace: Ray namespace of this process.
        existing: Join a running cluster only. Without RAY_ADDRESS it is looked for on this machine.
        timeout: Seconds for the cluster to answer.

    Returns:
        The connection to close, or None if the process was connected before.

    Raises:
        InputError: If no cluster answers.
        ServerError: If a cluster of this process does not start in time.
    """
    check_not_shadowed()
    if ray.is_initialized():
        return None
    address = os.environ.get("RAY_ADDRESS") or ("auto" if existing else None)
    address = None if address == "local" else address
    connection, local = prepare(address)
    try:
        if address:
            wait_for_cluster(address, timeout)
        else:
            local |= OWN_CLUSTER
        with kept_handler():
            ray.init(
                address or "local",
                namespace=namespace,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **local,
            )
    except BaseException as error:
        connection.restore()
        if explained := explain(error, address):
            raise explained from error
        raise
    return connection


def _why(error: RayActorError) -> str:
    """Return the reason of an actor's death in a line.

    Ray gives the cause of a failed start in the last line of its message.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
        "no reason given"
    ]
    return lines[-1] if "__init__" in lines[0] else lines[0]
