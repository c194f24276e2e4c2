"""Data sets of mmseg configs carry the labels that mmseg itself would score against."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mmseg.datasets  # noqa: F401  (fills the registry)
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import load
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.spec import DataSpec
from tests.tasks.cases import annotations, pictures
from tests.tasks.data.folders import CLASSES, write_folder, write_image


def described(root: Path, **fields: Any) -> dict[str, Any]:
    return {
        "type": "BaseSegDataset",
        "data_root": str(root),
        "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
        "img_suffix": ".png",
        "seg_map_suffix": ".png",
        "metainfo": {"classes": CLASSES, "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]},
        "pipeline": [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}],
        **fields,
    }


def config(folder: Path, dataset: dict[str, Any], split: str = "test") -> Path:
    path = folder / "config.py"
    path.write_text(f"{split}_dataloader = dict(batch_size=1, dataset={dataset!r})\n")
    return path


def mmsegs_own(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """What mmseg's own pipeline loads."""
    init_default_scope("mmseg")
    built = DATASETS.build(dataset)
    return [built[i] for i in range(len(built))]


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_images_and_labels_are_those_that_mmseg_loads(
    reduce_zero_label: bool, tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "data", 3)
    if reduce_zero_label:  # classes 1 to 3 in the files, 0 is the background
        for path in (root / "labels").iterdir():
            stored = np.asarray(Image.open(path)).copy()
            stored[stored != 255] += 1
            stored[:4] = 0
            write_image(path, stored)
    dataset = described(root, reduce_zero_label=reduce_zero_label)
    spec = DataSpec(mmseg=str(config(tmp_path, dataset)))
    opened = open_dataset(spec)
    assert opened.classes == CLASSES
    assert opened.palette == ((1, 2, 3), (4, 5, 6), (7, 8, 9))

    theirs = mmsegs_own(dataset)
    assert len(theirs) == len(opened.items) == 3
    for item, expected in zip(opened.items, theirs, strict=True):
        image, label = load(opened, item, spec)
        assert str(item.image) == expected["img_path"]
        assert np.array_equal(label, expected["gt_seg_map"])
        assert np.array_equal(image, expected["img"][..., ::-1].transpose(2, 0, 1))
        assert set(np.unique(label)) == {0, 1, 2, 255}
        assert (label[:4] == 255).all() == reduce_zero_label


def test_a_subset_of_a_named_data_sets_classes_is_mapped_as_mmseg_maps_it(tmp_path: Path) -> None:
    images, labels = pictures(2, 20, 28), annotations(2, 20, 28, 19)
    for i in range(2):
        write_image(tmp_path / f"images/town/a{i}_leftImg8bit.png", images[i].transpose(1, 2, 0))
        write_image(tmp_path / f"labels/town/a{i}_gtFine_labelTrainIds.png", labels[i])
    dataset = described(tmp_path, type="CityscapesDataset")
    del dataset["img_suffix"], dataset["seg_map_suffix"]
    dataset["metainfo"] = {"classes": ("car", "road", "sky")}
    spec = DataSpec(mmseg=str(config(tmp_path, dataset)))
    opened = open_dataset(spec)
    assert opened.classes == ("car", "road", "sky")
    assert [r.sequence for r in opened.items] == [r.image_id for r in opened.items]
    assert opened.items[0].image_id == "town/a0_leftImg8bit"
    for item, native, expected in zip(opened.items, labels, mmsegs_own(dataset), strict=True):
        _, label = load(opened, item, spec)
        assert np.array_equal(label, expected["gt_seg_map"])
        assert np.array_equal(label == 1, native == 0)  # road is class 0 of Cityscapes


def test_folders_are_sequences_where_there_are_several(tmp_path: Path) -> None:
    for town in ("aachen", "bonn"):
        picture = pictures(1, 20, 28)[0].transpose(1, 2, 0)
        write_image(tmp_path / f"images/{town}/a_leftImg8bit.png", picture)
        labels = annotations(1, 20, 28, 19)[0]
        write_image(tmp_path / f"labels/{town}/a_gtFine_labelTrainIds.png", labels)
    dataset = described(tmp_path, type="CityscapesDataset")
    del dataset["img_suffix"], dataset["seg_map_suffix"], dataset["metainfo"]
    opened = open_dataset(DataSpec(mmseg=str(config(tmp_path, dataset))))
    assert sorted(r.sequence for r in opened.items) == ["aachen", "bonn"]


def test_classes_of_a_config_are_merged_after_mmsegs_own_rules(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 2)
    dataset = described(root, reduce_zero_label=True)
    path = str(config(tmp_path, dataset))
    native = DataSpec(mmseg=path)
    first, *rest = open_dataset(native).classes
    spec = DataSpec(mmseg=path, label_map={first: None} | {n: n for n in rest})
    plain, opened = open_dataset(native), open_dataset(spec)
    assert opened.classes == tuple(rest)
    for item in opened.items:
        before = load(plain, item, native)[1].astype(int)
        expected = np.where(before == 255, 255, np.where(before == 0, 255, before - 1))
        assert np.array_equal(load(opened, item, spec)[1], expected)


def test_the_split_chooses_the_loader_and_root_the_folder_of_its_files(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 2)
    path = config(tmp_path, described(tmp_path / "elsewhere"), split="val")
    with pytest.raises(InputError, match=f"config {path} has no test_dataloader"):
        open_dataset(DataSpec(mmseg=str(path)))
    with pytest.raises(InputError, match=r"data\.split is 'dev'"):
        open_dataset(DataSpec(mmseg=str(path), split="dev"))
    with pytest.raises(InputError, match=r"set data\.root to the folder of its files"):
        open_dataset(DataSpec(mmseg=str(path), split="val"))
    opened = open_dataset(DataSpec(mmseg=str(path), split="val", root=str(root)))
    assert len(opened.items) == 2


def test_a_label_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 2)
    spec = DataSpec(mmseg=str(config(tmp_path, described(root))))
    opened = open_dataset(spec)
    opened.items[1].label.write_bytes(b"torn")
    with pytest.raises(InputError, match=f"label {opened.items[1].label} cannot be read"):
        load(opened, opened.items[1], spec)


def test_a_label_value_that_is_no_class_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 1)
    spec = DataSpec(mmseg=str(config(tmp_path, described(root))))
    opened = open_dataset(spec)
    write_image(opened.items[0].label, np.full((20, 28), 5, np.uint8))
    with pytest.raises(InputError, match=r"clip0_0.png has values \[5\]; allowed are 0 to 2"):
        load(opened, opened.items[0], spec)


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 1)
    shutil.rmtree(root / "images")
    (root / "images").mkdir()
    with pytest.raises(InputError):
        open_dataset(DataSpec(mmseg=str(config(tmp_path, described(root)))))


def test_reading_in_a_new_process_prints_nothing(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 1)
    path = config(tmp_path, described(root))
    code = (
        "from segtransfer.tasks.data.open import open_dataset\n"
        "from segtransfer.tasks.data.spec import DataSpec\n"
        f"open_dataset(DataSpec(mmseg={str(path)!r}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == ""
