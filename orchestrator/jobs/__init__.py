"""Runs and searches as jobs of a Ray cluster: what is sent, how they are followed and stopped."""

DEFAULT_ADDRESS = "http://127.0.0.1:8265"  # of a cluster's dashboard
