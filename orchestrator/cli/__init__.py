"""The command ``segtransfer``: a file per verb, which reads options and prints, without logic."""

from segtransfer.cli.command import app, main

__all__ = ["app", "main"]
