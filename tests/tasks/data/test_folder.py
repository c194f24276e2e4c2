"""Folders as users have them, right and wrong in every way we know of."""

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
from tests.tasks.cases import annotations, pictures
from tests.tasks.data.folders import CLASSES, write_folder, write_image


def read(root: Path, **fields: Any) -> list[Any]:
    """All of a folder, as a run reads it."""
    spec = DataSpec.model_validate({"folder": str(root), **fields})
    return list(make_shards(open_dataset(spec), spec, groups=8, shard_size=4))


def refused(root: Path, *told: str, **fields: Any) -> None:
    with pytest.raises(InputError) as error:
        read(root, **fields)
    for part in told:
        assert part in str(error.value)


def test_the_shipped_sample_is_32_street_images_of_11_classes_and_2_sequences() -> None:
    spec = DataSpec.model_validate("camvid")
    dataset = open_dataset(spec)
    assert len(dataset.items) == 32
    assert len(dataset.classes) == len(set(dataset.classes)) == len(dataset.palette) == 11
    assert {r.sequence for r in dataset.items} == {"0001TP", "Seq05VD"}
    pairs = [load(dataset, item, spec) for item in dataset.items]
    assert {image.shape for image, _ in pairs} == {(3, 240, 320)}
    assert {label.shape for _, label in pairs} == {(240, 320)}
    assert set(np.unique([label for _, label in pairs])) == {*range(11), 255}


def test_a_folder_gives_its_pixels_labels_ids_and_sequences_unchanged(tmp_path: Path) -> None:
    spec = DataSpec(folder=str(write_folder(tmp_path)))
    dataset = open_dataset(spec)
    assert dataset.classes == CLASSES
    assert [r.image_id for r in dataset.items] == ["clip0_0", "clip0_1", "clip1_2"]
    assert [r.sequence for r in dataset.items] == ["clip0", "clip0", "clip1"]
    images, labels = pictures(3, 20, 28), annotations(3, 20, 28, 3)
    for i, item in enumerate(dataset.items):
        image, label = load(dataset, item, spec)
        assert image.dtype == label.dtype == np.uint8
        assert np.array_equal(image, images[i])
        assert np.array_equal(label, labels[i])


def test_a_split_is_a_folder_below_images_and_labels(tmp_path: Path) -> None:
    write_folder(tmp_path, 2, split="val")
    write_folder(tmp_path, 3, split="test")
    assert sum(len(s.image_ids) for s in read(tmp_path, split="val")) == 2
    refused(tmp_path, str(tmp_path), "has no images/train/", split="train")


def test_classes_of_the_spec_stand_in_for_a_missing_dataset_json(tmp_path: Path) -> None:
    write_folder(tmp_path, notes={})
    refused(tmp_path, str(tmp_path), "give data.classes")
    spec = DataSpec(folder=str(tmp_path), classes=CLASSES)
    dataset = open_dataset(spec)
    assert dataset.classes == CLASSES
    assert len(set(dataset.palette)) == 3
    assert [r.sequence for r in dataset.items] == [r.image_id for r in dataset.items]


def test_palette_labels_and_other_image_formats_are_read(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    name = tmp_path / "images/clip0_0.png"
    Image.open(name).save(name.with_suffix(".bmp"))
    name.unlink()
    label = Image.open(tmp_path / "labels/clip0_0.png")
    expected = np.asarray(label)
    palette = Image.fromarray(expected, mode="P")
    palette.putpalette([7, 8, 9] * 256)
    palette.save(tmp_path / "labels/clip0_0.png")
    (shard,) = read(tmp_path)
    assert np.array_equal(shard.images[0], pictures(1, 20, 28)[0])
    assert np.array_equal(shard.labels[0], expected)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", f"{tmp_path}/nowhere does not exist")


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_folder_without_images_or_labels_is_named(part: str, tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / part).rename(tmp_path / "moved")
    refused(tmp_path, str(tmp_path), f"has no {part}/")


def test_a_dataset_json_that_is_none_is_named(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "dataset.json").write_text("{classes: [a]}")
    refused(tmp_path, f"{tmp_path}/dataset.json is no valid JSON")


def test_an_image_without_a_label_is_named(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "labels/clip0_1.png").unlink()
    refused(tmp_path, f"{tmp_path}/images/clip0_1.png has no label")


@pytest.mark.parametrize("value", [3, 7, 254])
def test_a_label_value_that_is_no_class_is_named(value: int, tmp_path: Path) -> None:
    label = annotations(1, 20, 28, 3)[0]
    label[4, 5] = value
    write_image(write_folder(tmp_path) / "labels/clip0_1.png", label)
    refused(tmp_path, f"{tmp_path}/labels/clip0_1.png has values [{value}]", "0 to 2", "3 classes")


def test_a_sixteen_bit_label_does_not_wrap_around(tmp_path: Path) -> None:
    label = annotations(1, 20, 28, 3)[0].astype(np.uint16)
    label[4, 5] = 256
    write_image(write_folder(tmp_path) / "labels/clip0_1.png", label)
    refused(tmp_path, "clip0_1.png has values [256]")


def test_an_image_and_a_label_of_different_sizes_are_named(tmp_path: Path) -> None:
    write_image(write_folder(tmp_path) / "labels/clip0_1.png", annotations(1, 10, 28, 3)[0])
    names = f"{tmp_path}/images/clip0_1.png", f"{tmp_path}/labels/clip0_1.png"
    refused(tmp_path, *names, "20 x 28", "10 x 28")
    refused(tmp_path, *names, "20 x 28", "10 x 28", size=(16, 16))


@pytest.mark.parametrize("part", ["images", "labels"])
@pytest.mark.parametrize("kept", [0, 10, 300])
def test_a_torn_file_is_named(part: str, kept: int, tmp_path: Path) -> None:
    path = write_folder(tmp_path, size=(60, 80)) / part / "clip0_1.png"
    path.write_bytes(path.read_bytes()[:kept])
    refused(tmp_path, f"{part[:-1]} {path} cannot be read")


def test_a_label_of_colours_is_refused(tmp_path: Path) -> None:
    colours = pictures(1, 20, 28)[0].transpose(1, 2, 0)
    write_image(write_folder(tmp_path) / "labels/clip0_1.png", colours)
    refused(tmp_path, f"{tmp_path}/labels/clip0_1.png", "save a class index per pixel")


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    (tmp_path / "images/clip0_0.png").unlink()
    (tmp_path / "images/notes.txt").write_text("no image")
    refused(tmp_path, tmp_path.name, "has no labelled image")


def test_more_images_than_there_are_cannot_be_asked_for(tmp_path: Path) -> None:
    refused(write_folder(tmp_path), "data.images is 4", "give 3 or fewer", images=4)


def test_two_images_of_one_id_are_refused(tmp_path: Path) -> None:
    image = write_folder(tmp_path) / "images/clip0_0.png"
    Image.open(image).save(image.with_suffix(".bmp"))
    refused(tmp_path, "two images named 'clip0_0'")


def test_images_of_several_sizes_keep_them_or_reach_a_common_grid(tmp_path: Path) -> None:
    write_folder(tmp_path, 6)
    write_image(tmp_path / "images/clip1_2.png", pictures(1, 30, 18)[0].transpose(1, 2, 0))
    write_image(tmp_path / "labels/clip1_2.png", annotations(1, 30, 18, 3)[0])
    for fit in ("native", "resize"):
        shards = read(tmp_path, fit=fit)
        assert {s.images.shape[1:] for s in shards} == {(3, 20, 28), (3, 30, 18)}
        assert all(s.labels.shape[1:] == s.size for s in shards)
    for fit in ("resize", "crop", "pad"):
        shards = read(tmp_path, size=(16, 24), fit=fit)
        assert {s.images.shape[1:] for s in shards} == {(3, 16, 24)}
        assert {s.labels.shape[1:] for s in shards} == {(16, 24)}
