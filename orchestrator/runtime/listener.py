"""The listener to an experiment that is carried out."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segtransfer.experiment.plan import Plan
    from segtransfer.runtime.sessions import Notice
    from segtransfer.runtime.status import Status


class Listener:
    """Follows an experiment; every method may be overridden, and does nothing here."""

    def stage(self, text: str, detail: str = "") -> None:
        """Receive the work before the first task: a phrase, and the item that it is at."""

    def planned(self, plan: "Plan") -> None:
        """Receive the plan, once, before anything is computed."""

    def notice(self, notice: "Notice") -> None:
        """Receive an event of a task or a slot."""

    def status(self, status: "Status") -> None:
        """Receive the state of the driver, about once per second."""
