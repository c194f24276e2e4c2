"""Crops with a dominant class, cut from labelled images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import load
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.labels import image_classes

SIZE = (64, 96)


def spec_of(crops: dict[str, Any], **fields: Any) -> DataSpec:
    return DataSpec.model_validate({"sample": "camvid", "images": 6, "crops": crops, **fields})


def test_every_crop_has_a_dominant_class_and_the_video_of_its_image() -> None:
    spec = spec_of({"size": list(SIZE), "per_image": 3, "min_share": 0.6})
    dataset = open_dataset(spec)
    whole = {item.image_id: item for item in open_dataset(DataSpec(sample="camvid")).items}
    assert 6 <= len(dataset.items) <= 18
    for item in dataset.items:
        image, label = load(dataset, item, spec)
        assert image.shape == (3, *SIZE)
        assert label.shape == SIZE
        counts = np.bincount(label.ravel(), minlength=256)[:255]
        assert counts.max() >= 0.6 * label.size
        assert image_classes(label[None]).item() == counts.argmax()
        assert item.sequence == whole[item.image_id.rpartition("-crop")[0]].sequence


def test_crops_are_the_same_at_every_opening_and_another_number_extends_them() -> None:
    spec, more = (spec_of({"size": list(SIZE), "per_image": n}) for n in (1, 2))
    shards = [list(make_shards(open_dataset(s), s, groups=8, shard_size=4)) for s in (spec, spec)]
    assert [s.shard_id for s in shards[0]] == [s.shard_id for s in shards[1]]
    few, many = open_dataset(spec), open_dataset(more)
    kept = {item.image_id for item in few.items}
    assert kept < {item.image_id for item in many.items}
    for item in few.items:
        (same,) = [other for other in many.items if other.image_id == item.image_id]
        assert (few.read_image(item) == many.read_image(same)).all()


def test_crop_is_a_part_of_its_image() -> None:
    spec = spec_of({"size": list(SIZE)}, images=1)
    dataset = open_dataset(spec)
    image = open_dataset(DataSpec(sample="camvid", images=1)).items[0]
    whole = np.asarray(Image.open(image.image))
    crop = dataset.read_image(dataset.items[0])
    places = np.argwhere((whole[: 241 - 64, : 321 - 96] == crop[0, 0]).all(-1))
    assert any((whole[y : y + 64, x : x + 96] == crop).all() for y, x in places)


def test_crop_larger_than_an_image_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"data\.crops\.size is \[300, 64\], and image .* 240 x 320"
    ):
        open_dataset(spec_of({"size": [300, 64]}))


def test_share_that_no_crop_reaches_is_refused(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    stripes = np.indices((32, 32)).sum(0).astype(np.uint8) % 2
    Image.fromarray(stripes).save(tmp_path / "labels/a.png")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "images/a.png")
    spec = {"folder": str(tmp_path), "classes": ["x", "y"], "crops": {"size": [16, 16]}}
    assert len(open_dataset(DataSpec.model_validate(spec)).items) == 1  # exactly half
    spec["crops"] = {"size": [16, 16], "min_share": 0.51}
    with pytest.raises(InputError, match=r"no crop of .* has a class on 51% of its pixels"):
        open_dataset(DataSpec.model_validate(spec))


def test_class_of_an_image_is_the_class_of_most_labelled_pixels() -> None:
    labels = np.full((4, 2, 3), 255, np.uint8)
    labels[0, 0] = [2, 2, 1]
    labels[1, 0] = [3, 1, 255]  # a tie: the first class
    labels[3] = 4
    assert image_classes(labels).tolist() == [[[2]], [[1]], [[255]], [[4]]]
