"""No key of a stored result ever changes: what people have computed stays computed."""

import json
from pathlib import Path

import pytest

from segtransfer.experiment.plan import make_plan
from segtransfer.experiment.reading import read_experiment
from segtransfer.searches.context import make_context
from segtransfer.searches.spec import read_search
from segtransfer.store import Store
from tests.golden import working_folder

KEYS = Path(__file__).with_name("keys.json")


def planned_keys(folder: Path) -> dict[str, list[str]]:
    """Keys of all tasks, by experiment; and identities of experiments and searches."""
    keys, store = {}, Store(str(folder / "store"))
    for name in working_folder.EXPERIMENTS:
        plan = make_plan(read_experiment(folder / f"{name}.yaml"), store)
        keys[name] = [f"experiment {plan.identity}", *sorted(plan.tasks)]
    for name in working_folder.SEARCHES:
        bench = make_context(read_search(folder / f"{name}.yaml"), store)
        keys[name] = [f"search {bench.identity}"]
    return keys


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = working_folder.write(tmp_path / "work")
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(work))
    return work


def test_every_key_is_that_of_the_first_record(folder: Path) -> None:
    recorded, planned = json.loads(KEYS.read_text()), planned_keys(folder)
    assert sum(map(len, recorded.values())) > 700
    assert planned == recorded
