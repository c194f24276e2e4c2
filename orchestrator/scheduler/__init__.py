"""The scheduler: a pure state machine over slots, tasks, clients and events.

No Ray, no torch, no clock of its own, and nothing random: equal histories give equal decisions.
"""

from orchestrator.scheduler.machine import SWITCH_COST, Decision, Scheduler
from orchestrator.scheduler.placement import Host
from orchestrator.scheduler.records import FINAL, State
from orchestrator.scheduler.slots import Slot
from orchestrator.scheduler.starts import Start

__all__ = ["FINAL", "SWITCH_COST", "Decision", "Host", "Scheduler", "Slot", "Start", "State"]
