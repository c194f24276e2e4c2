"""The clients of a driver: what they hand in, what they hear, and which of them still listen."""

import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol

from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import Served
from segtransfer.runtime.status import Status

if TYPE_CHECKING:
    from segtransfer.runtime.driver import Driver

NEWS_AT_ONCE = 10_000  # notices that one answer holds


@dataclass(frozen=True)
class Submission:
    """What a client hands to the driver: tasks, the models they need by the name that tasks use,
    what is stored already, and what is stored but damaged, so to be done again."""

    tasks: Mapping[str, Task]
    models: Mapping[str, Served]
    stored: frozenset[str]
    damaged: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Notice:
    """What the driver tells a client.

    ``ready``: work begins, the clock starts; ``done``: a task and its cost; ``failed`` and
    ``skipped``: with the reason; ``retried``, ``slot``: news; ``finished``: nothing is left.
    """

    kind: Literal["ready", "done", "failed", "skipped", "retried", "slot", "finished"]
    time: float
    key: str = ""
    cost: float = 0.0
    model_seconds: float = 0.0
    message: str = ""


class UnknownClientError(KeyError):
    """The driver has no such client: it was started anew, or the client was silent for too long."""


@dataclass
class _Client:
    models: frozenset[str]
    seen: float
    pending: set[str] = field(default_factory=set)
    notices: deque[Notice] = field(default_factory=deque)
    ready: bool = False  # a task of its own has begun
    heard: int = 0  # notices that the client has, and that are gone from ``notices``


class Sessions:
    """Who waits for what, and what each has not heard yet."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}

    def __contains__(self, client: object) -> bool:
        return client in self._clients

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, models: frozenset[str]) -> str:
        """A new client's id; ``models`` are those that it needs."""
        client = uuid.uuid4().hex
        self._clients[client] = _Client(models, time.monotonic())
        return client

    def expect(self, client: str, pending: set[str]) -> None:
        """The keys that a client waits for."""
        self._clients[client].pending = pending

    def remove(self, client: str) -> None:
        del self._clients[client]

    def news(self, client: str, after: int) -> list[Notice]:
        """A client's notices from number ``after`` on; those before are let go."""
        if client not in self._clients:
            raise UnknownClientError(client)
        mine = self._clients[client]
        mine.seen = time.monotonic()
        while mine.heard < after and mine.notices:
            mine.notices.popleft()
            mine.heard += 1
        return list(islice(mine.notices, NEWS_AT_ONCE))

    def tell(self, client: str, notice: Notice) -> None:
        self._clients[client].notices.append(notice)

    def tell_all(self, notice: Notice) -> None:
        """Tell everyone who waits for something."""
        for client in self._clients.values():
            if client.pending:
                client.notices.append(notice)

    def tell_ready(self, key: str) -> None:
        """A task begins: whoever waits for it, and for whom none had begun, hears that."""
        for client in self._clients.values():
            if not client.ready and key in client.pending:
                client.ready = True
                client.notices.append(Notice("ready", time.time()))

    def tell_waiting(self, notice: Notice) -> None:
        """Tell everyone who waits for the task that the notice is about."""
        for client in self._clients.values():
            if notice.key in client.pending:
                client.notices.append(notice)

    def expect_too(self, key: str, because: set[str]) -> None:
        """Whoever waits for one of the tasks ``because`` now waits for this one as well."""
        for client in self._clients.values():
            if client.pending & because:
                client.pending.add(key)

    def conclude(self, notice: Notice) -> list[str]:
        """Tell all who wait for a task what became of it; returns who now waits for nothing."""
        through = []
        for name, client in self._clients.items():
            if notice.key in client.pending:
                client.pending.discard(notice.key)
                client.notices.append(notice)
                if not client.pending:
                    through.append(name)
        return through

    def waiting(self) -> bool:
        """Whether anyone waits for anything."""
        return any(client.pending for client in self._clients.values())

    def models(self) -> set[str]:
        """The models that clients need."""
        return {model for client in self._clients.values() for model in client.models}

    def silent(self, seconds: float, now: float) -> list[str]:
        """Who has not asked for news for that long."""
        return [name for name, client in self._clients.items() if now - client.seen > seconds]


class DriverClient(Protocol):
    """How a run talks to a driver, wherever the driver lives."""

    def submit(self, submission: Submission) -> str: ...

    def events(self, client: str, after: int) -> list[Notice]:
        """Notices from ``after`` on; waits a moment where there is none yet."""

    def status(self) -> Status: ...

    def cancel(self, client: str) -> None: ...

    def close(self) -> None: ...


class LocalClient:
    """The client of a driver in this process: listening is what makes the driver work."""

    def __init__(self, driver: "Driver") -> None:
        self._driver = driver

    def submit(self, submission: Submission) -> str:
        return self._driver.submit(submission)

    def events(self, client: str, after: int) -> list[Notice]:
        if not self._driver.events(client, after):
            self._driver.step(timeout=0.1)
        return self._driver.events(client, after)

    def status(self) -> Status:
        return self._driver.status()

    def cancel(self, client: str) -> None:
        self._driver.cancel(client)

    def close(self) -> None:
        self._driver.close()
