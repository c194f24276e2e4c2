"""The attack library: one loop, its seams as plain functions, presets as named specs."""
