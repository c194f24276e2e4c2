"""Modules built by code: the hash of their state, and a cache from description to loading."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.models.module_hash import module_hash

SAME_BUILD = (
    "build the same weights at each call: seed the code's own random generators, or give a state "
    "dict as torch.weights"
)

_described: dict[str, str] = {}  # by recipe: the hash of the module of the last description
_kept: dict[str, nn.Module] | None = None  # by recipe: modules described and not yet loaded


def hash_of_build(recipe: str, built: nn.Module, name: str) -> str:
    """Return the hash of a built module's state, and keep the module within ``builds_kept``.

    Args:
        recipe: The code and its arguments as text, the cache's key.
        built: The module.
        name: The model's name, for messages.

    Returns:
        64 hex digits, as ``module_hash`` returns them.

    Raises:
        InputError: If a parameter has no shape yet.
    """
    weights = _described[recipe] = module_hash(built, name)
    if _kept is not None:
        _kept[recipe] = built
    return weights


def take_build(recipe: str) -> nn.Module | None:
    """Take the module built for the description out of the cache.

    Args:
        recipe: The code and its arguments as text.

    Returns:
        The module; None outside ``builds_kept``, or if it was taken already.
    """
    return (_kept or {}).pop(recipe, None)


def check_build(recipe: str, build: Callable[[], nn.Module], name: str, code: str) -> None:
    """Check that code builds the same module as for the description.

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
    """Keep the modules described in this context, so that loading does not build them again."""
    global _kept
    _kept = {}
    try:
        yield
    finally:
        _kept = None
