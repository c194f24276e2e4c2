"""Pages of signatures: Sphinx fills in each public name of a module from the code."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import segtransfer
from pages.markdown import wrapped

NAMES = Path(__file__).resolve().parents[1] / "reference/python.md"
DIRECTIVES = {"function": "autofunction", "class": "autoclass", "exception": "autoexception"}


def signatures_page(module: ModuleType, title: str, about: str) -> str:
    """Return the page of a module: a section per name of ``__all__``, functions first.

    Args:
        module: The module.
        title: The heading of the page.
        about: A paragraph below the heading, as Markdown.
    """
    text = NAMES.read_text().partition(f"\n## {module.__name__}\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE))
    names = sorted(module.__all__, key=lambda name: (_order(module, name), name.lower()))
    sections = (_section(module, name, told[name]) for name in names)
    return "\n".join([f"# {title}\n\n{wrapped(about)}\n", *sections])


def _section(module: ModuleType, name: str, told: str) -> str:
    if module is not segtransfer and name in segtransfer.__all__:
        return f"## {name}\n\n{wrapped(told)} [Signature](api.md#{name.lower()}).\n"
    kind = _kind(module, name)
    if kind == "data":
        lines = [f".. py:data:: {module.__name__}.{name}", "", f"   {told.replace('`', '``')}"]
    else:
        lines = [f".. {DIRECTIVES[kind]}:: {module.__name__}.{name}"]
        lines += ["   :members:"] if kind == "class" else []
    body = "\n".join(lines)
    title = name.replace("__", r"\_\_")
    return f"## {title}\n\n```{{eval-rst}}\n{body}\n```\n"


def _kind(module: ModuleType, name: str) -> str:
    """Return the kind of a public name: function, class, exception or data."""
    value = getattr(module, name)
    if inspect.isfunction(value):
        return "function"
    if not inspect.isclass(value):
        return "data"
    return "exception" if issubclass(value, Exception) else "class"


def _order(module: ModuleType, name: str) -> int:
    return ("function", "class", "exception", "data").index(_kind(module, name))
