"""Forecasts: measured model costs, and the scheduler on a simulated clock."""
