"""The interface between a run and its driver, and the client of a driver in this process."""

from typing import Protocol

from segtransfer.runtime.driver import Driver
from segtransfer.runtime.sessions import Notice, Submission
from segtransfer.runtime.status import Status


class DriverClient(Protocol):
    """A run's access to a driver in this process or elsewhere."""

    def submit(self, submission: Submission) -> str:
        """Submit tasks and return the id of the client."""

    def events(self, client: str, after: int) -> list[Notice]:
        """Return the notices from number `after` on; wait a moment if there is none yet."""

    def status(self) -> Status:
        """Return the present state of the driver."""

    def cancel(self, client: str) -> None:
        """Drop a client, with the tasks that no other client wants."""

    def close(self) -> None:
        """Release whatever this access started."""


class LocalClient:
    """Access to a driver in this process. The driver works while its client waits for events."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def submit(self, submission: Submission) -> str:
        """Submit tasks and return the id of the client."""
        return self._driver.submit(submission)

    def events(self, client: str, after: int) -> list[Notice]:
        """Return the notices from number `after` on, after one step of the driver if needed."""
        if not self._driver.events(client, after):
            self._driver.step(timeout=0.1)
        return self._driver.events(client, after)

    def status(self) -> Status:
        """Return the present state of the driver."""
        return self._driver.status()

    def cancel(self, client: str) -> None:
        """Drop a client."""
        self._driver.cancel(client)

    def close(self) -> None:
        """Release every model of the driver."""
        self._driver.close()
