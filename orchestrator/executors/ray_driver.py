"""The driver as a named Ray actor, and the client that talks to it."""

import logging
import os
import threading
import time
import traceback
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from orchestrator.driver import Driver, Notice, Submission
from orchestrator.executors.ray import RayExecutor
from orchestrator.spec import Runtime
from orchestrator.store import Store
from tasks.models.numerics import Numerics

CLIENTS = 64  # calls that may wait inside the driver at once
PATIENCE = 0.5  # seconds that events() gathers news
DRIVER = "driver"
# A cluster that only this run uses: nobody reads Ray's own dashboard, task events and metrics,
# and on a laptop they take two per cent of the cores from the models.
OWN_CLUSTER = {
    "include_dashboard": False,
    "_system_config": {"task_events_report_interval_ms": 0, "enable_metrics_collection": False},
}


class DriverError(RuntimeError):
    """The driver stopped; its message says why. What it had committed is kept."""


class DriverActor:
    """Runs the driver's loop in a thread; its methods are the clients' calls."""

    def __init__(self, runtime: Runtime, numerics: Numerics) -> None:
        executor = RayExecutor(
            replicas=runtime.replicas, micro_batch=runtime.micro_batch, numerics=numerics
        )
        self._driver = Driver(executor, Store(runtime.store), runtime)
        self._error: str | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def submit(self, submission: Submission) -> str:
        return self._driver.submit(submission)

    def events(self, client: str, after: int) -> list[Notice]:
        """Collect notices for a moment: one call for many of them spares the actors' cores."""
        give_up = time.monotonic() + PATIENCE
        while True:
            if self._error is not None:
                raise DriverError(self._error)
            notices = self._driver.events(client, after)
            ended = bool(notices) and notices[-1].kind == "finished"
            if ended or time.monotonic() > give_up:
                return notices
            time.sleep(0.1)

    def cancel(self, client: str) -> None:
        self._driver.cancel(client)

    def close(self) -> None:
        """Stop the loop, then release the model actors."""
        self._stopping = True
        self._thread.join(timeout=10)
        self._driver.close()

    def _loop(self) -> None:
        try:
            while not self._stopping:
                self._driver.step(timeout=0.5)
        except OSError as error:
            self._error = f"the store cannot be written: {error}"
        except Exception:
            self._error = traceback.format_exc()


class RayClient:
    """Starts or joins a cluster, makes the driver there, and is one of its clients."""

    def __init__(self, runtime: Runtime, numerics: Numerics, namespace: str) -> None:
        address = os.environ.get("RAY_ADDRESS")
        self._started = not ray.is_initialized()
        if self._started:
            local: dict[str, Any] = {} if address else OWN_CLUSTER
            ray.init(
                address or "local",
                namespace=namespace,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **local,
            )
        self._actor: Any = (
            ray.remote(DriverActor)
            .options(
                name=DRIVER,
                namespace=namespace,
                num_cpus=0,
                max_concurrency=CLIENTS,
                get_if_exists=True,
            )
            .remote(runtime, numerics)
        )

    def submit(self, submission: Submission) -> str:
        return self._call(self._actor.submit, submission)

    def events(self, client: str, after: int) -> list[Notice]:
        return self._call(self._actor.events, client, after)

    def cancel(self, client: str) -> None:
        self._call(self._actor.cancel, client)

    def close(self) -> None:
        """End the driver and its actors; a cluster that this client started ends too."""
        try:
            ray.get(self._actor.close.remote(), timeout=15)
        except Exception:
            logging.getLogger(__name__).warning("the driver did not close in time")
        ray.kill(self._actor)
        if self._started:
            ray.shutdown()

    def _call(self, method: Any, *arguments: Any) -> Any:
        try:
            return ray.get(method.remote(*arguments))
        except RayTaskError as error:
            raise DriverError(str(error.cause)) from None
        except RayActorError as error:
            raise DriverError(f"the driver died: {str(error).splitlines()[0]}") from None
