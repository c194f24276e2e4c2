"""The driver as a named Ray actor, and the client that talks to it."""

import logging
import os
import re
import threading
import time
import traceback
import uuid
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from segtransfer.errors import InputError
from segtransfer.experiment.provenance import code_hash
from segtransfer.experiment.shadowing import check_not_shadowed
from segtransfer.experiment.spec import Runtime
from segtransfer.runtime.driver import Driver
from segtransfer.runtime.executors.ray.executor import RayExecutor
from segtransfer.runtime.executors.ray.metrics import ray_meter
from segtransfer.runtime.executors.ray.nodes import NO_NODES, ask_autoscaler
from segtransfer.runtime.interrupts import kept_handler
from segtransfer.runtime.sessions import Notice, Submission, UnknownClientError
from segtransfer.runtime.status import Status, Telemetry, log_to
from segtransfer.store import Store

CLIENTS = 1000  # calls that may wait inside the driver at once: a client asks one at a time
PATIENCE = 0.5  # seconds that events() gathers news
LEASE = 60.0  # seconds without a word after which a client counts as dead
RETURN = 120.0  # seconds that a driver may take to come back after it died
PARTING = 10.0  # seconds to take leave of a driver
DRIVER = "driver"
FLEET_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
FLEET = "segtransfer-fleet-"  # and the fleet's name: the namespace of its driver
# A cluster that only this run uses: nobody reads Ray's own dashboard, task events and metrics,
# and on a laptop they take two per cent of the cores from the models.
OWN_CLUSTER = {
    "include_dashboard": False,
    "_system_config": {"task_events_report_interval_ms": 0, "enable_metrics_collection": False},
}


class DriverError(RuntimeError):
    """The driver stopped; its message says why. What it had committed is kept."""


class DriverActor:
    """Runs the driver's loop in a thread; its methods are the clients' calls.

    One that ``waits`` for clients has its workers before the first comes, and also where Ray
    started it anew.
    """

    def __init__(self, runtime: Runtime, lease: float, waits: bool) -> None:
        code_hash()  # now: what is on disk later need not be what runs here
        if runtime.log is not None:
            log_to(runtime.log)
        executor = RayExecutor(
            fleet=runtime.fleet, micro_batch=runtime.micro_batch, store=runtime.store
        )
        store = Store(runtime.store)
        # The one before may have committed something since the clients looked.
        reborn = ray.get_runtime_context().was_current_actor_reconstructed
        self._driver = Driver(
            executor,
            store,
            runtime,
            lease=lease,
            telemetry=Telemetry(ray_meter()),
            committed=store.keys() if reborn else (),
        )
        if waits:
            executor.open(1)
        self._error: str | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def hello(self) -> dict[str, str]:
        """What a client must agree with: the code that computes, and the store it fills."""
        self._check()
        return {"code": code_hash(), "store": self._driver.store.location}

    def submit(self, submission: Submission) -> str:
        self._check()
        return self._driver.submit(submission)

    def events(self, client: str, after: int) -> list[Notice]:
        """Collect notices for a moment: one call for many of them spares the actors' cores."""
        give_up = time.monotonic() + PATIENCE
        while True:
            self._check()
            notices = self._driver.events(client, after)
            ended = bool(notices) and notices[-1].kind == "finished"
            if ended or time.monotonic() > give_up:
                return notices
            time.sleep(0.1)

    def status(self) -> Status:
        return self._driver.status()

    def models(self) -> dict[str, tuple[str, str]]:
        return self._driver.models()

    def cancel(self, client: str) -> None:
        self._driver.cancel(client)

    def close(self) -> None:
        """Stop the loop, then release the workers."""
        self._stopping = True
        self._thread.join(timeout=10)
        self._driver.close()

    def _check(self) -> None:
        """Whether the loop goes on: what ended it is every client's to know."""
        if self._error is not None:
            raise DriverError(self._error)

    def _loop(self) -> None:
        try:
            while not self._stopping:
                self._driver.step(timeout=0.5)
        except OSError as error:
            self._error = f"the store cannot be written: {error}"
        except Exception:
            self._error = traceback.format_exc()


class RayClient:
    """One client of a driver that is a Ray actor; ``close`` ends what this client started."""

    def __init__(
        self, actor: Any, namespace: str, *, owns_driver: bool, owns_cluster: bool
    ) -> None:
        self.namespace = namespace
        self._actor = actor
        self._owns_driver = owns_driver
        self._owns_cluster = owns_cluster

    def hello(self) -> dict[str, str]:
        return self._call("hello")

    def submit(self, submission: Submission) -> str:
        return self._call("submit", submission)

    def events(self, client: str, after: int) -> list[Notice]:
        return self._call("events", client, after)

    def status(self) -> Status:
        return self._call("status")

    def models(self) -> dict[str, tuple[str, str]]:
        return self._call("models")

    def cancel(self, client: str) -> None:
        # Who leaves waits for nobody: a driver that hangs drops silent clients by itself.
        self._call("cancel", client, timeout=PARTING)

    def close(self) -> None:
        if self._owns_driver:
            end_driver(self._actor)
        if self._owns_cluster:
            ray.shutdown()

    def _call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        """Ask the driver; wait for it where Ray is starting it anew."""
        give_up = time.monotonic() + (timeout or RETURN)
        while True:
            try:
                return ray.get(getattr(self._actor, method).remote(*arguments), timeout=timeout)
            except GetTimeoutError:
                raise DriverError(f"the driver does not answer within {timeout:.0f} s") from None
            except RayTaskError as error:
                if isinstance(error.cause, UnknownClientError):
                    raise UnknownClientError(str(error.cause)) from None
                raise DriverError(str(error.cause)) from None
            except ActorUnavailableError as error:
                if time.monotonic() > give_up:
                    raise DriverError(f"the driver died: {_why(error)}") from None
                time.sleep(1.0)
            except RayActorError as error:
                raise DriverError(f"the driver died: {_why(error)}") from None


def own_driver(runtime: Runtime, namespace: str) -> RayClient:
    """Start or join a cluster, and a driver there that ends with this client."""
    started = join_cluster(namespace)
    # Of its own: a driver of the same run may be about to end, as its client was killed.
    namespace = f"{namespace}-{uuid.uuid4().hex[:8]}"
    options = {"lifetime": None, "namespace": namespace}
    actor = _driver(options).remote(runtime, LEASE, waits=False)
    return RayClient(actor, namespace, owns_driver=True, owns_cluster=started)


def meet(namespace: str, store: str) -> RayClient:
    """A further client of the driver in this namespace, for a process of the same cluster.

    Raises DriverError where it is gone, computes with other code, or fills another store.
    """
    try:
        actor = ray.get_actor(DRIVER, namespace=namespace)
    except ValueError:
        raise DriverError(f"no driver is up in {namespace}: its client ended") from None
    client = RayClient(actor, namespace, owns_driver=False, owns_cluster=False)
    if client.hello() != {"code": code_hash(), "store": store}:
        raise DriverError("the driver computes with other code than this, or fills another store")
    return client


def attach(fleet: str, store: str) -> RayClient:
    """A client of a fleet that ``fleet up`` keeps.

    Raises InputError where there is none of that name, or where it would compute with other code or
    into another store.
    """
    started = join_cluster(FLEET + fleet, existing=True)
    client = RayClient(find_fleet(fleet), FLEET + fleet, owns_driver=False, owns_cluster=started)
    hello = client.hello()
    if hello["code"] != code_hash():
        raise InputError(
            f"fleet '{fleet}' runs other code than this command ({hello['code'][:8]}, here "
            f"{code_hash()[:8]}): 'segtransfer fleet down {fleet}' ends it, then bring it up again"
        )
    if hello["store"] != store:
        raise InputError(
            f"fleet '{fleet}' fills the store {hello['store']}, the experiment names {store}; "
            f"give runtime.store={hello['store']}"
        )
    return client


def start_fleet(fleet: str, runtime: Runtime) -> None:
    """A driver that outlives the command which starts it; raises InputError where it is up, and
    for a name or a store that cannot be."""
    Store(runtime.store)
    if not FLEET_NAME.fullmatch(fleet):
        raise InputError(f"fleet '{fleet}': a name has letters, digits, '_', '.' and '-' alone")
    join_cluster(FLEET + fleet, existing=True)
    options = {"lifetime": "detached", "namespace": FLEET + fleet}
    try:
        actor = _driver(options).remote(runtime, LEASE, waits=True)
    except ValueError:  # the name is taken
        raise InputError(
            f"fleet '{fleet}' is up already; see 'segtransfer fleet status {fleet}'"
        ) from None
    RayClient(actor, FLEET + fleet, owns_driver=False, owns_cluster=False).hello()


def find_fleet(fleet: str) -> Any:
    """The driver of a fleet; raises InputError where there is none of that name."""
    try:
        return ray.get_actor(DRIVER, namespace=FLEET + fleet)
    except ValueError:
        up = ", ".join(fleets()) or "none"
        raise InputError(
            f"no fleet '{fleet}' is up on this cluster (up: {up}); start it with "
            f"'segtransfer fleet up {fleet}'"
        ) from None


@dataclass(frozen=True)
class FleetNews:
    """A fleet as it is now; ``models`` are names and fingerprints by what tasks call models."""

    name: str
    store: str
    status: Status
    models: dict[str, tuple[str, str]]


def fleet_news(fleet: str) -> FleetNews:
    """Ask a fleet how it is doing."""
    join_cluster(FLEET + fleet, existing=True)
    client = RayClient(find_fleet(fleet), FLEET + fleet, owns_driver=False, owns_cluster=False)
    return FleetNews(fleet, client.hello()["store"], client.status(), client.models())


def end_fleet(fleet: str) -> None:
    """End a fleet's driver and workers, and ask for no more nodes, whether or not it was up: a run
    that was killed may have left its request. Runs that still wait for nodes ask again."""
    join_cluster(FLEET + fleet, existing=True)
    try:
        actor = find_fleet(fleet)
    except InputError:
        ask_autoscaler(NO_NODES)
        raise
    end_driver(actor)


def fleets() -> list[str]:
    """Names of the fleets of this cluster."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    spaces = [actor["namespace"] for actor in actors if actor["name"] == DRIVER]
    return sorted(space.removeprefix(FLEET) for space in spaces if space.startswith(FLEET))


def end_driver(actor: Any) -> None:
    """End a driver and its workers."""
    try:
        ray.get(actor.close.remote(), timeout=15)
    except Exception:
        logging.getLogger(__name__).warning("the driver did not close in time")
    ray.kill(actor, no_restart=True)
    ask_autoscaler(NO_NODES)  # one that hung or died could not take its request back


def join_cluster(namespace: str, *, existing: bool = False) -> bool:
    """Join the cluster that RAY_ADDRESS names, or start one, unless it must be ``existing``.

    Returns whether this process connected here, so that it has to disconnect.
    """
    check_not_shadowed()
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS") or ("auto" if existing else None)
    local: dict[str, Any] = {} if address else OWN_CLUSTER
    try:
        with kept_handler():
            ray.init(
                address or "local",
                namespace=namespace,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **local,
            )
    except ConnectionError as error:
        raise InputError(
            f"no Ray cluster answers ({str(error).splitlines()[0]}); start one with 'ray start "
            "--head', or name one in RAY_ADDRESS (and its token in RAY_AUTH_TOKEN_PATH)"
        ) from None
    return True


def _why(error: RayActorError) -> str:
    """Why an actor died, in one line; Ray gives the cause of a failed start in its last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
        "no reason given"
    ]
    return lines[-1] if "__init__" in lines[0] else lines[0]


def _driver(options: dict[str, Any]) -> Any:
    """The driver's actor class: it asks for no cores, and Ray starts it anew where it dies.

    On this node where possible: a store in a folder need not be one on another. Of an actor that
    asks for nothing at all Ray forgets the place; every node has memory to ask for.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(DriverActor).options(
        name=DRIVER,
        num_cpus=0,
        memory=2**20,
        max_concurrency=CLIENTS,
        max_restarts=-1,
        scheduling_strategy=here,
        **options,
    )
