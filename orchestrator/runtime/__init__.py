"""Carry a plan out: the runner, the driver, its sessions, and what it schedules and executes."""
