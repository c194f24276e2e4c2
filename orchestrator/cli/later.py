"""Import a large library only when an attribute of the library is needed.

Names, fields, plans and stored results need no torch, whose import takes seconds, but modules with
code for tensors import torch.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import ModuleType
from typing import Any


class Later(ModuleType):
    """Stands for a module until an attribute is read or set."""

    def load(self) -> ModuleType:
        """Import the module, put it in the place of this object, and return it."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        library = import_module(self.__name__)
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType):  # anything can be in sys.modules
                names = [key for key, value in list(vars(module).items()) if value is self]
                vars(module).update(dict.fromkeys(names, library))
        return library

    def __getattr__(self, name: str) -> Any:
        """Import the module, and return its attribute."""
        return getattr(self.load(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Import the module, and set its attribute."""
        setattr(self.load(), name, value)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        """Return the import of the module, by which a function with its name is pickled."""
        return import_module, (self.__name__,)


class Submodules(MetaPathFinder):
    """Finds submodules that their library has just imported, because Python would run them again.

    ``import torch.nn`` reads the search path of the stand-in, which imports torch and so torch.nn,
    after Python has looked for torch.nn among the imported modules.
    """

    def __init__(self, library: str) -> None:
        self._library = library

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec whose loader returns the imported submodule; None for other modules.

        Args:
            fullname: The name of the module to import.
            path: The search path of its parent.
            target: The module to load again, if Python reloads a module.
        """
        found = sys.modules.get(fullname)
        if target is not None or found is None or not fullname.startswith(f"{self._library}."):
            return None
        return spec_from_loader(fullname, _Imported(found))


class _Imported(Loader):
    """Loads a module that is imported already."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def import_later(name: str) -> None:
    """Put a ``Later`` in the place of a module that is not imported yet.

    Args:
        name: The name of a top-level module. A module that is not installed stays missing.
    """
    if name in sys.modules or (spec := find_spec(name)) is None:
        return
    found = Later(name)
    vars(found).update(__spec__=spec, __file__=spec.origin)  # which ``inspect`` reads of any module
    sys.meta_path.insert(0, Submodules(name))
    sys.modules[name] = found
