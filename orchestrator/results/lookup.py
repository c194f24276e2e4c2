"""Resolution of names and identities of experiments in a store, for every verb and for Python."""

from collections.abc import Mapping
from typing import Any

from segtransfer.errors import InputError
from segtransfer.results.results import Results
from segtransfer.store import Store
from segtransfer.tasks.schema import suggest

LEAST_PREFIX = 4  # characters of an identity without a name, so few attack names match by chance
MOST_LISTED = 8  # experiments in a message

Described = Mapping[str, Any]


def described(store: Store) -> Mapping[str, Described]:
    """Return the experiments of a store, oldest first, then the torn experiments.

    Args:
        store: The store.

    Returns:
        The stored manifest by identity. A torn experiment has an empty mapping, which
        ``read_manifest`` refuses with a message.
    """
    paths = [path for path in store.files.names("experiments") if path.endswith(".json")]
    known = store.descriptions()
    named = {path.removeprefix("experiments/").removesuffix(".json"): path for path in paths}
    torn = [i for i, path in named.items() if i not in known and store.files.info(path) is not None]
    return {**known, **{identity: {} for identity in sorted(torn)}}


def experiments_of(store: Store, wanted: str | None = None) -> Mapping[str, Described]:
    """Return the experiments of a store that match a word.

    Args:
        store: The store.
        wanted: A name; at least the first four characters of an identity; or ``name-prefix``, the
            name and a prefix of the identity. A match by name precedes a match by prefix. None for
            all experiments.

    Returns:
        The stored manifest by identity, as from ``described``, never empty.

    Raises:
        InputError: If the store holds no experiment, or none that matches.
    """
    known = described(store)
    if not known:
        raise InputError(
            f"Store {store.location} holds no experiment. Give the folder or URL of a store that "
            "has one."
        )
    matches = known if wanted is None else matching(known, wanted)
    if not matches:
        raise InputError(
            f"No experiment in store {store.location} matches '{wanted}'. The store holds: "
            f"{_listed(known)}."
        )
    return matches


def matching(known: Mapping[str, Described], wanted: str) -> Mapping[str, Described]:
    """Return the experiments with a given name, or else with a given prefix of the identity.

    Args:
        known: Stored manifests by identity.
        wanted: A word as for ``experiments_of``.

    Returns:
        The matches by identity; empty if there are none.
    """
    named = {i: content for i, content in known.items() if _name(content) == wanted}
    return named or {i: content for i, content in known.items() if _begins(i, content, wanted)}


def experiment_of(store: Store, wanted: str | None = None) -> tuple[str, Described]:
    """Return the identity and the manifest of a single experiment.

    Args:
        store: The store.
        wanted: A word as for ``experiments_of``. None if the store holds a single experiment.

    Returns:
        The identity and the stored manifest; an empty manifest for a torn experiment.

    Raises:
        InputError: If no experiment matches, or more than one.
    """
    matches = experiments_of(store, wanted)
    if len(matches) > 1:
        match = "" if wanted is None else f" that match '{wanted}'"
        raise InputError(
            f"Store {store.location} holds {len(matches)} experiments{match}. Name a single "
            f"experiment, by its name or a prefix of its identity: {_listed(matches)}."
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
    """Return the newest experiments as a list of ``name-prefix``, cut at ``MOST_LISTED``."""
    newest = list(experiments.items())[: -MOST_LISTED - 1 : -1]
    listed = ", ".join(
        f"{_name(content)}-{i[:12]}" if content else f"{i[:12]} (damaged)" for i, content in newest
    )
    left = len(experiments) - len(newest)
    return listed + (f" and {left} more" if left else "")


def check_attack(results: Results, attack: str) -> None:
    """Refuse an attack that the results lack.

    Args:
        results: The results.
        attack: The name of an attack's variant.

    Raises:
        InputError: If no variant has this name.
    """
    if attack not in results.variants:
        hint = suggest(attack, results.attacks)
        raise InputError(f"{results.name} has no attack '{attack}'; {hint}")
