"""Runs and searches as jobs of a Ray cluster: what is sent, how they are followed and stopped."""
