"""Experiments: the typed spec, the plan of tasks that follows from it, and their keys."""
