"""Gradient rules: what takes the place of the loss's gradient in a step."""
