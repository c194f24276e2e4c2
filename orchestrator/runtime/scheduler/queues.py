"""Tasks that are ready to run, by model and kind; clients take turns by what they were given."""

from collections import deque
from dataclasses import dataclass, field

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler.task_table import ANY, State, TaskEntry


@dataclass(slots=True)
class _Queue:
    """Ready tasks of one kind, a line for each client; stale entries are passed over."""

    lines: dict[str, deque[TaskEntry]] = field(default_factory=dict)
    count: int = 0
    cost: float = 0.0


@dataclass(slots=True)
class _Model:
    """A model's queues, and what each client was given on it.

    ``level`` is what the client served last had been given before. A client that comes with its
    first task, or comes back, starts there at least: it has no credit for the time it was away.
    """

    evaluations: _Queue = field(default_factory=_Queue)
    attacks: _Queue = field(default_factory=_Queue)
    ready: dict[str, int] = field(default_factory=dict)  # client -> how many of its tasks
    given: dict[str, float] = field(default_factory=dict)  # client -> cost
    level: float = 0.0

    def queue(self, attack: bool) -> _Queue:
        return self.attacks if attack else self.evaluations


class ReadyQueues:
    """Lines of ready tasks. A task that several clients want stands in the line of each.

    Shares are kept model by model: who is alone on one model owes nothing on another.
    """

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def leave(self, client: str) -> None:
        """Forget a client; tasks that nobody else wants are to be dropped afterwards."""
        for name, model in list(self._models.items()):
            if model.given.pop(client, None) is None:
                continue
            model.ready.pop(client, None)
            model.evaluations.lines.pop(client, None)
            model.attacks.lines.pop(client, None)
            if not model.given:
                del self._models[name]

    def push(self, record: TaskEntry, *, first: bool = False) -> None:
        """Put a ready task in line; ``first`` where it had its turn before."""
        model = self._model(record.task)
        queue = model.queue(record.task.attack is not None)
        for client in record.clients:
            line = self._line(model, queue, client)
            if first:
                line.appendleft(record)
            else:
                line.append(record)
        queue.count += 1
        queue.cost += record.task.cost

    def share(self, record: TaskEntry, client: str) -> None:
        """Another client wants a task that is ready."""
        model = self._model(record.task)
        self._line(model, model.queue(record.task.attack is not None), client).append(record)

    def drop(self, record: TaskEntry) -> None:
        """A ready task is no longer to run; its entries are passed over."""
        model = self._models.get(record.task.model or ANY)
        if model is None:
            return  # the last client has left
        queue = model.queue(record.task.attack is not None)
        queue.count -= 1
        # Sums of floats do not come back to zero by themselves.
        queue.cost = queue.cost - record.task.cost if queue.count else 0.0
        for client in record.clients:
            model.ready[client] -= 1
            if not model.ready[client]:
                del model.ready[client]
                model.evaluations.lines.pop(client, None)
                model.attacks.lines.pop(client, None)

    def pop(self, name: str, kind: str) -> TaskEntry | None:
        """The next ready task, of the client that was given least so far; None where none is."""
        model = self._models.get(name)
        if model is None:
            return None
        queue = model.queue(kind == "attack")
        lines = queue.lines
        while queue.count and lines:
            client = (
                next(iter(lines)) if len(lines) == 1 else min(lines, key=model.given.__getitem__)
            )
            line = lines[client]
            while line:
                record = line.popleft()
                if record.state is State.READY and client in record.clients:
                    self.drop(record)
                    return record
            del lines[client]
        return None

    def charge(self, record: TaskEntry) -> None:
        """Count a task that starts on what its clients were given, shared among them."""
        model = self._models[record.task.model or ANY]
        model.level = max(model.level, min(model.given[client] for client in record.clients))
        share = record.task.cost / len(record.clients)
        for client in record.clients:
            model.given[client] += share

    def count(self, name: str, kind: str) -> int:
        model = self._models.get(name)
        return model.queue(kind == "attack").count if model else 0

    def cost(self, name: str, *, attacks: bool) -> float:
        """Cost of what is ready for a model, with or without its attacks."""
        model = self._models.get(name)
        if model is None:
            return 0.0
        return model.evaluations.cost + (model.attacks.cost if attacks else 0.0)

    def ready(self, name: str) -> bool:
        """Whether a model has anything ready."""
        model = self._models.get(name)
        return model is not None and bool(model.ready)

    def models(self, *, attacks: bool) -> list[str]:
        """Models with something ready, with or without attacks."""
        return [
            name
            for name, model in self._models.items()
            if (model.evaluations.count or (attacks and model.attacks.count)) and name != ANY
        ]

    def _model(self, task: Task) -> _Model:
        name = task.model or ANY
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = _Model()
        return model

    def _line(self, model: _Model, queue: _Queue, client: str) -> deque[TaskEntry]:
        """A client's line, for one more task."""
        ready = model.ready.get(client, 0)
        if not ready:
            model.given[client] = max(model.given.get(client, 0.0), model.level)
        model.ready[client] = ready + 1
        line = queue.lines.get(client)
        if line is None:
            line = queue.lines[client] = deque()
        return line
