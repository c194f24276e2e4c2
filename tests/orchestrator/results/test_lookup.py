"""Every verb, and Python, finds the same experiment by the same word."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.comparison.references import find_run
from segtransfer.errors import InputError
from segtransfer.results.lookup import MOST_LISTED, experiment_of, experiments_of
from segtransfer.store import Store
from tests.orchestrator.comparison.runs import content_of

OLD, NEW, SAME = "0a1b" * 16, "0a2b" * 16, "beef" * 16
LOOKUPS: dict[str, Callable[[Store, str], str]] = {
    "export and gc": lambda store, wanted: experiment_of(store, wanted)[0],
    "compare": lambda store, wanted: find_run(wanted, store).identity,
    "compare, with a store": lambda store, wanted: (
        find_run(f"{store.location}#{wanted}", store).identity
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    store.save_experiment(OLD, content_of(["pgd"], name="old"))
    store.save_experiment(NEW, content_of(["mi"], name="new"))
    return store


@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize("wanted", ["old", "0a1b", OLD[:12], OLD, "old-0", "old-0a1b0a1b"])
def test_experiment_is_found_by_the_same_word_in_every_verb(
    store: Store, lookup: str, wanted: str
) -> None:
    assert LOOKUPS[lookup](store, wanted) == OLD


@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize("wanted", ["0a1", "ld", "new-0a1b", "old-beef", "-", ""])
def test_word_without_a_match_is_refused_by_every_verb(
    store: Store, lookup: str, wanted: str
) -> None:
    with pytest.raises(InputError, match=r"No experiment in store"):
        LOOKUPS[lookup](store, wanted)


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_name_of_two_experiments_is_refused_by_every_verb(store: Store, lookup: str) -> None:
    store.save_experiment(SAME, content_of(["di"], name="old"))
    assert len(experiments_of(store, "old")) == 2
    with pytest.raises(
        InputError, match=r"2 experiments that match 'old'.*old-beefbeefbeef, old-0a1b"
    ):
        LOOKUPS[lookup](store, "old")
    assert LOOKUPS[lookup](store, "old-beef") == SAME


def test_a_name_precedes_a_prefix(store: Store) -> None:
    store.save_experiment(SAME, content_of(["di"], name="0a1b"))
    assert {lookup(store, "0a1b") for lookup in LOOKUPS.values()} == {SAME}


def test_gc_takes_a_name_and_refuses_an_unknown_word(store: Store) -> None:
    gc = ["store", "gc", store.location, "--yes", "--experiments"]
    assert CliRunner().invoke(app, [*gc, "third"]).exit_code == 2
    assert CliRunner().invoke(app, [*gc, "old"]).exit_code == 0
    assert list(store.descriptions()) == [NEW]


def test_a_long_list_is_cut(store: Store) -> None:
    for number in range(10, 20):
        store.save_experiment(f"{number}" * 32, content_of(["di"], name=f"more-{number}"))
    with pytest.raises(InputError) as caught:
        experiment_of(store, "nothing")
    assert str(caught.value).count("more-") == MOST_LISTED
    assert str(caught.value).endswith("and 4 more.")
