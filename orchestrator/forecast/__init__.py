"""Forecasts: measured model costs, and the time and bytes that a plan takes."""
