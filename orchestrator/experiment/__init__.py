"""Experiments: the typed spec, its plan of tasks, and the keys of tasks."""
