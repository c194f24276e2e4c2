"""What a user names: the run that is meant, and the attack of it where one is named."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import FORMAT
from segtransfer.results import Results, results_of
from segtransfer.results.lookup import matching
from segtransfer.store import Store
from segtransfer.tasks.schema import suggest

ATTACK = re.compile(r"[A-Za-z0-9_.-]+(:\d+)?(:sign|:rms)?")  # as attacks name what they make
RUN_ID = re.compile(r"[0-9a-f]{32}")  # MLflow's
LEAST_BEGINNING = 4  # characters of an identity that may stand for it
LISTED = 8  # experiments that a message names


@dataclass(frozen=True)
class Run:
    """An experiment as a store keeps it, and the attack of it that is meant; None for all."""

    store: Store
    identity: str
    content: Mapping[str, Any]
    attack: str | None = None

    @property
    def name(self) -> str:
        return self.content["spec"]["name"]

    @property
    def attacks(self) -> list[str]:
        return [made["name"] for made in self.content["attacks"]]

    @property
    def label(self) -> str:
        """The name and the beginning of the identity, which together name it again."""
        return f"{self.name}-{self.identity[:8]}"

    def is_of(self, other: "Run") -> bool:
        """Whether both are of one experiment of one store, whichever attacks are meant."""
        mine, theirs = ((run.store.location, run.identity) for run in (self, other))
        return mine == theirs


def load(run: Run) -> Results:
    """The results of a run, as far as they are stored."""
    return results_of(run.store, run.identity, run.content)


def find_run(reference: str, store: Store) -> Run:
    """The run, or the attack of a run, that a reference names.

    In this order: a store's folder or URL (its newest experiment, or the one named after a ``#``);
    the name of an experiment in ``store``, or four characters or more of its identity's beginning,
    or both with a ``-`` between; an MLflow run's id; an attack of the newest experiment in
    ``store``. ``:ATTACK`` after any but the last names an attack of that run. Raises InputError
    where it names nothing, or more than one run.
    """
    lacking = ""
    for head, attack in _splits(reference):
        run = _named(head, store)
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
    """The whole, then a run before each colon and an attack after it, the longest run first."""
    yield reference, None
    for mark in reversed(list(re.finditer(":", reference))):
        head, attack = reference[: mark.start()], reference[mark.end() :]
        if ATTACK.fullmatch(attack):
            yield head, attack


def _named(reference: str, store: Store) -> Run | None:
    return _at_a_location(reference) or _pick(reference, store) or _logged(reference)


def _at_a_location(reference: str) -> Run | None:
    """The newest run of a store, or the one that stands after a ``#``."""
    if (store := _open(reference)) and (known := _experiments(store)):
        return known[-1]
    location, mark, name = reference.rpartition("#")
    return _pick(name, store, least=1) if mark and (store := _open(location)) else None


def _open(location: str) -> Store | None:
    """The store at a location that can be one."""
    if "://" in location:
        return Store(location)
    path = Path(location).expanduser()
    return Store(str(path)) if location and path.is_dir() else None


def _pick(name: str, store: Store, least: int = LEAST_BEGINNING) -> Run | None:
    """The experiment of this name or identity; InputError where there are several."""
    known = {run.identity: run for run in _experiments(store)}
    contents = {identity: run.content for identity, run in known.items()}
    found = [known[identity] for identity in matching(contents, name, least)]
    if len(found) > 1:
        raise InputError(f"'{name}' names {len(found)} experiments; {_listed(found)}")
    return found[0] if found else None


def _logged(run_id: str) -> Run | None:
    """The run that an MLflow run was logged from; None where this is no run's id."""
    if not RUN_ID.fullmatch(run_id):
        return None
    from segtransfer.tracking import read_run

    logged = read_run(run_id)
    store = Store(logged.store)
    content = store.experiments().get(logged.identity)
    search, mark, number = logged.identity.rpartition("-")
    if content is None and mark:
        content = store.trial(search, int(number))
    if content is None:
        raise InputError(
            f"MLflow run {run_id} was logged from experiment {logged.identity[:12]} in store "
            f"{store.location}, which is not there any more; give the store it has moved to"
        )
    return Run(store, logged.identity, content, logged.attack)


def _experiments(store: Store) -> list[Run]:
    """The experiments of a store that this version reads, oldest first."""
    return [
        Run(store, identity, content)
        for identity, content in store.experiments().items()
        if content.get("format") == FORMAT
    ]


def _listed(runs: list[Run]) -> str:
    """The newest runs by what names them."""
    if not runs:
        return "there is no experiment; give the folder or URL of a store as --store"
    named = [f"{run.label} ({', '.join(run.attacks[:LISTED])})" for run in runs[::-1][:LISTED]]
    more = f" and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
    return f"there are {'; '.join(named)}{more}"
