"""Which experiments of a store a person means: all of them, or those of a name or an identity."""

from collections.abc import Mapping
from typing import Any

from segtransfer.errors import InputError
from segtransfer.store import Store


def experiments_of(store: Store, wanted: str | None = None) -> Mapping[str, Mapping[str, Any]]:
    """Experiments by identity, oldest first: all, or those of this name, or whose identity begins
    like this, alone or after the name and a ``-``, as runs and reports are called.

    Raises InputError where there is none.
    """
    known = store.experiments()
    if not known:
        raise InputError(
            f"store {store.location} holds no experiment; give the folder or URL of a store"
        )
    if wanted is None:
        return known
    found = matching(known, wanted)
    if not found:
        raise InputError(
            f"store {store.location} holds no experiment '{wanted}'; it holds {_listed(known)}"
        )
    return found


def matching(
    known: Mapping[str, Mapping[str, Any]], wanted: str, least: int = 1
) -> dict[str, Mapping[str, Any]]:
    """Of the experiments by identity those of this name, else those whose identity begins like
    this, by ``least`` characters or more, or after the name and a ``-`` by any."""
    named = {i: content for i, content in known.items() if _name(content) == wanted}
    return named or {
        i: content for i, content in known.items() if _begins(i, content, wanted, least)
    }


def experiment_of(store: Store, wanted: str | None = None) -> tuple[str, Mapping[str, Any]]:
    """The one experiment of that name or identity, or the only one there is.

    Raises InputError where there is none, or more than one.
    """
    found = experiments_of(store, wanted)
    if len(found) > 1:
        which = "" if wanted is None else f" named '{wanted}'"
        raise InputError(
            f"store {store.location} holds {len(found)} experiments{which}; give one of them, by "
            f"its name or the beginning of its identity: {_listed(found)}"
        )
    return next(iter(found.items()))


def _begins(identity: str, content: Mapping[str, Any], wanted: str, least: int) -> bool:
    name, _, beginning = wanted.rpartition("-")
    if beginning and name == _name(content):
        return identity.startswith(beginning)
    return len(wanted) >= least and identity.startswith(wanted)


def _name(content: Mapping[str, Any]) -> str:
    return content.get("spec", {}).get("name", "")


def _listed(experiments: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{_name(content)} ({i[:12]})" for i, content in experiments.items())
