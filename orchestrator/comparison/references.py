"""References of users to a run, or to an attack of a run, and their resolution."""

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

ATTACK_NAME = re.compile(r"[A-Za-z0-9_.-]+(:\d+)?(:sign|:rms)?")  # with its iterate and score
MLFLOW_RUN_ID = re.compile(r"[0-9a-f]{32}")
MOST_SUGGESTIONS = 8  # experiments, and attacks per experiment, in an error's message


@dataclass(frozen=True)
class LoggedRun:
    """Origin of an MLflow run: an experiment in a store, and its attack (None: all attacks)."""

    store: str
    identity: str
    attack: str | None


FindLogged = Callable[[str], LoggedRun]
"""Return the origin of the MLflow run with this id; raise InputError if there is none."""


@dataclass(frozen=True)
class Run:
    """A stored experiment, and the attack that a reference names (None: all attacks)."""

    store: Store
    identity: str
    content: Mapping[str, Any]
    attack: str | None = None

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.content["spec"]["name"]

    @property
    def attacks(self) -> list[str]:
        """Names of all iterates and scores of the experiment's attacks."""
        return [made["name"] for made in self.content["attacks"]]

    @property
    def label(self) -> str:
        """A reference to this experiment: its name and the first characters of its identity."""
        return f"{self.name}-{self.identity[:8]}"

    def is_of(self, other: "Run") -> bool:
        """Return whether both name the same experiment in the same store, attacks aside."""
        mine, theirs = ((run.store.location, run.identity) for run in (self, other))
        return mine == theirs


def load(run: Run) -> Results:
    """Return the stored results of a run."""
    return results_of(run.store, run.identity, run.content)


def find_run(reference: str, store: Store, find_logged: FindLogged | None = None) -> Run:
    """Resolve a reference to a run, or to an attack of a run.

    A reference is, tried in this order:

    - a store's folder or URL: its newest experiment, or the experiment after a ``#``;
    - an experiment in ``store``, as ``experiment_of`` looks it up;
    - an MLflow run's id;
    - an attack of the newest experiment in ``store``.

    ``:ATTACK`` after any of the first three names an attack of the run.

    Args:
        reference: The reference.
        store: Store of named experiments and attacks.
        find_logged: Looks up an MLflow run by its id; None if references are no such ids.

    Raises:
        InputError: The reference names no run, or more than one.
    """
    lacking = ""
    for head, attack in _splits(reference):
        run = _at_a_location(head) or _pick(head, store) or _logged(head, find_logged)
        if run is not None and attack is None:
            return run
        if run is not None and attack in run.attacks:
            return replace(run, attack=attack)
        if run is not None:
            lacking = f"{run.label} has no attack '{attack}': {suggest(str(attack), run.attacks)}"
    known = _experiments(store)
    if known and reference in known[-1].attacks:
        return replace(known[-1], attack=reference)
    if lacking:
        raise InputError(f"'{reference}': {lacking}")
    if inside := _open(reference.rpartition("#")[0]):
        store, known = inside, _experiments(inside)
    raise InputError(
        f"'{reference}' is no store, no MLflow run, no experiment in store {store.location} and no "
        f"attack of its newest; {_listed(known)}"
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
    """Return the experiment with this name or identity, or None.

    Raises:
        InputError: If several experiments match, or another version of segtransfer wrote it.
    """
    if not matching(described(store), name):
        return None
    identity, content = experiment_of(store, name)
    if not _has_names(content):
        read_manifest(content, identity, store.location)
    return Run(store, identity, content)


def _logged(run_id: str, find_logged: FindLogged | None) -> Run | None:
    """Return the run that an MLflow run was logged from; None if this is no MLflow id."""
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
            f"MLflow run {run_id} was logged from experiment {logged.identity[:12]} in store "
            f"{store.location}, which is not there any more; give the store it has moved to"
        )
    if not _has_names(content):
        read_manifest(content, logged.identity, store.location)
    return Run(store, logged.identity, content, logged.attack)


def _experiments(store: Store) -> list[Run]:
    """Return the experiments of a store that can be named, oldest first."""
    return [
        Run(store, identity, content)
        for identity, content in store.descriptions().items()
        if _has_names(content)
    ]


def _has_names(content: Mapping[str, Any]) -> bool:
    """Return whether a stored manifest is in this version's format and names its attacks."""
    spec, attacks = content.get("spec"), content.get("attacks")
    return (
        content.get("format") == FORMAT
        and isinstance(spec, Mapping)
        and isinstance(spec.get("name"), str)
        and isinstance(attacks, list)
        and all(isinstance(made, Mapping) and isinstance(made.get("name"), str) for made in attacks)
    )


def _listed(runs: list[Run]) -> str:
    """Return a clause that lists the newest runs with their attacks."""
    if not runs:
        return "there is no experiment; give the folder or URL of a store as --store"
    listed = [
        f"{run.label} ({', '.join(run.attacks[:MOST_SUGGESTIONS])})"
        for run in runs[::-1][:MOST_SUGGESTIONS]
    ]
    left = len(runs) - len(listed)
    return f"there are {'; '.join(listed)}" + (f" and {left} more" if left else "")
