"""Samplers and pruners of a search: shipped, of Optuna, or of the user, by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, TypeVar

from optuna.exceptions import OptunaError
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from pydantic_core import PydanticCustomError
from sqlalchemy.exc import SQLAlchemyError

from segtransfer.errors import InputError
from segtransfer.tasks.registry import Registry

Made = TypeVar("Made")

# An entry is called by name with the offered arguments in its signature. Most classes of Optuna
# are therefore valid entries, for example ``optuna.samplers:GPSampler``.
SAMPLERS: Registry[Callable[..., BaseSampler]] = Registry(
    "samplers",
    (__name__,),
    callable,
    "function that takes a seed and returns an optuna.samplers.BaseSampler",
)
PRUNERS: Registry[Callable[..., BasePruner]] = Registry(
    "pruners", (__name__,), callable, "function that returns an optuna.pruners.BasePruner"
)


@PRUNERS.add("asha")
class Asha(NopPruner):
    """Prune by Tune's ASHA over the rungs; the Optuna study itself prunes nothing."""


SAMPLERS.add("tpe")(TPESampler)
SAMPLERS.add("random")(RandomSampler)
PRUNERS.add("median")(MedianPruner)
PRUNERS.add("none")(NopPruner)


def known_in(registry: Registry[Any]) -> Callable[[str], str]:
    """Return a validator that refuses names without an entry in a registry.

    Args:
        registry: The registry.

    Returns:
        A function that returns its argument, or raises PydanticCustomError with a hint.
    """

    def check(name: str) -> str:
        try:
            registry.find(name)
        except InputError as error:
            raise PydanticCustomError("entry", "{error}", {"error": str(error)}) from None
        return name

    return check


def make_sampler(name: str, seed: int, startup: int) -> BaseSampler:
    """Return the sampler of a name.

    Args:
        name: The name of an entry of ``SAMPLERS``.
        seed: The seed, passed as ``seed`` modulo 2^32.
        startup: The number of first trials drawn at random, passed as ``n_startup_trials``.

    Raises:
        InputError: If the entry fails, or returns no sampler.
    """
    return _make(SAMPLERS, name, BaseSampler, seed=seed % 2**32, n_startup_trials=startup)


def make_pruner(name: str) -> BasePruner:
    """Return the pruner of a name.

    Args:
        name: The name of an entry of ``PRUNERS``.

    Raises:
        InputError: If the entry fails, or returns no pruner.
    """
    return _make(PRUNERS, name, BasePruner)


def _make(
    registry: Registry[Callable[..., Made]], name: str, kind: type[Any], **offered: int
) -> Made:
    entry, field = registry.find(name), f"search.{registry.one} {name}"
    try:
        taken = signature(entry).parameters
        made = entry(**{key: value for key, value in offered.items() if key in taken})
    except Exception as error:  # code of the user may raise anything
        names = " and ".join(offered) or "nothing"
        raise InputError(
            f"{field} raised {type(error).__name__}: {error}. An entry is called with {names}; "
            "name a function that sets all other arguments."
        ) from error
    if not isinstance(made, kind):
        raise InputError(
            f"{field} returned {type(made).__name__}, but must return an optuna {kind.__name__}."
        )
    return made


@contextmanager
def named_in_errors(registry: Registry[Any], name: str) -> Iterator[None]:
    """Turn an error of a user's entry into an InputError with the entry's name.

    Errors of the study's storage and of shipped entries pass unchanged.

    Args:
        registry: The registry of the entry.
        name: The entry's name.

    Raises:
        InputError: If the entry failed.
    """
    try:
        yield
    except Exception as error:  # code of the user may raise anything
        if name in registry or isinstance(error, OptunaError | SQLAlchemyError):
            raise
        raise InputError(
            f"search.{registry.one} {name} raised {type(error).__name__}: {error}"
        ) from error
