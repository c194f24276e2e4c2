"""The scheduler: a pure state machine over slots, tasks, clients and events.

No Ray, no torch, no clock of its own, and nothing random: equal histories give equal decisions.
"""

from segtransfer.scheduler.machine import SWITCH_COST, Decision, Scheduler
from segtransfer.scheduler.placement import Host
from segtransfer.scheduler.records import FINAL, State
from segtransfer.scheduler.slots import Slot
from segtransfer.scheduler.starts import Start

__all__ = ["FINAL", "SWITCH_COST", "Decision", "Host", "Scheduler", "Slot", "Start", "State"]
