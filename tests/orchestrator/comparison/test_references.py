"""References: every way to name a run or an attack, and errors for none or several matches."""

from pathlib import Path

import pytest

from segtransfer.comparison.references import find_run
from segtransfer.errors import InputError
from segtransfer.store import Store
from tests.orchestrator.comparison.runs import content_of

OLD, NEW, OTHER = "0a1b" * 16, "0a2b" * 16, "beef" * 16
CURVE = {
    "preset": "pgd",
    "name": "curve",
    "steps": 10,
    "steps_at": [1, 10],
    "scores": ["raw", "eps*sign", "equal-rms@0.5", "smooth"],
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An old experiment, and a newer experiment with a curve."""
    monkeypatch.chdir(tmp_path)
    store = Store("store")
    store.save_experiment(OLD, content_of(["pgd", "mi"], name="old"))
    store.save_experiment(NEW, content_of(["noise", CURVE], name="new"))
    return store


@pytest.fixture
def elsewhere(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "elsewhere"))
    store.save_experiment(OTHER, content_of(["fgsm"], name="other"))
    return store


@pytest.mark.parametrize(
    ("reference", "identity", "attack"),
    [
        ("old", OLD, None),
        ("0a1b", OLD, None),
        ("old-0a1b0a1b", OLD, None),
        ("old:mi", OLD, "mi"),
        ("0a1b0:mi", OLD, "mi"),
        ("store", NEW, None),
        ("store#old", OLD, None),
        ("store#0a1b", OLD, None),
        ("store#old:pgd", OLD, "pgd"),
        ("store:noise", NEW, "noise"),
        ("elsewhere", OTHER, None),
        ("elsewhere:fgsm", OTHER, "fgsm"),
        ("noise", NEW, "noise"),
        ("curve:10", NEW, "curve:10"),
        ("new:curve:10", NEW, "curve:10"),
        ("store#new:curve:1:sign", NEW, "curve:1:sign"),
        ("store#new:curve:1:rms@0.5", NEW, "curve:1:rms@0.5"),
        ("new:curve:10:smooth", NEW, "curve:10:smooth"),
    ],
)
def test_a_reference_names_a_run_or_its_attack(
    store: Store, elsewhere: Store, reference: str, identity: str, attack: str | None
) -> None:
    run = find_run(reference, store)
    assert (run.identity, run.attack) == (identity, attack)


def test_a_url_is_a_store(store: Store, elsewhere: Store) -> None:
    run = find_run(f"file://{elsewhere.location}:fgsm", store)
    assert (run.store.location, run.attack) == (elsewhere.location, "fgsm")


def test_a_name_comes_before_an_attack_of_the_newest(store: Store) -> None:
    store.save_experiment(OTHER, content_of(["pgd"], name="noise"))
    assert find_run("noise", store).attack is None


def test_attack_of_an_older_run_needs_the_name_of_the_run(store: Store) -> None:
    with pytest.raises(InputError, match="attack of the newest experiment"):
        find_run("mi", store)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("nothing", ["matches 'nothing'", "old-0a1b0a1b (pgd, mi)", "new-0a2b0a2b (noise, "]),
        ("new:curve", ["no attack 'curve'", "curve:1, curve:10", "curve:1:sign"]),
        ("old:ni", ["old-0a1b0a1b has no attack 'ni'", "; allowed: mi, pgd"]),
        ("store#nothing", ["No experiment in store", "old-0a1b0a1b"]),
        ("elsewhere#nothing", ["elsewhere matches", "other-beefbeef (fgsm)"]),
    ],
)
def test_unknown_reference_lists_the_experiments(
    store: Store, elsewhere: Store, reference: str, expected: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        find_run(reference, store)
    assert [text for text in expected if text not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_name_or_prefix_of_two_experiments_is_refused_and_lists_both(store: Store) -> None:
    store.save_experiment(OTHER, content_of(["pgd"], name="old"))
    store.save_experiment(OLD[:4] + "c" * 60, content_of(["pgd"], name="third"))
    for reference in ("old", "old:pgd", "store#0a1b"):
        with pytest.raises(InputError, match=r"holds 2 experiments that match .*-0a1b0a1b"):
            find_run(reference, store)


def test_empty_store_is_refused_as_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The store has no experiment"):
        find_run("pgd", Store(str(tmp_path)))
