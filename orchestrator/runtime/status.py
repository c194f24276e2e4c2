"""The state of a driver at a moment: its slots, tasks and clients."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SlotState = Literal["working", "loading", "idle"]
SLOT_STATES: tuple[SlotState, ...] = ("working", "loading", "idle")
OPEN_STATES = ("blocked", "ready", "running")
TASK_STATES = (*OPEN_STATES, "done", "failed", "skipped", "cancelled")


@dataclass(frozen=True)
class SlotStatus:
    """A slot at a moment.

    Attributes:
        slot_id: The slot.
        device: The device of the slot.
        model: Name of the hosted model, or None.
        loading: Whether the model is still being loaded.
        task: The call under way in words, or None.
        seconds: Seconds since the call under way began.
        queued: Number of calls behind the call under way.
        done: Number of calls that ended on the slot.
        rate: Image forwards per second over the last calls.
    """

    slot_id: str
    device: str
    model: str | None
    loading: bool
    task: str | None
    seconds: float
    queued: int
    done: int
    rate: float

    @property
    def state(self) -> SlotState:
        """State of the slot."""
        if self.loading:
            return "loading"
        return "idle" if self.task is None else "working"


@dataclass(frozen=True)
class Status:
    """A driver at a moment.

    Attributes:
        time: Seconds since the epoch.
        slots: The slots that are up.
        counts: Number of tasks of all clients per state.
        retries: Number of calls that failed and were queued again.
        in_flight_bytes: Bytes of AEs that are being made or await scoring.
        budget_bytes: Most bytes of AEs in flight.
        clients: Number of clients.
        seconds_left: Estimated seconds until all tasks of all clients have ended; None if unknown.
    """

    time: float
    slots: tuple[SlotStatus, ...]
    counts: Mapping[str, int]
    retries: int
    in_flight_bytes: int
    budget_bytes: int
    clients: int
    seconds_left: float | None = None

    def slot_states(self) -> dict[SlotState, int]:
        """Count the slots per state.

        Returns:
            The number of slots by state, zeros included.
        """
        found = Counter(slot.state for slot in self.slots)
        return {state: found[state] for state in SLOT_STATES}
