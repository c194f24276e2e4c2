from pathlib import Path

import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import Dataset, fit_to, load, open_dataset, palette_for
from segtransfer.tasks.data.spec import DataSpec
from tests.tasks.cases import annotations
from tests.tasks.data.folders import CLASSES, write_folder, write_image


def ramp(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red is its row and green its column, and labels by quadrant."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)
    label = (rows >= height / 2) * 2 + (columns >= width / 2)
    return image, label.astype(np.uint8)


@pytest.mark.parametrize("fit", ["resize", "crop", "pad"])
def test_the_native_size_is_left_as_it_is(fit: str) -> None:
    image, label = ramp(20, 30)
    fitted = fit_to(image, label, (20, 30), fit)
    assert np.array_equal(fitted[0], image)
    assert np.array_equal(fitted[1], label)


def test_resize_keeps_the_whole_image_whatever_its_aspect() -> None:
    image, label = fit_to(*ramp(40, 60), (20, 60), "resize")
    assert image.shape == (20, 60, 3)
    assert np.abs(image[:, 0, 0] - (2 * np.arange(20) + 0.5)).max() <= 1
    assert np.array_equal(image[0, :, 1], np.arange(60))
    assert label.tolist() == ramp(20, 60)[1].tolist()


def test_crop_covers_the_grid_and_cuts_the_centre() -> None:
    image, label = fit_to(*ramp(20, 40), (20, 20), "crop")
    assert np.array_equal(image[0, :, 1], np.arange(10, 30))
    assert np.array_equal(image[:, 0, 0], np.arange(20))
    assert label.tolist() == ramp(20, 20)[1].tolist()
    scaled, _ = fit_to(*ramp(40, 80), (20, 20), "crop")
    assert scaled[10, :, 1].tolist() == pytest.approx(np.arange(20.5, 60, 2), abs=1)


def test_pad_shows_the_whole_image_and_ignores_what_it_adds() -> None:
    image, label = fit_to(*ramp(20, 40), (30, 40), "pad")
    native = ramp(20, 40)
    assert np.array_equal(image[:20], native[0])
    assert np.array_equal(label[:20], native[1])
    assert (image[20:] == 0).all()
    assert (label[20:] == 255).all()
    _, halved = fit_to(*ramp(40, 40), (20, 30), "pad")
    assert (halved[:, 20:] == 255).all()
    assert halved[:, :20].tolist() == ramp(20, 20)[1].tolist()


@pytest.mark.parametrize("fit", ["resize", "crop", "pad"])
@pytest.mark.parametrize("size", [(16, 16), (17, 51), (64, 23), (33, 33)])
@pytest.mark.parametrize("native", [(20, 30), (31, 17), (16, 16), (99, 101)])
def test_every_fit_reaches_the_grid_and_invents_no_label(
    native: tuple[int, int], size: tuple[int, int], fit: str
) -> None:
    image, label = ramp(*native)
    label[:2] = 255
    fitted_image, fitted_label = fit_to(image, label, size, fit)
    assert fitted_image.shape == (*size, 3)
    assert fitted_label.shape == size
    assert set(np.unique(fitted_label)) <= {0, 1, 2, 3, 255}


@pytest.mark.parametrize("count", [1, 2, 5, 7, 31, 32])
def test_fewer_images_are_distinct_and_evenly_spaced(count: int) -> None:
    every = open_dataset(DataSpec(sample="camvid")).records
    chosen = open_dataset(DataSpec(sample="camvid", images=count)).records
    places = [every.index(record) for record in chosen]
    assert places[0] == 0
    gaps = np.diff([*places, 32])
    assert len(places) == count
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_a_given_palette_is_kept_and_a_missing_one_has_a_colour_a_class() -> None:
    assert palette_for(2, [[1, 2, 3], [4, 5, 6]]) == ((1, 2, 3), (4, 5, 6))
    made = palette_for(40, [[1, 2, 3]])
    assert len(set(made)) == 40
    assert all(0 <= value <= 255 for colour in made for value in colour)


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
    assert dataset.records == plain.records
    for i, native in enumerate(annotations(3, 20, 28, 3)):
        _, label = load(dataset, dataset.records[i], spec)
        assert label.dtype == np.uint8
        assert np.array_equal(label, np.array([0, 1, 1, *[255] * 253])[native])


def test_a_class_that_is_mapped_to_null_is_ignored(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 1)
    dataset, spec = merged(root, {"sky": None, "road": "road", "tree": "tree"})
    assert dataset.classes == ("road", "tree")
    _, label = load(dataset, dataset.records[0], spec)
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
    assert len(dataset.records) == 2


def test_a_label_value_that_is_no_class_is_named_before_it_is_merged(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 1)
    write_image(root / "labels/clip0_0.png", np.full((20, 28), 3, np.uint8))
    dataset, spec = merged(root, {"sky": "a", "road": "b", "tree": "b"})
    with pytest.raises(InputError, match=r"clip0_0.png has values \[3\]; allowed are 0 to 2"):
        load(dataset, dataset.records[0], spec)


@pytest.mark.parametrize(
    ("label_map", "told"),
    [
        ({"sky": "a", "road": "b"}, "leaves out 'tree' of"),
        ({"sky": "a", "road": "b", "tree": "b", "tre": "b"}, "names 'tre', .* did you mean 'tree'"),
        ({"sky": "a", "road": "a", "tree": None}, "leaves 1 of 3 classes"),
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
    records = open_dataset(spec).records
    assert len(records) == 4
    assert {record.sequence for record in records} == {"0001TP"}


def test_a_spec_says_where_the_name_of_a_video_stands_in_an_images_id(tmp_path: Path) -> None:
    write_folder(tmp_path, notes={})
    spec = DataSpec(folder=str(tmp_path), classes=CLASSES, sequence="^(clip0)_")
    assert [r.sequence for r in open_dataset(spec).records] == ["clip0", "clip0", "clip1_2"]
    kept = open_dataset(spec.model_copy(update={"sequences": ("clip0",)})).records
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
