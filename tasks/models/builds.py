"""Modules built by code: the hash of their state, and builds kept from description to loading."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.models.module_hash import module_hash

SAME_BUILD = (
    "a callable must build the same weights every time: seed its own random generators, or give "
    "its state dict as torch.weights"
)

_described: dict[str, str] = {}  # by recipe: the hash of the module last described
_kept: dict[str, nn.Module] | None = None  # modules described and not yet loaded


def hash_of_build(recipe: str, build: Callable[[], nn.Module], name: str) -> str:
    """Build a module and return the hash of its state.

    Args:
        recipe: The code and its arguments as text, under which the module is kept.
        build: The code.
        name: The model's name, for messages.
    """
    built = build()
    weights = _described[recipe] = module_hash(built, name)
    if _kept is not None:
        _kept[recipe] = built
    return weights


def take_build(recipe: str) -> nn.Module | None:
    """Return the module built for the description, once; None without one."""
    return (_kept or {}).pop(recipe, None)


def check_build(recipe: str, build: Callable[[], nn.Module], name: str, code: str) -> None:
    """Check that code builds the same module as when the module was described.

    Args:
        recipe: The code and its arguments as text.
        build: The code.
        name: The model's name, for messages.
        code: The code's name, for messages.

    Raises:
        InputError: If the module has another state.
    """
    before = _described.get(recipe) or module_hash(build(), name)
    if module_hash(build(), name) != before:
        raise InputError(f"model '{name}': two builds of {code} differ; {SAME_BUILD}")


@contextmanager
def builds_kept() -> Iterator[None]:
    """Keep modules that are described in this context, so that loading them builds nothing."""
    global _kept
    _kept = {}
    try:
        yield
    finally:
        _kept = None
