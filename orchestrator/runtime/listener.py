"""The interface of listeners: observers of a run."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segtransfer.experiment.plan import Plan
    from segtransfer.runtime.sessions import Notice
    from segtransfer.runtime.status import Status


class Listener:
    """Follows a run. Every method may be overridden, and does nothing here.

    The run calls its listener in the run's own thread and waits for every call to return.
    """

    def stage(self, text: str, detail: str = "") -> None:
        """Receive the progress of the work before the first task.

        Args:
            text: The stage in words, for example "Starting workers and loading models".
            detail: The item at hand, for example a model's name; may be empty.
        """

    def planned(self, plan: "Plan") -> None:
        """Receive the plan, once, before anything is computed.

        Args:
            plan: All tasks of the experiment, of which ``plan.missing`` will be computed.
        """

    def notice(self, notice: "Notice") -> None:
        """Receive an event of a task or a slot.

        Args:
            notice: The event, in the order of events. Its kind ``finished`` ends a submission.
        """

    def status(self, status: "Status") -> None:
        """Receive the state of the driver, about once per second while tasks are open.

        Args:
            status: Slots, tasks and clients of the driver, other clients' included.
        """
