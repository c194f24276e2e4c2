"""Executors carry tasks to models; they differ in dispatch alone."""
