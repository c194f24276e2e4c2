"""Import a large library only when an attribute of the library is needed.

Lists of names and fields need no torch, whose import takes seconds, but the modules with the names
import torch.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class Later(ModuleType):
    """Stands for a module until an attribute is read."""

    def __getattr__(self, name: str) -> Any:
        """Import the module, and return its attribute."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def import_later(name: str) -> None:
    """Put a ``Later`` in the place of a module that is not imported yet.

    Args:
        name: The name of an installed top-level module.
    """
    if name not in sys.modules:
        found = Later(name)
        found.__spec__ = find_spec(name)
        sys.modules[name] = found
