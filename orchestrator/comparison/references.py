"""Resolution of references to a run, or to an attack of a run."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import FORMAT
from segtransfer.experiment.manifest_reading import read_manifest
from segtransfer.results import Results, results_of
from segtransfer.results.lookup import described, experiment_of, matching
from segtransfer.store import Store
from segtransfer.tasks.schema import suggest

# The name of an attack, with its iterate and score.
ATTACK_NAME = re.compile(r"[A-Za-z0-9_.-]+(:\d+)?(:sign|:rms(@[\d.]+)?|:smooth)?")
MLFLOW_RUN_ID = re.compile(r"[0-9a-f]{32}")
MOST_SUGGESTIONS = 8  # experiments, and attacks per experiment, in an error's message


@dataclass(frozen=True)
class LoggedRun:
    """The origin of an MLflow run.

    Attributes:
        store: The folder or URL of the store.
        identity: The experiment's identity; a trial's is ``SEARCH-NUMBER``.
        attack: The logged attack; None for all attacks.
    """

    store: str
    identity: str
    attack: str | None


FindLogged = Callable[[str], LoggedRun]
"""Return the origin of the MLflow run with this id; raise InputError if the id is unknown."""


@dataclass(frozen=True)
class Run:
    """A stored experiment that a reference names.

    Attributes:
        store: The store that holds the experiment.
        identity: The experiment's identity.
        content: The manifest as the store holds it.
        attack: The variant that the reference names; None for all attacks.
    """

    store: Store
    identity: str
    content: Mapping[str, Any]
    attack: str | None = None

    @property
    def name(self) -> str:
        """Return the experiment's name."""
        return self.content["spec"]["name"]

    @property
    def attacks(self) -> list[str]:
        """Return the names of all variants of the experiment's attacks."""
        return [made["name"] for made in self.content["attacks"]]

    @property
    def label(self) -> str:
        """Return the name and the first eight characters of the identity, joined by a hyphen."""
        return f"{self.name}-{self.identity[:8]}"

    def is_of(self, other: "Run") -> bool:
        """Return whether both name the same experiment in the same store; attacks may differ."""
        mine, theirs = ((run.store.location, run.identity) for run in (self, other))
        return mine == theirs


def load(run: Run) -> Results:
    """Return the stored results of a run; raise InputError if the manifest is damaged."""
    return results_of(run.store, run.identity, run.content)


def find_run(reference: str, store: Store, find_logged: FindLogged | None = None) -> Run:
    """Resolve a reference to a run, or to an attack of a run.

    References are tried in this order:

    - a store's folder or URL: its newest experiment, or the experiment after a ``#``;
    - an experiment in ``store``, as ``experiment_of`` resolves it;
    - an MLflow run's id, 32 hexadecimal digits;
    - an attack of the newest experiment in ``store``.

    ``:ATTACK`` after any of the first three names an attack of the run.

    Args:
        reference: The reference.
        store: The store of named experiments and attacks.
        find_logged: Returns the origin of an MLflow run by its id; None to accept no such ids.

    Returns:
        The run, with its attack if the reference names an attack.

    Raises:
        InputError: If the reference matches no run, or more than one.
    """
    lacking = ""
    for head, attack in _splits(reference):
        run = _at_a_location(head) or _pick(head, store) or _logged(head, find_logged)
        if run is not None and attack is None:
            return run
        if run is not None and attack in run.attacks:
            return replace(run, attack=attack)
        if run is not None:
            lacking = f"{run.label} has no attack '{attack}'; {suggest(str(attack), run.attacks)}"
    known = _experiments(store)
    if known and reference in known[-1].attacks:
        return replace(known[-1], attack=reference)
    if lacking:
        raise InputError(f"'{reference}': {lacking}")
    if inside := _open(reference.rpartition("#")[0]):
        store, known = inside, _experiments(inside)
    raise InputError(
        f"No experiment in store {store.location} matches '{reference}', which is also no store, "
        f"MLflow run id or attack of the newest experiment. {_listed(known)}"
    )


def _splits(reference: str) -> Iterator[tuple[str, str | None]]:
    """Yield the whole reference, then run and attack around each colon, longest run first."""
    yield reference, None
    for mark in reversed(list(re.finditer(":", reference))):
        head, attack = reference[: mark.start()], reference[mark.end() :]
        if ATTACK_NAME.fullmatch(attack):
            yield head, attack


def _at_a_location(reference: str) -> Run | None:
    """Return the newest run of a store, or the run after a ``#``."""
    if (store := _open(reference)) and (known := _experiments(store)):
        return known[-1]
    location, mark, name = reference.rpartition("#")
    return _pick(name, store) if mark and (store := _open(location)) else None


def _open(location: str) -> Store | None:
    """Return the store at a URL or in an existing folder, else None."""
    store = Store(location) if location else None
    return store if store and (store.remote or Path(store.location).is_dir()) else None


def _pick(name: str, store: Store) -> Run | None:
    """Return the experiment with this name or prefix of the identity, or None.

    Raises:
        InputError: If several experiments match, or another version of segtransfer wrote the match.
    """
    if not matching(described(store), name):
        return None
    identity, content = experiment_of(store, name)
    if not _has_names(content):
        read_manifest(content, identity, store.location)
    return Run(store, identity, content)


def _logged(run_id: str, find_logged: FindLogged | None) -> Run | None:
    """Return the run from which an MLflow run was logged; None if the id is no MLflow id."""
    if find_logged is None or not MLFLOW_RUN_ID.fullmatch(run_id):
        return None
    logged = find_logged(run_id)
    store = Store(logged.store)
    content = described(store).get(logged.identity)
    search, mark, number = logged.identity.rpartition("-")
    if content is None and mark:
        content = store.trial(search, int(number))
    if content is None:
        raise InputError(
            f"MLflow run {run_id} was logged from experiment {logged.identity[:12]}, which store "
            f"{store.location} no longer holds. Give the store that holds it, as STORE#EXPERIMENT."
        )
    if not _has_names(content):
        read_manifest(content, logged.identity, store.location)
    return Run(store, logged.identity, content, logged.attack)


def _experiments(store: Store) -> list[Run]:
    """Return the experiments of a store with readable names, oldest first."""
    return [
        Run(store, identity, content)
        for identity, content in store.descriptions().items()
        if _has_names(content)
    ]


def _has_names(content: Mapping[str, Any]) -> bool:
    """Return whether a stored manifest has this version's format and names for all attacks."""
    spec, attacks = content.get("spec"), content.get("attacks")
    return (
        content.get("format") == FORMAT
        and isinstance(spec, Mapping)
        and isinstance(spec.get("name"), str)
        and isinstance(attacks, list)
        and all(isinstance(made, Mapping) and isinstance(made.get("name"), str) for made in attacks)
    )


def _listed(runs: list[Run]) -> str:
    """Return a sentence with the newest runs and their attacks."""
    if not runs:
        return "The store has no experiment. Give the folder or URL of another store as --store."
    listed = [
        f"{run.label} ({', '.join(run.attacks[:MOST_SUGGESTIONS])})"
        for run in runs[::-1][:MOST_SUGGESTIONS]
    ]
    left = len(runs) - len(listed)
    return f"The store holds: {'; '.join(listed)}" + (f" and {left} more." if left else ".")
