"""Loops of an attack in place of sign steps: a module per kind, with its spec and its run."""
