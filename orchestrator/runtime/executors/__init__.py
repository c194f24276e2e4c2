"""Executors carry tasks to models; they differ only in dispatch."""
