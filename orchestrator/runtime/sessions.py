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

MAX_NOTICES = 10_000  # in one answer


@dataclass(frozen=True)
class Submission:
    """A client's tasks for the driver.

    Attributes:
        tasks: Tasks by key.
        models: Models that the tasks need, by the name that tasks use.
        stored: Keys of tasks whose results are stored.
        damaged: Keys of tasks whose stored results are damaged, so that they are computed again.
        size: Height and width of the largest images; by default those of the first task.
    """

    tasks: Mapping[str, Task]
    models: Mapping[str, Served]
    stored: frozenset[str]
    damaged: frozenset[str] = frozenset()
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Notice:
    """An event that the driver notifies a client of.

    Attributes:
        kind: `ready`: the first task of the client begins. `done`: a task has a result. `failed`,
            `skipped`: a task ended without a result. `retried`: a task is queued again. `slot`: a
            slot joined or left, or nodes are awaited. `finished`: all tasks have ended.
        time: Seconds since the epoch.
        key: The task.
        cost: The cost of a done task, in image forwards.
        model_seconds: Seconds that the call of a done task spent inside a model.
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
    """The sessions of all clients, by client id."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}

    def __contains__(self, client: object) -> bool:
        return client in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, models: frozenset[str]) -> str:
        """Open a session for a client that needs `models`, and return the client's id."""
        client = uuid.uuid4().hex
        self._sessions[client] = _Session(models, time.monotonic())
        return client

    def remove(self, client: str) -> None:
        """Close the session of a client."""
        del self._sessions[client]

    def expect(self, client: str, pending: set[str]) -> None:
        """Set the keys of the tasks that a client waits for."""
        self._sessions[client].pending = pending

    def also_expect(self, key: str, dependants: set[str]) -> None:
        """Let every client that waits for one of the `dependants` also wait for task `key`."""
        for session in self._sessions.values():
            if session.pending & dependants:
                session.pending.add(key)

    def notices(self, client: str, after: int) -> list[Notice]:
        """Return a client's notices from number `after` on, and delete the notices before.

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
        """Notify one client."""
        self._sessions[client].notices.append(notice)

    def notify_all(self, notice: Notice) -> None:
        """Notify every client that waits for a task."""
        for session in self._sessions.values():
            if session.pending:
                session.notices.append(notice)

    def notify_ready(self, key: str) -> None:
        """Notify clients whose first task begins with task `key`."""
        for session in self._sessions.values():
            if not session.ready and key in session.pending:
                session.ready = True
                session.notices.append(Notice("ready", time.time()))

    def notify_waiting(self, notice: Notice) -> None:
        """Notify every client that waits for the notice's task."""
        for session in self._sessions.values():
            if notice.key in session.pending:
                session.notices.append(notice)

    def conclude(self, notice: Notice) -> list[str]:
        """Notify every client that waits for the notice's task, which has ended.

        Returns:
            Clients that no longer wait for any task.
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
        """Return whether a client waits for a task."""
        return any(session.pending for session in self._sessions.values())

    def models(self) -> set[str]:
        """Return the models that clients need."""
        return {model for session in self._sessions.values() for model in session.models}

    def silent(self, seconds: float, now: float) -> list[str]:
        """Return the clients that have asked for no notices in the `seconds` before `now`."""
        return [c for c, session in self._sessions.items() if now - session.last_seen > seconds]
