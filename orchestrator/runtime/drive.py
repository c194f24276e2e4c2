"""A client's way through a driver: submit tasks, and follow them to their end."""

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace

from segtransfer.experiment.plan import Plan
from segtransfer.runtime.client import DriverClient
from segtransfer.runtime.executors.base import Served
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.sessions import Notice, Submission, UnknownClientError
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.store import Store

log = logging.getLogger(__name__)

STATUS_PERIOD = 1.0  # seconds between two states of the driver that a listener receives


@dataclass
class Outcome:
    """The outcome of tasks.

    Attributes:
        failures: Reasons of failed and skipped tasks, by key.
        done: Keys of tasks that were computed.
    """

    failures: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def note(self, notice: Notice) -> None:
        """Add the outcome of a notice's task."""
        if notice.kind in ("failed", "skipped"):
            self.failures[notice.key] = notice.message
        elif notice.kind == "done":
            self.done.add(notice.key)
            # A driver that was restarted has tried failed tasks again.
            self.failures.pop(notice.key, None)


def served_models(plan: Plan) -> dict[str, Served]:
    """Return a plan's models as slots host them, by the name that tasks use."""
    numerics = plan.experiment.numerics
    return {
        name: Served(spec, plan.infos[spec.name].fingerprint, numerics)
        for name, spec in plan.models.items()
    }


def drive(
    driver: DriverClient,
    submission: Submission,
    store: Store,
    outcome: Outcome,
    time_limit: TimeLimit,
    listener: Listener | None = None,
) -> None:
    """Submit tasks, and follow them until all have ended or the time is up.

    Args:
        driver: The driver that computes the tasks. A restarted driver gets the tasks again.
        submission: The tasks.
        store: The store of the driver.
        outcome: Gets the outcome of every task.
        time_limit: The time limit of the run that the tasks are part of.
        listener: Receives every notice, and the state of the driver.
    """
    while True:
        try:
            _follow(driver, submission, outcome, time_limit, listener)
            return
        except UnknownClientError:
            # The driver was restarted and has lost its sessions; its results are stored.
            log.warning("the driver was started again: going on with what is not stored yet")
            damaged = submission.damaged - outcome.done
            stored = frozenset(store.keys() & submission.tasks.keys()) - damaged
            submission = replace(submission, stored=stored, damaged=damaged)


def _follow(
    driver: DriverClient,
    submission: Submission,
    outcome: Outcome,
    time_limit: TimeLimit,
    listener: Listener | None,
) -> None:
    """Submit tasks to one life of a driver, and follow them."""
    client, received, asked = driver.submit(submission), 0, time.monotonic()
    try:
        while not time_limit.time_is_up():
            notices = driver.events(client, received)
            received += len(notices)
            for notice in notices:
                outcome.note(notice)
                if listener:
                    listener.notice(notice)
            if notices and notices[-1].kind == "finished":
                break
            if listener and time.monotonic() - asked > STATUS_PERIOD:
                asked = time.monotonic()
                listener.status(driver.status())
    finally:
        # A driver that died or was restarted has no such client.
        with suppress(RuntimeError, UnknownClientError):
            driver.cancel(client)
