import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from segtransfer.store.arrays import decode_shard, encode_shard
from segtransfer.tasks.data import shards as module
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import Shard, make_shards, shard_of
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.randomness import schedule_group
from tests.tasks.cases import annotations
from tests.tasks.data.folders import write_folder, write_image


def cut(root: Path | None = None, groups: int = 8, shard_size: int = 4) -> list[Shard]:
    spec = DataSpec(folder=str(root)) if root else DataSpec(sample="camvid")
    return list(make_shards(open_dataset(spec), spec, groups=groups, shard_size=shard_size))


@pytest.mark.parametrize("groups", [1, 3, 8])
@pytest.mark.parametrize("shard_size", [1, 3, 100])
def test_shards_hold_every_image_once_and_never_span_groups(groups: int, shard_size: int) -> None:
    shards = cut(groups=groups, shard_size=shard_size)
    names = [name for shard in shards for name in shard.image_ids]
    every = [r.image_id for r in open_dataset(DataSpec(sample="camvid")).items]
    assert sorted(names) == sorted(every)
    for shard in shards:
        assert 1 <= len(shard.image_ids) <= shard_size
        assert {schedule_group(name, groups) for name in shard.image_ids} == {shard.group}
        assert len(shard.images) == len(shard.labels) == len(shard.image_ids)
        assert len(shard.sequences) == len(shard.image_ids)
        assert shard.intact()
    sizes = {g: [len(s.image_ids) for s in shards if s.group == g] for g in range(groups)}
    assert all(size == shard_size for g in sizes for size in sizes[g][:-1])
    assert len({shard.shard_id for shard in shards}) == len(shards)


def test_an_images_group_does_not_depend_on_which_others_are_there() -> None:
    spec = DataSpec(sample="camvid", images=5)
    few = list(make_shards(open_dataset(spec), spec, groups=8, shard_size=4))
    groups = {name: shard.group for shard in cut() for name in shard.image_ids}
    assert all(groups[name] == shard.group for shard in few for name in shard.image_ids)


def test_a_shards_id_is_its_content_and_not_its_place(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "here", 6)
    before = [shard.shard_id for shard in cut(root)]
    assert before == [shard.shard_id for shard in cut(root)]
    shutil.move(root, tmp_path / "there")
    assert before == [shard.shard_id for shard in cut(tmp_path / "there")]


@pytest.mark.parametrize("part", ["images", "labels", "ids"])
def test_a_shards_id_changes_with_pixels_labels_and_ids(part: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path, 1)
    (before,) = cut(root, groups=1)
    if part == "images":
        image = before.images[0].transpose(1, 2, 0).copy()
        image[3, 4, 1] ^= 1
        write_image(root / "images/clip0_0.png", image)
    elif part == "labels":
        label = annotations(1, 20, 28, 3)[0]
        label[3, 4] = 0 if label[3, 4] else 1
        write_image(root / "labels/clip0_0.png", label)
    else:
        for folder in ("images", "labels"):
            (root / folder / "clip0_0.png").rename(root / folder / "clip0_9.png")
    (after,) = cut(root, groups=1)
    assert after.shard_id != before.shard_id


def test_a_shard_whose_content_was_altered_is_not_intact() -> None:
    shard = cut()[0]
    images, labels = shard.images.copy(), shard.labels.copy()
    images[0, 0, 0, 0] ^= 1
    labels[0, 0, 0] ^= 1
    assert not dataclasses.replace(shard, images=images).intact()
    assert not dataclasses.replace(shard, labels=labels).intact()
    assert not dataclasses.replace(shard, image_ids=("x", *shard.image_ids[1:])).intact()
    assert not dataclasses.replace(shard, group=shard.group + 1).intact()
    assert dataclasses.replace(shard, images=np.array(shard.images)).intact()


def of_sizes(root: Path, sizes: list[tuple[int, int]]) -> Path:
    for number, (height, width) in enumerate(sizes):
        picture = np.full((height, width, 3), number, np.uint8)
        write_image(root / f"images/{number:03}.png", picture)
        write_image(root / f"labels/{number:03}.png", np.zeros((height, width), np.uint8))
    (root / "dataset.json").write_text('{"classes": ["a", "b"]}')
    return root


def test_images_of_several_sizes_share_shards_with_images_of_their_own_size(
    tmp_path: Path,
) -> None:
    sizes = [(20, 28), (28, 20), (20, 28), (16, 16), (28, 20), (20, 28), (20, 28)]
    shards = cut(of_sizes(tmp_path, sizes), groups=1, shard_size=3)
    assert [shard.image_ids for shard in shards] == [
        ("000", "002", "005"), ("001", "004"), ("003",), ("006",),
    ]  # fmt: skip
    assert [shard.size for shard in shards] == [(20, 28), (28, 20), (16, 16), (20, 28)]
    assert all(shard.outline.label_size == shard.size for shard in shards)


def test_no_more_images_wait_for_their_size_than_memory_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    sizes = [(16, 16), (16, 17), (16, 18), (16, 19), (16, 16)]
    shards = cut(of_sizes(tmp_path, sizes), groups=1, shard_size=2)
    ids = [shard.image_ids for shard in shards]
    assert ids == [("000",), ("001",), ("002",), ("003",), ("004",)]
    assert [shard.intact() for shard in shards] == [True] * 5


def test_an_id_tells_labels_of_another_shape_apart() -> None:
    images = np.zeros((1, 3, 8, 8), np.uint8)
    shards = [
        shard_of(("a",), ("a",), images, np.zeros((1, *size), np.uint8), group=0)
        for size in ((4, 6), (6, 4), (8, 8))
    ]
    assert len({shard.shard_id for shard in shards}) == 3
    for shard in shards:
        again = decode_shard(shard.shard_id, encode_shard(shard))
        assert again is not None
        assert again.labels.shape == shard.labels.shape
        assert np.array_equal(again.images, shard.images)


def test_shards_of_one_size_are_as_long_as_the_spec_says(tmp_path: Path) -> None:
    shards = cut(of_sizes(tmp_path, [(16, 16)] * 100), groups=1, shard_size=90)
    assert [len(shard.image_ids) for shard in shards] == [90, 10]
