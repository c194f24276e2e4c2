"""The scheduler: a pure state machine over slots, tasks, clients and events.

No Ray, no torch, no clock of its own, and nothing random: equal histories give equal decisions.
"""

from segtransfer.runtime.scheduler.machine import SWITCH_COST, Decision, Scheduler
from segtransfer.runtime.scheduler.placement import Host
from segtransfer.runtime.scheduler.slots import Slot
from segtransfer.runtime.scheduler.starts import Start
from segtransfer.runtime.scheduler.task_table import FINAL, State

__all__ = ["FINAL", "SWITCH_COST", "Decision", "Host", "Scheduler", "Slot", "Start", "State"]
