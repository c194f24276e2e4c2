"""``leaderboard verify`` refuses every tampering with a sentence, with and without a store."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segtransfer.errors import InputError
from segtransfer.leaderboard import Leaderboard, verify_file
from tests.orchestrator.leaderboard.boards import tampered, toy_board, written
from tests.orchestrator.toy_experiments import blob_of, damage

Content = dict[str, Any]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    return toy_board(tmp_path_factory.mktemp("board"))


@pytest.fixture
def path(board: Leaderboard, tmp_path: Path) -> Path:
    return written(board, tmp_path)


def attack(content: Content, name: str = "mi") -> Content:
    return next(entry for entry in content["attacks"] if entry["name"] == name)


def counts(content: Content, name: str = "mi") -> Content:
    return attack(content, name)["counts"]["a"]["c"]


def moved_pixel(content: Content) -> None:
    """Move a right pixel of an image to another class, as a stronger attack would."""
    right, predicted = counts(content)["right"][0], counts(content)["predicted"][0]
    right[0] -= 1
    predicted[0] -= 1
    predicted[1] += 1


def moved_clean_pixel(content: Content) -> None:
    right, predicted = content["clean"]["c"]["right"][0], content["clean"]["c"]["predicted"][0]
    right[0] -= 1
    predicted[0] -= 1
    predicted[1] += 1


def test_written_document_is_sound_with_and_without_its_store(
    board: Leaderboard, path: Path
) -> None:
    assert verify_file(path).problems == ()
    assert verify_file(path, board.results.store.location).problems == ()


def test_change_without_a_new_hash_is_refused(path: Path) -> None:
    changed = tampered(path, lambda c: c.update(name="other"), signed=False)
    (problem,) = verify_file(changed).problems
    assert problem == "The field sha256 is not the hash of the other fields; the file was changed."


TAMPERINGS: dict[str, tuple[Callable[[Content], Any], str]] = {
    "rank": (lambda c: attack(c, "noise").update(rank=9), "noise has rank 9, but its counts give"),
    "drop": (
        lambda c: attack(c)["drop"].update(value=99.0),
        "The drop of mi does not follow from its counts.",
    ),
    "interval": (lambda c: attack(c)["drop"].update(low=-99.0), "The drop of mi does not follow"),
    "no interval": (lambda c: attack(c)["drop"].update(low=None), "The drop of mi does not"),
    "behind": (
        lambda c: attack(c, "noise")["behind"].update(value=0.001),
        "The distance to the largest drop of noise does not follow from its counts.",
    ),
    "source": (
        lambda c: attack(c)["sources"]["a"].update(value=99.0),
        "The drop from a of mi does not follow from its counts.",
    ),
    "counts": (moved_pixel, "The drop of mi does not follow from its counts."),
    "clean counts": (moved_clean_pixel, "The drop of mi does not follow from its counts."),
    "impossible counts": (
        lambda c: counts(c)["right"][0].__setitem__(0, 10**6),
        "The counts of mi from a to c cannot come from the labelled pixels of the data.",
    ),
    "missing image": (lambda c: counts(c)["right"].pop(), "The counts of mi from a to c cannot"),
    "missing cell": (
        lambda c: attack(c)["counts"]["a"].pop("c"),
        "The counts of mi from a to c are missing.",
    ),
    "missing clean": (
        lambda c: c["clean"].pop("c"),
        "The counts of the clean images on c are missing.",
    ),
    "labelled": (lambda c: c["data"]["labelled"].pop(), "The table data.labelled is not 8 images"),
    "twice": (lambda c: c["attacks"].append(attack(c)), "An attack has two entries."),
    "order": (lambda c: c["attacks"].reverse(), "The attacks are not in the order of rank"),
    "data hash": (
        lambda c: c["data"].update(sha256="0" * 64),
        "The field data.sha256 is not the hash of the images' shards.",
    ),
    "image twice": (
        lambda c: c["data"]["images"][1].update(id=c["data"]["images"][0]["id"]),
        "An image is listed twice in data.images.",
    ),
    "key": (
        lambda c: attack(c)["aes"][0].update(key="0" * 64),
        "A key of mi does not follow from its settings, source, shard, seed and numerics",
    ),
    "seed": (lambda c: c.update(seed=1), "A key of mi does not follow"),
    "numerics": (lambda c: c.update(numerics="quick"), "The field numerics is wrong."),
    "model": (
        lambda c: c["models"]["a"].update(fingerprint="0" * 64),
        "A key of mi does not follow from its settings",
    ),
    "missing model": (lambda c: c["models"].pop("a"), "A source or target is missing in models."),
    "settings": (lambda c: attack(c)["spec"]["momentum"].update(mu=0.9), "A key of mi does not"),
    "wrong settings": (lambda c: attack(c)["spec"].update(norm="l7"), "The settings of mi are"),
    "missing AEs": (
        lambda c: attack(c)["aes"].pop(),
        "The AEs of mi are not one entry per source and shard.",
    ),
    "eps": (
        lambda c: attack(c)["spec"].update(eps=0.1),
        "mi has the bound linf 0.1, the threat model's is linf 8/255.",
    ),
    "bound": (
        lambda c: attack(c).update(linf=9.0),
        "mi leaves its bound: L-infinity 9, RMS",
    ),
    "budget": (
        lambda c: c["threat"].update(budget=5.0),
        "mi costs 4 forward equivalents, the budget is 5.",
    ),
    "planned cost": (
        lambda c: attack(c)["cost"].update(planned=3.9),
        "The planned cost of mi is 3.9, but its settings cost 4 forward equivalents.",
    ),
    "measured cost": (
        lambda c: attack(c)["cost"].update(measured=6.0),
        "mi took 6 forward equivalents, more than 10 % from the budget of 4.",
    ),
    "no cost": (lambda c: attack(c)["cost"].update(measured=None), "The cost of mi is missing."),
    "cost of noise": (
        lambda c: attack(c, "noise")["cost"].update(measured=4.0),
        "noise has a cost, but uses no model.",
    ),
    "detectable": (
        lambda c: c["statistic"].update(detectable=0.01),
        "The field statistic.detectable does not follow from the counts.",
    ),
    "level": (lambda c: c["statistic"].update(pair_level=0.5), "The field statistic.pair_level"),
}


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_tampering_is_refused_with_a_sentence(kind: str, path: Path) -> None:
    change, told = TAMPERINGS[kind]
    problems = verify_file(tampered(path, change)).problems
    assert any(problem.startswith(told) for problem in problems), problems
    assert all(problem.endswith(".") for problem in problems)


REFUSED: dict[str, tuple[Callable[[Content], Any], str]] = {
    "schema": (lambda c: c.update(schema=2), "has schema 2, and this version of segtransfer reads"),
    "kind": (lambda c: c.update(kind="other"), "is no leaderboard"),
    "unknown field": (lambda c: attack(c).update(extra=1), r"field 'attacks.0.extra' is wrong"),
    "type": (lambda c: attack(c).update(rank="first"), "rank' is wrong"),
    "NaN": (lambda c: attack(c)["drop"].update(value=float("nan")), "drop.value' is wrong"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_file_of_another_form_is_refused_with_a_sentence(kind: str, path: Path) -> None:
    change, told = REFUSED[kind]
    content = json.loads(path.read_text())
    content["attacks"].sort(key=lambda entry: entry["name"] != "mi")
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=told):
        verify_file(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '"leaderboard"'])
def test_file_without_a_document_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "leaderboard.json").write_text(text)
    with pytest.raises(InputError, match=r"leaderboard\.json"):
        verify_file(tmp_path / "leaderboard.json")


def test_missing_file_and_empty_store_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        verify_file(tmp_path / "none.json")
    with pytest.raises(InputError, match="holds no result"):
        verify_file(path, str(tmp_path / "empty"))


OF_STORE: dict[str, tuple[Callable[[Content], Any], str]] = {
    "sha256": (
        lambda c: attack(c)["aes"][0].update(sha256="0" * 64),
        "have another sha256 in the store.",
    ),
    "counts": (moved_pixel, "The counts of mi from a to c differ from the store's."),
    "clean": (
        moved_clean_pixel,
        "The counts of the clean images on c differ from the store's.",
    ),
    "labelled": (
        lambda c: c["data"]["labelled"][0].__setitem__(0, 0),
        "differ from the store's.",
    ),
}


@pytest.mark.parametrize("kind", OF_STORE)
def test_difference_to_the_store_is_told(kind: str, board: Leaderboard, path: Path) -> None:
    change, told = OF_STORE[kind]
    answer = verify_file(tampered(path, change), board.results.store.location)
    assert any(told in problem for problem in answer.problems), answer.problems


def test_damaged_aes_of_the_store_are_told(tmp_path: Path) -> None:
    board = toy_board(tmp_path, attacks=["pgd", "noise"])
    path = written(board, tmp_path)
    damage(blob_of(board.results.store, board.record.attacks[0].aes[0].key))
    (problem,) = verify_file(path, board.results.store.location).problems
    assert "are missing or damaged in the store" in problem
