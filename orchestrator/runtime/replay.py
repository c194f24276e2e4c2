"""The scheduler's journal: every event and decision in a file, and their replay."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, TextIO

from segtransfer.errors import InputError
from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler import Decision, Host, Scheduler, Slot
from segtransfer.tasks.attacks.spec import AttackSpec

DEFAULT_BUDGET = 2 * 2**30  # bytes of AEs in flight, until the first slot is up


def scheduler_for(runtime: Runtime) -> Scheduler:
    """Return the scheduler of a driver, which records its history if `runtime.journal` is set.

    Args:
        runtime: The runtime options of the run or fleet.

    Raises:
        OSError: If the journal cannot be written.
    """
    mebibytes = runtime.in_flight_mib
    options = {
        "window": runtime.window,
        "attempts": runtime.attempts,
        "in_flight_bytes": DEFAULT_BUDGET if mebibytes == "auto" else mebibytes * 2**20,
    }
    if runtime.journal is None:
        return Scheduler(**options)
    return RecordingScheduler(open(runtime.journal, "a", buffering=1), options)


def _recorded(event: str) -> Callable[..., Any]:
    """Return a method of ``Scheduler`` that writes its plain arguments to the journal first."""
    method = getattr(Scheduler, event)

    def record(self: "RecordingScheduler", *args: Any, **options: Any) -> Any:
        content = signature(method).bind(self, *args, **options).arguments
        with self._event(event, **{name: content[name] for name in content if name != "self"}):
            return method(self, *args, **options)

    return record


class RecordingScheduler(Scheduler):
    """A scheduler for debugging: its events and decisions go to a journal, as lines of JSON.

    Args:
        file: The journal, open for writing.
        options: Arguments of ``Scheduler``, which begin the journal.
    """

    def __init__(self, file: TextIO, options: dict[str, int]) -> None:
        super().__init__(**options)
        self._file = file
        self._inside = False  # events inside an event follow from it and are not written
        self._write("options", **options)

    def submit(self, client: str, tasks: Mapping[str, Task], stored: Iterable[str]) -> None:
        """Record and pass on a submission; see ``Scheduler.submit``."""
        done = set(stored)
        with self._event(
            "submit",
            client=client,
            tasks=[_pack(task) for task in tasks.values()],
            stored=[key for key in tasks if key in done],
        ):
            super().submit(client, tasks, done)

    def add_slot(self, slot: Slot) -> None:
        """Record and pass on a slot that joins."""
        with self._event("add_slot", slot=[slot.slot_id, slot.device, slot.width]):
            super().add_slot(slot)

    cancel = _recorded("cancel")
    forget = _recorded("forget")
    remove_slot = _recorded("remove_slot")
    hosted = _recorded("hosted")
    refused = _recorded("refused")
    model_lost = _recorded("model_lost")
    done = _recorded("done")
    failed = _recorded("failed")
    invalidated = _recorded("invalidated")

    def decide(self, now: float) -> list[Decision]:
        """Decide as ``Scheduler.decide``, and record the decisions."""
        decisions = super().decide(now)
        content = {"now": now, "budget": self.in_flight_bytes, "switch": self.switch_cost}
        self._write("decide", **content, decisions=_plain(decisions))
        return decisions

    @contextmanager
    def _event(self, event: str, **content: Any) -> Iterator[None]:
        outside, self._inside = not self._inside, True
        if outside:
            self._write(event, **content)
        try:
            yield
        finally:
            self._inside = not outside

    def _write(self, event: str, **content: Any) -> None:
        self._file.write(json.dumps({"event": event, **content}) + "\n")


def replay(path: str | Path) -> Iterator[tuple[list[Any], list[Any]]]:
    """Run a journal's events through a new scheduler.

    Every driver that appends to a journal begins with its options, and starts a new scheduler. A
    last line without an end is ignored, because a killed driver may leave it.

    Args:
        path: The journal.

    Yields:
        The decisions then and now, per call of ``decide``; equal if the scheduler is unchanged.

    Raises:
        InputError: If the file begins without options.
    """
    scheduler: Scheduler | None = None
    with open(path) as file:
        for line in file:
            if not line.endswith("\n"):
                return  # the driver was killed while writing
            content = json.loads(line)
            event = content.pop("event")
            if event == "options":
                scheduler = Scheduler(**content)
                continue
            if scheduler is None:
                raise InputError(
                    f"{path} is not a journal of a driver. Pass the file of runtime.journal, whose "
                    "first line has the scheduler's options."
                )
            if event == "decide":
                scheduler.in_flight_bytes = content["budget"]
                scheduler.switch_cost = content["switch"]
                yield content["decisions"], _plain(scheduler.decide(content["now"]))
            elif event == "submit":
                tasks = {entry[0]: _unpack(entry) for entry in content["tasks"]}
                scheduler.submit(content["client"], tasks, content["stored"])
            elif event == "add_slot":
                scheduler.add_slot(Slot(*content["slot"]))
            else:
                getattr(scheduler, event)(**content)


def _plain(decisions: list[Decision]) -> list[list[str]]:
    return [
        ["host", d.slot_id, d.model] if isinstance(d, Host) else ["start", d.slot_id, d.task.key]
        for d in decisions
    ]


def _pack(task: Task) -> list[Any]:
    kind = task.kind
    return [task.key, task.model, task.shard_id, task.cost, task.nbytes, task.depends_on, kind]


def _unpack(entry: list[Any]) -> Task:
    key, model, shard_id, cost, nbytes, depends_on, kind = entry
    attack = AttackSpec.model_validate("pgd") if kind == "attack" else None
    return Task(key, model, shard_id, cost, nbytes, depends_on, attack)
