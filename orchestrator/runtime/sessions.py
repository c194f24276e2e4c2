"""The sessions of a driver's clients: submissions, awaited tasks and undelivered notices."""

import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from segtransfer.errors import SegtransferError
from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import Served

MAX_NOTICES = 10_000  # notices per answer


@dataclass(frozen=True)
class Submission:
    """A client's tasks for the driver.

    Attributes:
        tasks: Tasks by key.
        models: Models of the tasks, by model key.
        stored: Keys of tasks with stored results.
        damaged: Keys of tasks to compute again, because their stored results are damaged.
        size: Height and width of the largest images; by default those of the first task.
    """

    tasks: Mapping[str, Task]
    models: Mapping[str, Served]
    stored: frozenset[str]
    damaged: frozenset[str] = frozenset()
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Notice:
    """An event for a client.

    Attributes:
        kind: `ready`: the first task of the client begins. `done`: a task has a result. `failed`,
            `skipped`: a task ended without a result. `retried`: a task is queued again. `slot`: a
            slot joined or left, or nodes are awaited. `finished`: all tasks have ended.
        time: Seconds since the epoch.
        key: The task.
        cost: The cost of a done task, in image forwards.
        model_seconds: Seconds of a done task's call inside a model.
        message: The reason, or the event in words.
    """

    kind: Literal["ready", "done", "failed", "skipped", "retried", "slot", "finished"]
    time: float
    key: str = ""
    cost: float = 0.0
    model_seconds: float = 0.0
    message: str = ""


class UnknownClientError(SegtransferError, KeyError):
    """The driver has no such client: the driver was restarted, or the client's lease ended."""


@dataclass
class _Session:
    models: frozenset[str]
    last_seen: float
    pending: set[str] = field(default_factory=set)
    notices: deque[Notice] = field(default_factory=deque)
    ready: bool = False  # a task of the client has begun
    delivered: int = 0  # notices that the client has acknowledged, deleted from `notices`


class Sessions:
    """The sessions of all clients, by client id; all methods need the driver's lock."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}

    def __contains__(self, client: object) -> bool:
        return client in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, models: frozenset[str]) -> str:
        """Open a session.

        Args:
            models: Keys of the models of the client's tasks without a result.

        Returns:
            The id of the client, random.
        """
        client = uuid.uuid4().hex
        self._sessions[client] = _Session(models, time.monotonic())
        return client

    def remove(self, client: str) -> None:
        """Close the session of a client.

        Raises:
            KeyError: If the client has no session.
        """
        del self._sessions[client]

    def expect(self, client: str, pending: set[str]) -> None:
        """Set the tasks that a client waits for.

        Args:
            client: The id of the client.
            pending: Keys of tasks that have not ended; the session takes ownership of the set.

        Raises:
            KeyError: If the client has no session.
        """
        self._sessions[client].pending = pending

    def also_expect(self, key: str, dependants: set[str]) -> None:
        """Make clients of some tasks wait for a further task.

        Args:
            key: The further task.
            dependants: Keys of the tasks.
        """
        for session in self._sessions.values():
            if session.pending & dependants:
                session.pending.add(key)

    def notices(self, client: str, after: int) -> list[Notice]:
        """Return a client's notices from number `after` on, and renew its lease.

        Args:
            client: The id of the client.
            after: Number of notices read by the client, which are deleted.

        Returns:
            At most `MAX_NOTICES` notices, the oldest first.

        Raises:
            UnknownClientError: If the client has no session.
        """
        if client not in self._sessions:
            raise UnknownClientError(client)
        session = self._sessions[client]
        session.last_seen = time.monotonic()
        while session.delivered < after and session.notices:
            session.notices.popleft()
            session.delivered += 1
        return list(islice(session.notices, MAX_NOTICES))

    def notify(self, client: str, notice: Notice) -> None:
        """Add a notice to a client's session.

        Raises:
            KeyError: If the client has no session.
        """
        self._sessions[client].notices.append(notice)

    def notify_all(self, notice: Notice) -> None:
        """Notify every client with pending tasks."""
        for session in self._sessions.values():
            if session.pending:
                session.notices.append(notice)

    def notify_ready(self, key: str) -> None:
        """Notify clients whose first task begins.

        Args:
            key: The task that begins.
        """
        for session in self._sessions.values():
            if not session.ready and key in session.pending:
                session.ready = True
                session.notices.append(Notice("ready", time.time()))

    def notify_waiting(self, notice: Notice) -> None:
        """Notify every client of the notice's task while the task is pending."""
        for session in self._sessions.values():
            if notice.key in session.pending:
                session.notices.append(notice)

    def conclude(self, notice: Notice) -> list[str]:
        """Notify every client of the notice's task, which has ended.

        Args:
            notice: The notice.

        Returns:
            Clients whose last pending task this was.
        """
        finished = []
        for client, session in self._sessions.items():
            if notice.key in session.pending:
                session.pending.discard(notice.key)
                session.notices.append(notice)
                if not session.pending:
                    finished.append(client)
        return finished

    def waiting(self) -> bool:
        """Return whether any client has pending tasks."""
        return any(session.pending for session in self._sessions.values())

    def models(self) -> set[str]:
        """Return the keys of the models of all clients."""
        return {model for session in self._sessions.values() for model in session.models}

    def silent(self, seconds: float, now: float) -> list[str]:
        """Find the clients without a call of ``notices`` for some time.

        Args:
            seconds: Length of the time.
            now: End of the time, on the monotonic clock.

        Returns:
            The ids of the clients.
        """
        return [c for c, session in self._sessions.items() if now - session.last_seen > seconds]
