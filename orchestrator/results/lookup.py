"""Lookup of experiments in a store, by name or identity, for every verb and for Python."""

from collections.abc import Mapping
from typing import Any

from segtransfer.errors import InputError
from segtransfer.store import Store

LEAST_PREFIX = 4  # characters of an identity without a name, so that few attack names are one
MOST_LISTED = 8  # experiments in a message

Described = Mapping[str, Any]


def described(store: Store) -> Mapping[str, Described]:
    """Return the experiments of a store by identity, oldest first, then the torn experiments.

    The description of a torn experiment is empty, which ``read_manifest`` refuses in a sentence.
    """
    paths = [path for path in store.files.names("experiments") if path.endswith(".json")]
    known = store.descriptions()
    named = {path.removeprefix("experiments/").removesuffix(".json"): path for path in paths}
    torn = [i for i, path in named.items() if i not in known and store.files.info(path) is not None]
    return {**known, **{identity: {} for identity in sorted(torn)}}


def experiments_of(store: Store, wanted: str | None = None) -> Mapping[str, Described]:
    """Return experiments of a store by identity, as ``described`` does.

    Args:
        store: The store.
        wanted: A name, an identity's first four characters or more, or ``name-prefix`` with a
            prefix of the identity, as runs and reports are called. A name precedes a prefix.
            Default: all experiments.

    Raises:
        InputError: If the store holds no such experiment.
    """
    known = described(store)
    if not known:
        raise InputError(
            f"store {store.location} holds no experiment; give the folder or URL of a store"
        )
    matches = known if wanted is None else matching(known, wanted)
    if not matches:
        raise InputError(
            f"store {store.location} holds no experiment '{wanted}'; it holds {_listed(known)}"
        )
    return matches


def matching(known: Mapping[str, Described], wanted: str) -> Mapping[str, Described]:
    """Return the experiments with a name or an identity's prefix.

    Args:
        known: Experiments by identity.
        wanted: A word as of ``experiments_of``.
    """
    named = {i: content for i, content in known.items() if _name(content) == wanted}
    return named or {i: content for i, content in known.items() if _begins(i, content, wanted)}


def experiment_of(store: Store, wanted: str | None = None) -> tuple[str, Described]:
    """Return the identity and the content of a store's experiment.

    Args:
        store: The store.
        wanted: As ``experiments_of`` reads it. May be left out if the store holds a single
            experiment.

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


def _begins(identity: str, content: Described, wanted: str) -> bool:
    name, _, prefix = wanted.rpartition("-")
    if prefix and name == _name(content):
        return identity.startswith(prefix)
    return len(wanted) >= LEAST_PREFIX and identity.startswith(wanted)


def _name(content: Described) -> str:
    spec = content.get("spec")
    name = spec.get("name") if isinstance(spec, dict) else None
    return name if isinstance(name, str) else ""


def _listed(experiments: Mapping[str, Described]) -> str:
    """Return the newest experiments as a list of ``name-prefix``."""
    newest = list(experiments.items())[: -MOST_LISTED - 1 : -1]
    listed = ", ".join(
        f"{_name(content)}-{i[:12]}" if content else f"{i[:12]} (damaged)" for i, content in newest
    )
    left = len(experiments) - len(newest)
    return listed + (f" and {left} more" if left else "")
