"""Modules that must never be loaded: our folders by their own names, outside ``segtransfer``."""

import sys

FOLDER_NAMES = frozenset({"orchestrator", "search_spaces", "tasks"})


def loaded_folders() -> set[str]:
    """Return the names of our folders that this process has loaded as top-level modules."""
    return FOLDER_NAMES & sys.modules.keys()


def unload_folders() -> set[str]:
    """Remove the modules of ``loaded_folders`` from this process, and return their names."""
    loaded = loaded_folders()
    for name in loaded:
        del sys.modules[name]
    return loaded
