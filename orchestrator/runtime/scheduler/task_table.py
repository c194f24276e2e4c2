"""What the scheduler knows of each task, what scores what, and how much is left for each model."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from segtransfer.experiment.task import Task

ANY = ""  # stands for the model of tasks that need none


class State(Enum):
    """Where a task stands."""

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
    """What the scheduler knows of a task; ``clients`` is a shared tuple, to keep records small."""

    task: Task
    state: State
    clients: tuple[str, ...]
    slot_id: str | None = None
    failures: int = 0


class TaskTable:
    """Records by key. An attack's scores are found even after its own record was dropped."""

    def __init__(self) -> None:
        self.remaining: defaultdict[str, float] = defaultdict(
            float
        )  # model -> cost of what has not ended
        self._left: Counter[str] = Counter()  # model -> how many tasks that is
        self._records: dict[str, TaskEntry] = {}
        self._scorers: dict[str, list[str]] = {}  # attack -> keys of what scores it

    def __getitem__(self, key: str) -> TaskEntry:
        return self._records[key]

    def __iter__(self) -> Iterator[TaskEntry]:
        return iter(self._records.values())

    def get(self, key: str | None) -> TaskEntry | None:
        return self._records.get(key) if key is not None else None

    def put(self, record: TaskEntry) -> None:
        """Keep a record, in place of an older one of the same task."""
        task = record.task
        self._records[task.key] = record
        if task.depends_on is not None:
            scorers = self._scorers.setdefault(task.depends_on, [])
            if task.key not in scorers:
                scorers.append(task.key)

    def drop(self, key: str) -> TaskEntry:
        record = self._records.pop(key)
        attack = record.task.depends_on
        if attack is not None:
            self._scorers[attack].remove(key)
            if not self._scorers[attack]:
                del self._scorers[attack]
        return record

    def scorers(self, attack: str) -> list[TaskEntry]:
        """What scores an attack's AEs."""
        return [self._records[key] for key in self._scorers.get(attack, ())]

    def expect(self, task: Task) -> None:
        """A task is to be done, or done again."""
        model = task.model or ANY
        self._left[model] += 1
        self.remaining[model] += task.cost

    def ended(self, task: Task) -> None:
        """A task that was expected has ended, well or not."""
        model = task.model or ANY
        if self._left[model] > 1:
            self._left[model] -= 1
            self.remaining[model] -= task.cost
        else:  # sums of floats do not come back to zero by themselves
            del self._left[model], self.remaining[model]
