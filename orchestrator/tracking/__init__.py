"""MLflow: runs that show stored results. Stored results can be logged again at any time.

The package imports nothing: MLflow takes seconds, and ``places`` and ``current`` need no MLflow.
"""
