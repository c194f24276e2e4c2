"""Follow a run's tasks through a driver, from the submission to the last result."""

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

STATUS_PERIOD = 1.0  # seconds between two calls of Listener.status


@dataclass
class Outcome:
    """The outcome of a run's tasks so far.

    Attributes:
        failures: Reasons of failed and skipped tasks, by key.
        done: Keys of tasks computed during this run.
    """

    failures: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def note(self, notice: Notice) -> None:
        """Record the outcome of a notice's task.

        A task may succeed after its failure, if a restarted driver tries it again.

        Args:
            notice: The notice; only kinds ``done``, ``failed`` and ``skipped`` count.
        """
        if notice.kind in ("failed", "skipped"):
            self.failures[notice.key] = notice.message
        elif notice.kind == "done":
            self.done.add(notice.key)
            # A restarted driver has tried failed tasks again.
            self.failures.pop(notice.key, None)


def served_models(plan: Plan) -> dict[str, Served]:
    """Return a plan's models as slots host them.

    Returns:
        The models by the model key in tasks.
    """
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
    """Submit tasks and wait until all have ended or the time is up.

    The client is cancelled at the end, also after an error or Ctrl-C.

    Args:
        driver: The driver. If it was restarted, the tasks without a stored result are submitted
            again.
        submission: The tasks.
        store: The store of the driver.
        outcome: Gets the outcome of every task.
        time_limit: The time limit of the run.
        listener: Receives every notice, and the driver's state every `STATUS_PERIOD` seconds.

    Raises:
        DriverError: If a driver on Ray stopped or died.
        OSError: If a driver in this process cannot read or write its store.
    """
    while True:
        try:
            _follow(driver, submission, outcome, time_limit, listener)
            return
        except UnknownClientError:
            # The driver was restarted and has lost its sessions; its results are stored.
            log.warning(
                "the driver was restarted: tasks without a stored result are submitted again"
            )
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
    """Submit tasks to a driver and wait for their end.

    Raises:
        UnknownClientError: If the driver was restarted or ended the client's lease.
    """
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
