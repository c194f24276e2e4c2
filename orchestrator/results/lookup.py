"""Experiments of a store by name or identity."""

from collections.abc import Mapping
from typing import Any

from segtransfer.errors import InputError
from segtransfer.store import Store


def experiments_of(store: Store, wanted: str | None = None) -> Mapping[str, Mapping[str, Any]]:
    """Return experiments of a store by identity, oldest first.

    Args:
        store: The store.
        wanted: A name, the beginning of an identity, or ``name-beginning`` as runs and reports
            are called. Default: all experiments.

    Raises:
        InputError: If the store holds no such experiment.
    """
    known = store.experiments()
    if not known:
        raise InputError(
            f"store {store.location} holds no experiment; give the folder or URL of a store"
        )
    if wanted is None:
        return known
    matches = matching(known, wanted)
    if not matches:
        raise InputError(
            f"store {store.location} holds no experiment '{wanted}'; it holds {_listed(known)}"
        )
    return matches


def matching(
    known: Mapping[str, Mapping[str, Any]], wanted: str, least: int = 1
) -> dict[str, Mapping[str, Any]]:
    """Return the experiments with a name, else the experiments whose identity begins like this.

    Args:
        known: Experiments by identity.
        wanted: A name, the beginning of an identity, or ``name-beginning``.
        least: The least length of the beginning of an identity without a name.
    """
    named = {i: content for i, content in known.items() if _name(content) == wanted}
    return named or {
        i: content for i, content in known.items() if _begins(i, content, wanted, least)
    }


def experiment_of(store: Store, wanted: str | None = None) -> tuple[str, Mapping[str, Any]]:
    """Return the identity and the content of one experiment of a store.

    Args:
        store: The store.
        wanted: A name, the beginning of an identity, or ``name-beginning``. It may be left out if
            the store holds one experiment.

    Raises:
        InputError: If no experiment matches, or more than one.
    """
    matches = experiments_of(store, wanted)
    if len(matches) > 1:
        which = "" if wanted is None else f" named '{wanted}'"
        raise InputError(
            f"store {store.location} holds {len(matches)} experiments{which}; give one of them, by "
            f"its name or the beginning of its identity: {_listed(matches)}"
        )
    return next(iter(matches.items()))


def _begins(identity: str, content: Mapping[str, Any], wanted: str, least: int) -> bool:
    name, _, beginning = wanted.rpartition("-")
    if beginning and name == _name(content):
        return identity.startswith(beginning)
    return len(wanted) >= least and identity.startswith(wanted)


def _name(content: Mapping[str, Any]) -> str:
    return content.get("spec", {}).get("name", "")


def _listed(experiments: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{_name(content)} ({i[:12]})" for i, content in experiments.items())
