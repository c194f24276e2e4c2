"""Which experiments of a store a person means: all of them, or those of a name or an identity."""

from typing import Any

from orchestrator.store import Store
from tasks.errors import InputError


def experiments_of(store: Store, wanted: str | None = None) -> dict[str, dict[str, Any]]:
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
    named = {i: content for i, content in known.items() if _name(content) == wanted}
    begun = {i: content for i, content in known.items() if _begins(i, content, wanted)}
    if not (named or begun):
        raise InputError(
            f"store {store.location} holds no experiment '{wanted}'; it holds {_listed(known)}"
        )
    return named or begun


def experiment_of(store: Store, wanted: str | None = None) -> tuple[str, dict[str, Any]]:
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


def _begins(identity: str, content: dict[str, Any], wanted: str) -> bool:
    beginning = wanted.removeprefix(f"{_name(content)}-")
    return beginning != "" and identity.startswith(beginning)


def _name(content: dict[str, Any]) -> str:
    return content.get("spec", {}).get("name", "")


def _listed(experiments: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{_name(content)} ({i[:12]})" for i, content in experiments.items())
