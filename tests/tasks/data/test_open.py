"""Opening a data set: its sequences, its merged classes, its images."""

from pathlib import Path

import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import Dataset, load
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.spec import DataSpec
from tests.tasks.cases import annotations
from tests.tasks.data.folders import CLASSES, write_folder, write_image


@pytest.mark.parametrize("count", [1, 2, 5, 7, 31, 32])
def test_fewer_images_are_distinct_and_evenly_spaced(count: int) -> None:
    every = open_dataset(DataSpec(sample="camvid")).items
    chosen = open_dataset(DataSpec(sample="camvid", images=count)).items
    places = [every.index(item) for item in chosen]
    assert places[0] == 0
    gaps = np.diff([*places, 32])
    assert len(places) == count
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def merged(root: Path, label_map: dict[str, str | None]) -> tuple[Dataset, DataSpec]:
    """A folder of sky, road and tree, opened with its classes merged."""
    spec = DataSpec.model_validate({"folder": str(root), "label_map": label_map})
    return open_dataset(spec), spec


def test_classes_are_merged_in_labels_names_and_colours(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 3)
    plain = open_dataset(DataSpec(folder=str(root)))
    label_map = {"tree": "plant", "sky": "above", "road": "plant"}
    dataset, spec = merged(root, label_map)
    assert dataset.classes == ("above", "plant")
    assert dataset.palette == plain.palette[:2]
    assert dataset.items == plain.items
    for i, native in enumerate(annotations(3, 20, 28, 3)):
        _, label = load(dataset, dataset.items[i], spec)
        assert label.dtype == np.uint8
        assert np.array_equal(label, np.array([0, 1, 1, *[255] * 253])[native])


def test_a_class_that_is_mapped_to_null_is_ignored(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 1)
    dataset, spec = merged(root, {"sky": None, "road": "road", "tree": "tree"})
    assert dataset.classes == ("road", "tree")
    _, label = load(dataset, dataset.items[0], spec)
    native = annotations(1, 20, 28, 3)[0]
    assert np.array_equal(label == 255, (native == 0) | (native == 255))
    assert np.array_equal(label == 0, native == 1)


def test_merged_classes_stand_in_the_datas_order_whatever_order_the_map_is_written_in(
    tmp_path: Path,
) -> None:
    root = write_folder(tmp_path, 1)
    label_map = {"sky": "b", "road": "a", "tree": "b"}
    one, other = (merged(root, m)[0] for m in (label_map, dict(reversed(label_map.items()))))
    assert one.classes == other.classes == ("b", "a")


def test_the_sample_can_be_merged_and_thinned() -> None:
    names = open_dataset(DataSpec(sample="camvid")).classes
    label_map = {name: "car" if name == "car" else "other" for name in names}
    dataset = open_dataset(DataSpec(sample="camvid", images=2, label_map=label_map))
    assert dataset.classes == ("other", "car")
    assert len(dataset.items) == 2


def test_a_label_value_that_is_no_class_is_named_before_it_is_merged(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 1)
    write_image(root / "labels/clip0_0.png", np.full((20, 28), 3, np.uint8))
    dataset, spec = merged(root, {"sky": "a", "road": "b", "tree": "b"})
    with pytest.raises(InputError, match=r"clip0_0.png has values \[3\]; allowed are 0 to 2"):
        load(dataset, dataset.items[0], spec)


@pytest.mark.parametrize(
    ("label_map", "told"),
    [
        ({"sky": "a", "road": "b"}, "leaves out 'tree' of"),
        ({"sky": "a", "road": "b", "tree": "b", "tre": "b"}, "names 'tre', .* did you mean 'tree'"),
        ({"sky": "a", "road": "a", "tree": None}, "merges the 3 classes of .* into 1"),
    ],
    ids=str,
)
def test_a_map_that_does_not_fit_the_class_list_is_refused(
    label_map: dict[str, str | None], told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf"data\.label_map {told}"):
        merged(write_folder(tmp_path, 1), label_map)


def test_sequences_keep_the_images_of_these_videos_before_images_are_counted() -> None:
    spec = DataSpec(sample="camvid", sequences=("0001TP",), images=4)
    items = open_dataset(spec).items
    assert len(items) == 4
    assert {item.sequence for item in items} == {"0001TP"}


def test_a_spec_says_where_the_name_of_a_video_stands_in_an_images_id(tmp_path: Path) -> None:
    write_folder(tmp_path, notes={})
    spec = DataSpec(folder=str(tmp_path), classes=CLASSES, sequence="^(clip0)_")
    assert [r.sequence for r in open_dataset(spec).items] == ["clip0", "clip0", "clip1_2"]
    kept = open_dataset(spec.model_copy(update={"sequences": ("clip0",)})).items
    assert [r.image_id for r in kept] == ["clip0_0", "clip0_1"]


@pytest.mark.parametrize(
    ("pattern", "told"), [("(clip", "no regular expression"), ("^clip", "has no group")]
)
def test_a_pattern_that_names_no_video_is_refused(pattern: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DataSpec(sample="camvid", sequence=pattern)


def test_an_unknown_sequence_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"'0001TO'.* did you mean '0001TP'\?"):
        open_dataset(DataSpec(sample="camvid", sequences=("0001TO",)))
