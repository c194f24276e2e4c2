"""Ready tasks by model and kind, in fair queues: the client charged least so far is next."""

from collections import deque
from dataclasses import dataclass, field

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler.task_table import ANY, TaskEntry


@dataclass(slots=True)
class _KindQueues:
    """Ready tasks of one kind, a queue per client; stale entries are skipped."""

    clients: dict[str, deque[TaskEntry]] = field(default_factory=dict)
    count: int = 0
    cost: float = 0.0


@dataclass(slots=True)
class _ModelQueues:
    """A model's queues, and the cost charged to each client on this model.

    ``virtual_time`` is the former charge of the client whose task started last (start-time fair
    queueing). A new or returning client is charged at least as much, so no client gets credit for
    its absence.
    """

    evaluations: _KindQueues = field(default_factory=_KindQueues)
    attacks: _KindQueues = field(default_factory=_KindQueues)
    ready: dict[str, int] = field(default_factory=dict)  # client -> number of its ready tasks
    charged: dict[str, float] = field(default_factory=dict)  # client -> cost
    virtual_time: float = 0.0

    def of_kind(self, attack: bool) -> _KindQueues:
        return self.attacks if attack else self.evaluations


class ReadyQueues:
    """Queues of ready tasks. A task of several clients is in the queue of each.

    Charges are kept per model: a client alone on one model owes nothing on another.
    """

    def __init__(self) -> None:
        self._models: dict[str, _ModelQueues] = {}

    def leave(self, client: str) -> None:
        """Delete a client with its queues and charges.

        The caller then drops the tasks without other clients, whose counts are still included here.

        Args:
            client: The client's id.
        """
        for name, model in list(self._models.items()):
            if model.charged.pop(client, None) is None:
                continue
            model.ready.pop(client, None)
            model.evaluations.clients.pop(client, None)
            model.attacks.clients.pop(client, None)
            if not model.charged:
                del self._models[name]

    def push(self, entry: TaskEntry, *, first: bool = False) -> None:
        """Add a ready task to the queues of all its clients.

        Args:
            entry: The task.
            first: Whether to add the task at the front rather than the end.
        """
        model = self._model(entry.task)
        queues = model.of_kind(entry.task.attack is not None)
        for client in entry.clients:
            queue = self._queue_for_one_more(model, queues, client)
            if first:
                queue.appendleft(entry)
            else:
                queue.append(entry)
        entry.queued = True
        queues.count += 1
        queues.cost += entry.task.cost

    def share(self, entry: TaskEntry, client: str) -> None:
        """Add a ready task to the queue of a further client.

        Args:
            entry: The task, in the queues of its earlier clients.
            client: The further client.
        """
        model = self._model(entry.task)
        queues = model.of_kind(entry.task.attack is not None)
        self._queue_for_one_more(model, queues, client).append(entry)

    def drop(self, entry: TaskEntry) -> None:
        """Uncount a task that is no longer ready; its entries in the queues become stale."""
        entry.queued = False
        model = self._models.get(entry.task.model or ANY)
        if model is None:
            return  # The last client of the model was deleted.
        queues = model.of_kind(entry.task.attack is not None)
        queues.count -= 1
        # Rounding would leave a rest.
        queues.cost = queues.cost - entry.task.cost if queues.count else 0.0
        for client in entry.clients:
            model.ready[client] -= 1
            if not model.ready[client]:
                del model.ready[client]
                model.evaluations.clients.pop(client, None)
                model.attacks.clients.pop(client, None)

    def pop(self, name: str, kind: str) -> TaskEntry | None:
        """Take the next ready task of the client charged least so far.

        Args:
            name: The model, or ``ANY``.
            kind: "attack" or "evaluate".

        Returns:
            The task, which no queue counts any more, or None if no task is ready.
        """
        model = self._models.get(name)
        if model is None:
            return None
        queues = model.of_kind(kind == "attack")
        clients = queues.clients
        while queues.count and clients:
            client = (
                next(iter(clients))
                if len(clients) == 1
                else min(clients, key=model.charged.__getitem__)
            )
            queue = clients[client]
            while queue:
                entry = queue.popleft()
                if entry.queued and client in entry.clients:
                    self.drop(entry)
                    return entry
            del clients[client]
        return None

    def charge(self, entry: TaskEntry) -> None:
        """Charge the cost of a task that starts to its clients, in equal parts."""
        model = self._models[entry.task.model or ANY]
        least = min(model.charged[client] for client in entry.clients)
        model.virtual_time = max(model.virtual_time, least)
        share = entry.task.cost / len(entry.clients)
        for client in entry.clients:
            model.charged[client] += share

    def count(self, name: str, kind: str) -> int:
        """Return the number of a model's ready tasks of a kind.

        Args:
            name: The model, or ``ANY``.
            kind: "attack" or "evaluate".
        """
        model = self._models.get(name)
        return model.of_kind(kind == "attack").count if model else 0

    def cost(self, name: str, *, attacks: bool) -> float:
        """Return the cost of a model's ready tasks.

        Args:
            name: The model, or ``ANY``.
            attacks: Whether to include attacks with the evaluations.
        """
        model = self._models.get(name)
        if model is None:
            return 0.0
        return model.evaluations.cost + (model.attacks.cost if attacks else 0.0)

    def ready(self, name: str) -> bool:
        """Return whether a model has ready tasks."""
        model = self._models.get(name)
        return model is not None and bool(model.ready)

    def models(self, *, attacks: bool) -> list[str]:
        """Return the models with ready tasks, without ``ANY``.

        Args:
            attacks: Whether ready attacks count as well as evaluations.
        """
        return [
            name
            for name, model in self._models.items()
            if (model.evaluations.count or (attacks and model.attacks.count)) and name != ANY
        ]

    def _model(self, task: Task) -> _ModelQueues:
        name = task.model or ANY
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = _ModelQueues()
        return model

    def _queue_for_one_more(
        self, model: _ModelQueues, queues: _KindQueues, client: str
    ) -> deque[TaskEntry]:
        """Count a further ready task of a client, and return the queue for the task."""
        ready = model.ready.get(client, 0)
        if not ready:
            model.charged[client] = max(model.charged.get(client, 0.0), model.virtual_time)
        model.ready[client] = ready + 1
        queue = queues.clients.get(client)
        if queue is None:
            queue = queues.clients[client] = deque()
        return queue
