"""The command ``segtransfer``: a file per verb, which reads options and prints, and no logic."""

from segtransfer.cli.command import app, main

__all__ = ["app", "main"]
