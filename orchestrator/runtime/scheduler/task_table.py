"""Entries of all tasks, the evaluations of each attack, and the remaining work of each model."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from segtransfer.experiment.task import Task

ANY = ""  # stands for the model of tasks without a model


class State(Enum):
    """The state of a task."""

    BLOCKED = "blocked"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


FINAL = frozenset({State.DONE, State.FAILED, State.SKIPPED, State.CANCELLED})
ENDED_BADLY = FINAL - {State.DONE}


@dataclass(slots=True)
class TaskEntry:
    """A task with its state; ``clients`` is a shared tuple, to keep entries small.

    ``queued`` tells whether the entry waits in the queues of its clients. An entry taken from the
    queue of one client stays in the queues of the others, which no longer count it.
    """

    task: Task
    state: State
    clients: tuple[str, ...]
    slot_id: str | None = None
    failures: int = 0
    queued: bool = False


class TaskTable:
    """Entries by key. An attack's evaluations are found even after its own entry was dropped."""

    def __init__(self) -> None:
        self.remaining: defaultdict[str, float] = defaultdict(
            float
        )  # model -> cost of its unfinished tasks
        self._unfinished: Counter[str] = Counter()  # model -> number of unfinished tasks
        self._entries: dict[str, TaskEntry] = {}
        self._evaluations: dict[str, list[str]] = {}  # attack key -> keys of its evaluations

    def __getitem__(self, key: str) -> TaskEntry:
        return self._entries[key]

    def __iter__(self) -> Iterator[TaskEntry]:
        return iter(self._entries.values())

    def get(self, key: str | None) -> TaskEntry | None:
        """Return the entry of a key, or None if the key is None or unknown."""
        return self._entries.get(key) if key is not None else None

    def put(self, entry: TaskEntry) -> None:
        """Add an entry, in place of an older entry of the same task."""
        task = entry.task
        self._entries[task.key] = entry
        if task.depends_on is not None:
            keys = self._evaluations.setdefault(task.depends_on, [])
            if task.key not in keys:
                keys.append(task.key)

    def drop(self, key: str) -> TaskEntry:
        """Delete an entry and return it.

        Raises:
            KeyError: If there is no such entry.
        """
        entry = self._entries.pop(key)
        attack = entry.task.depends_on
        if attack is not None:
            self._evaluations[attack].remove(key)
            if not self._evaluations[attack]:
                del self._evaluations[attack]
        return entry

    def evaluations(self, attack: str) -> list[TaskEntry]:
        """Return the entries of an attack's evaluations.

        Args:
            attack: Key of the attack.
        """
        return [self._entries[key] for key in self._evaluations.get(attack, ())]

    def expect(self, task: Task) -> None:
        """Add a task to the unfinished work of its model, for the first time or again."""
        model = task.model or ANY
        self._unfinished[model] += 1
        self.remaining[model] += task.cost

    def ended(self, task: Task) -> None:
        """Remove a task from the unfinished work of its model, after success or failure."""
        model = task.model or ANY
        if self._unfinished[model] > 1:
            self._unfinished[model] -= 1
            self.remaining[model] -= task.cost
        else:  # Rounding would leave a rest.
            del self._unfinished[model], self.remaining[model]
