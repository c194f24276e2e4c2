"""Folders of images per class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import Dataset
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), len(name), np.uint8)).save(path)


def spec_of(root: Path, split: str | None = None, **fields: Any) -> DataSpec:
    reader = {"class-folders": {"root": str(root), **fields}}
    return DataSpec.model_validate({"reader": reader, "split": split})


def classes_of(dataset: Dataset) -> dict[str, str]:
    return {item.image_id: dataset.classes[dataset.indices(item).item()] for item in dataset.items}


def test_folders_are_classes_by_name(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "cat/1.png", "cat/deep/2.jpg", "cat/.hidden.png")
    dataset = open_dataset(spec_of(tmp_path))
    assert dataset.classes == ("cat", "dog")
    assert classes_of(dataset) == {"cat/1": "cat", "cat/deep/2": "cat", "dog/1": "dog"}


def test_class_without_a_folder_keeps_its_index(tmp_path: Path) -> None:
    write(tmp_path, "val/dog/1.png")
    dataset = open_dataset(spec_of(tmp_path, "val", classes=["ape", "cat", "dog"]))
    assert dataset.classes == ("ape", "cat", "dog")
    assert classes_of(dataset) == {"dog/1": "dog"}


def test_shards_have_a_label_of_one_value_per_image(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "cat/1.png")
    spec = spec_of(tmp_path).model_copy(update={"size": (32, 16)})
    (shard,) = make_shards(open_dataset(spec), spec, groups=1, shard_size=4)
    assert shard.images.shape == (2, 3, 32, 16)
    assert shard.labels.tolist() == [[[0]], [[1]]]
    assert shard.intact()


def test_a_single_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png")
    with pytest.raises(InputError, match="has 1 folders, and each is a class"):
        open_dataset(spec_of(tmp_path))


def test_folder_outside_the_class_list_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "cow/1.png")
    with pytest.raises(InputError, match="has the folder 'cow', no class of"):
        open_dataset(spec_of(tmp_path, classes=["cat", "dog"]))


def test_missing_root_and_crops_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_dataset(spec_of(tmp_path / "none"))
    write(tmp_path, "dog/1.png", "cat/1.png")
    crops = {**spec_of(tmp_path).model_dump(), "crops": {"size": [16, 16]}}
    with pytest.raises(InputError, match=r"data\.crops needs a class per pixel"):
        open_dataset(DataSpec.model_validate(crops))
