"""Forecasts of the time and bytes of an experiment, before it runs."""
