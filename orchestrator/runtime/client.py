"""The interface between a run and its driver, and the client of a driver in this process."""

from typing import Protocol

from segtransfer.runtime.driver import Driver
from segtransfer.runtime.sessions import Notice, Submission
from segtransfer.runtime.status import Status


class DriverClient(Protocol):
    """A run's access to a driver, in this process or on a cluster."""

    def submit(self, submission: Submission) -> str:
        """Submit tasks without waiting for their results.

        Returns:
            The id of the client, for ``events`` and ``cancel``.
        """

    def events(self, client: str, after: int) -> list[Notice]:
        """Return a client's unread notices, after a short wait if there are none.

        Args:
            client: The id of the client.
            after: Number of notices received so far.

        Returns:
            The next notices, the oldest first; empty if nothing happened meanwhile. The last notice
            of a client has kind ``finished``.

        Raises:
            UnknownClientError: If the driver was restarted, or ended the client's lease.
        """

    def status(self) -> Status:
        """Return the present state of the driver."""

    def cancel(self, client: str) -> None:
        """Drop a client, and the tasks without another client."""

    def close(self) -> None:
        """Release the driver and the connection, if this access opened them."""


class LocalClient:
    """Access to a driver in this process, which works only while its client calls ``events``."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def submit(self, submission: Submission) -> str:
        """Submit tasks and return the id of the client; nothing is computed before ``events``."""
        return self._driver.submit(submission)

    def events(self, client: str, after: int) -> list[Notice]:
        """Return a client's unread notices, after one step of the driver if there are none.

        The step runs a call of a model in this thread, which may take minutes.

        Args:
            client: The id of the client.
            after: Number of notices received so far.

        Returns:
            The next notices, the oldest first; may be empty.

        Raises:
            UnknownClientError: If the driver has no such client.
            OSError: If the store cannot be read or written.
        """
        if not self._driver.events(client, after):
            self._driver.step(timeout=0.1)
        return self._driver.events(client, after)

    def status(self) -> Status:
        """Return the present state of the driver."""
        return self._driver.status()

    def cancel(self, client: str) -> None:
        """Drop a client, and the tasks without another client."""
        self._driver.cancel(client)

    def close(self) -> None:
        """Close the driver, which releases every model."""
        self._driver.close()
