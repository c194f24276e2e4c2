"""Names that people write, or that stand in somebody else's store, lead nowhere else."""

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from segtransfer import open_results
from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment
from segtransfer.reporting.folder import write_report
from segtransfer.store import Store
from segtransfer.store.maintenance import merge
from tests.orchestrator.stores import bucket_server, new_store
from tests.orchestrator.toy_experiments import run_toy, toy_spec

OUTSIDE = ["../x", "rows/../../x", "/tmp/x", "searches/../../../x"]
NAMES = ["../x", "a/b", "", "a\\b", "a b", "x\n", "\u202e"]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_no_path_leaves_a_store(path: str, kind: str, tmp_path: Path) -> None:
    with nullcontext("") if kind == "folder" else bucket_server() as query:
        files = new_store(kind, tmp_path, query).files
        for touch in (files.read, files.info, files.open, files.delete):
            with pytest.raises(InputError, match="outside the store"):
                touch(path)
        with pytest.raises(InputError, match="outside the store"):
            files.write(path, b"x")


def test_dots_within_a_name_are_no_way_out(tmp_path: Path) -> None:
    files = Store(str(tmp_path)).files
    files.write("searches/..a/b..json", b"x")
    assert files.read("searches/..a/b..json") == b"x"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["name", "models.0.name", "attacks.0.name", "runtime.fleet.name"])
def test_a_name_in_a_spec_is_a_word(field: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"override {re.escape(field)}="):
        read_experiment(toy_spec(tmp_path), [f"{field}={json.dumps(name)}"])


# -- a store of somebody else's -------------------------------------------------------------------


def forge(store: Store, change: Callable[[dict[str, Any]], None]) -> None:
    """Let a store's experiment say something that no spec could."""
    ((identity, content),) = store.descriptions().items()
    change(content)
    store.save_experiment(identity, content)


def test_a_report_stays_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of an experiment, an attack and a model that would lead three folders up."""
    for drawing in ("draw_overview", "draw_matrix", "draw_panel"):
        monkeypatch.setattr(f"segtransfer.reporting.folder.{drawing}", lambda *_: Figure((1, 1)))
    monkeypatch.setattr("segtransfer.reporting.folder.write_page", lambda *_: None)
    escape = "../../../escaped"

    def rename(content: dict[str, Any]) -> None:
        text = json.dumps(content).replace('"pgd"', f'"{escape}-1"').replace('"a"', f'"{escape}-2"')
        content.update(json.loads(text))
        content["spec"]["name"] = f"{escape}-3"

    attacks = [{"preset": "pgd", "eps": "8/255", "steps": 1}]
    store = run_toy(tmp_path / "a/deep/folder", attacks=attacks).store
    forge(store, rename)
    before = set(tmp_path.rglob("*"))
    folder = write_report(open_results(store.location)[0])
    assert folder.parent == Path(store.location, "reports")
    made = [path for path in tmp_path.rglob("*") if path not in before]
    assert {path for path in made if not path.is_relative_to(folder)} == {folder.parent}
    assert len([path for path in made if "escaped" in path.name]) == 3


def test_a_forged_shard_is_not_read_from_elsewhere(tmp_path: Path) -> None:
    store = run_toy(tmp_path / "theirs").store
    forge(store, lambda content: content.update(shards=["../../../../etc/passwd"]))
    with pytest.raises(InputError, match="outside the store"):
        open_results(store.location)


def test_what_is_merged_stays_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a bucket an object may have any name."""
    theirs, mine = Store(str(tmp_path / "theirs")), Store(str(tmp_path / "mine/store"))
    monkeypatch.setattr(theirs, "trials", lambda: {"searches/../../escaped.json": None})
    with pytest.raises(InputError, match="outside the store"):
        merge(mine, theirs)
    assert not list(tmp_path.rglob("escaped.json"))
