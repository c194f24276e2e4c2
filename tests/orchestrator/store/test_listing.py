"""The table of a store's experiments, whatever state they are in."""

from pathlib import Path

from segtransfer import open_store
from tests.orchestrator.toy_experiments import run_toy

ATTACKS = [{"preset": "fgsm", "eps": "8/255"}]


def test_every_experiment_is_a_row_with_its_share_of_stored_tasks(tmp_path: Path) -> None:
    first = run_toy(tmp_path, name="first", attacks=ATTACKS)
    second = run_toy(tmp_path, name="second", attacks=ATTACKS, seed=3)
    store = first.store
    key = second.manifest.cells[-1].key
    store.files.delete(f"rows/{key[:2]}/{key}.parquet")
    table = open_store(store.location).experiments()
    assert list(table.index) == [first.identity, second.identity]
    assert list(table["name"]) == ["first", "second"]
    assert list(table["seed"]) == [0, 3]
    assert table["sources"][first.identity] == ["a", "b"]
    assert table["done"][first.identity] == 1
    assert 0.8 < table["done"][second.identity] < 1
    assert not table["damage"].any()


def test_a_damaged_description_is_a_row_with_the_reason(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    assert store.experiments().empty
    store.files.write("experiments/torn.json", b'{"spec": ')
    store.save_experiment("altered", {"spec": {"name": "mine"}})
    damage = store.experiments()["damage"]
    assert damage["torn"] == "the description is damaged"
    assert "altered" in damage["altered"]
