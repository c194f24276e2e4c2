"""Import a large library only when an attribute of the library is needed.

Names, fields, plans and stored results need no torch, whose import takes seconds, but modules with
code for tensors import torch.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class Later(ModuleType):
    """Stands for a module until an attribute is read."""

    def __getattr__(self, name: str) -> Any:
        """Import the module in place of this object, and return its attribute."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        library = import_module(self.__name__)
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType):  # anything can be in sys.modules
                names = [key for key, value in vars(module).items() if value is self]
                vars(module).update(dict.fromkeys(names, library))
        return getattr(library, name)


def import_later(name: str) -> None:
    """Put a ``Later`` in the place of a module that is not imported yet.

    Args:
        name: The name of a top-level module. A module that is not installed stays missing.
    """
    if name not in sys.modules and (spec := find_spec(name)) is not None:
        found = Later(name)
        found.__spec__, found.__file__ = spec, spec.origin  # which ``inspect`` reads of any module
        sys.modules[name] = found
