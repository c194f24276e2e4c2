"""However a store's folder is written, it is the same store."""

import pickle
from pathlib import Path

import pytest

from segtransfer.errors import InputError
from segtransfer.store import Store


def test_folder_in_every_notation_is_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    written = ["lab", "./lab/", "~/lab", "link", str(folder), f"file://{folder}"]
    assert {Store(text).location for text in written} == {str(folder)}
    store = pickle.loads(pickle.dumps(Store("~/lab")))
    monkeypatch.setenv("HOME", "/")
    assert store.location == str(folder)


def test_impossible_path_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="is no usable path"):
        Store("a\0b")
