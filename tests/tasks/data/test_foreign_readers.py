"""Readers of a user's own: typed fields, and data that are checked as they enter."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec
from tests.tasks.foreign import on_path, write_entry_points, write_module

CODE = """
from pathlib import Path

import numpy as np

from segtransfer.extend import DataItem, Dataset, ReaderSpec, Whole, palette_for


def parts(how):
    image, label = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.int64)
    if how == "float":
        image = image.astype(float)
    if how == "grey":
        image = image[..., 0]
    if how == "range":
        label[0, 0] = 7
    if how == "flat":
        label = label.ravel()
    return image, label


class Made(ReaderSpec):
    count: Whole = 3
    how: str = ""

    def open(self, split):
        if self.how == "none":
            return None
        if self.how == "raises":
            raise OSError("gone")
        classes = {"one": ("a",), "number": ("a", 1), "twice": ("a", "a")}.get(self.how, ("a", "b"))
        name = split or "made"
        names = [f"{name}-{i}" for i in range(self.count)]
        items = [DataItem(name, "s", Path(name), Path(name)) for name in names]
        if self.how == "ids":
            items[1] = items[0]
        if self.how == "generator":
            items = iter(items)
        return Dataset(
            name,
            classes,
            palette_for(3 if self.how == "colours" else len(classes), ()),
            items,
            lambda item: parts(self.how)[1],
            lambda item: parts(self.how)[0],
        )
"""
KIND = "own_readers:Made"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_module(tmp_path, "own_readers", CODE)
    write_entry_points(tmp_path, "own_package", readers={"made": KIND})
    with on_path(monkeypatch, tmp_path):
        yield tmp_path


def read(kind: str = KIND, fields: dict[str, Any] | None = None, **more: Any) -> DataSpec:
    return DataSpec.model_validate({"reader": {kind: fields}, **more})


def shards(spec: DataSpec) -> list[str]:
    made = list(make_shards(open_dataset(spec), spec, groups=1, shard_size=9))
    return [shard.shard_id for shard in made]


@pytest.mark.parametrize("kind", [KIND, "made"])
def test_a_reader_gives_data_like_any_other(kind: str) -> None:
    spec = read(kind, {"count": 5}, split="val", images=2, size=[16, 16])
    dataset = open_dataset(spec)
    assert [item.image_id for item in dataset.items] == ["val-0", "val-2"]
    (shard,) = make_shards(dataset, spec, groups=1, shard_size=9)
    assert shard.images.shape == (2, 3, 16, 16)
    assert np.array_equal(shard.labels, np.zeros((2, 16, 16)))


def test_the_identity_of_data_is_its_content(folder: Path) -> None:
    before = shards(read(fields={"count": 3}))
    assert shards(read("made", {"count": 3})) == before
    assert shards(read(fields={"count": 2})) != before
    write_module(folder, "own_readers", CODE + "\n")
    assert shards(read(fields={"count": 3})) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"reader": {KIND: {"cnt": 1}}}, "unknown key 'cnt': did you mean 'count'"),
        ({"reader": {KIND: {"count": 1.5}}}, "is not a whole number"),
        (
            {"reader": "own_readers:parts"},
            "reader own_readers:parts is no class with a method open, derived from",
        ),
        ({"reader": KIND, "sample": "camvid"}, "data names sample and reader; give exactly one"),
        ({"reader": KIND, "classes": ["a", "b"]}, "leave classes out"),
        ({"reader": KIND, "image_suffix": "_x"}, "image_suffix is for data.folder"),
    ],
)
def test_a_wrong_spec_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataSpec.model_validate(content)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("none", "returned NoneType; return a segtransfer.extend.Dataset"),
        ("raises", "raised OSError: gone"),
        ("one", "returned 1 classes"),
        ("number", "raised TypeError"),
        ("colours", "returned 3 colours for 2 classes"),
        ("twice", "several classes named 'a'"),
        ("ids", "made-0"),
        ("float", "returned image made-0 as float64 4 x 6 x 3"),
        ("grey", "returned image made-0 as uint8 4 x 6;"),
        ("range", "7"),
        ("flat", "returned the label of made-0 as"),
    ],
)
def test_wrong_data_are_refused_in_a_sentence(how: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        shards(read(fields={"how": how}))


def test_items_may_come_from_a_generator() -> None:
    assert shards(read(fields={"how": "generator"})) == shards(read())
