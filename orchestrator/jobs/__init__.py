"""Runs and searches as jobs of a Ray cluster: bundle, submission, log, stop."""

DEFAULT_ADDRESS = "http://127.0.0.1:8265"  # of a cluster's dashboard
