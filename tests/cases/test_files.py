"""Names and notes: two files of one name, Unicode, dataset.json, labels that are missing."""

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cases.user import (
    CLASSES,
    assert_refused,
    assert_scores,
    command,
    label,
    model,
    photo,
    replace_file,
    write_config,
    write_data,
)

FILES = {"name": "theirs", "files": "aes", "eps": "1/255"}
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


# -- Two files of one name -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["i0.jpg", "i0.PNG", "i0.tiff"])
def test_two_images_of_one_stem_are_refused(name: str, folder: Path) -> None:
    kind = "JPEG" if name.endswith("jpg") else "PNG"
    Image.fromarray(photo(1)).save(folder / "data/images" / name, format=kind)
    assert_refused(command(), "two images named 'i0'")


def test_two_labels_of_one_stem_in_a_video_folder_are_refused(folder: Path) -> None:
    write_data(folder / "other", split="val/video")
    Image.fromarray(label(1)).save(folder / "other/labels/val/video/i0.tif")
    data = {"folder": "other", "split": "val", "classes": CLASSES}
    assert_refused(command(data=data), "two labels named", "i0'")


def test_label_in_another_folder_and_of_another_suffix_is_none_of_the_images(
    folder: Path,
) -> None:
    labels = folder / "data/labels"
    (labels / "old").mkdir()
    Image.fromarray(label(1)).save(labels / "old/i0.png")
    for number in range(2):
        (labels / f"i{number}.png").rename(labels / f"i{number}_train.png")
        Image.fromarray(label(5)).save(labels / f"i{number}_ids.png")
    assert_scores(command(data={"folder": "data", "classes": CLASSES, "label_suffix": "_train"}))


def test_aes_of_one_stem_in_two_formats_are_refused(folder: Path) -> None:
    (folder / "aes").mkdir()
    for number in range(2):
        Image.fromarray(photo(number)).save(folder / f"aes/i{number}.png")
    Image.fromarray(photo(1)).save(folder / "aes/i0.tif")
    assert_refused(command(attacks=[FILES]), "two AEs named 'i0'")


# -- Unicode -------------------------------------------------------------------------------------


def renamed(path: Path, form: str) -> None:
    path.rename(path.with_name(f"{form}{path.suffix}"))


def test_one_name_in_both_normal_forms_is_refused(folder: Path) -> None:
    for form, number in ((COMPOSED, 0), (DECOMPOSED, 1)):
        renamed(folder / f"data/images/i{number}.png", form)
    Image.fromarray(label()).save(folder / f"data/labels/{COMPOSED}.png")
    assert_refused(command(), "two images named")


def test_aes_of_the_other_normal_form_are_found(folder: Path) -> None:
    for part, form in (("images", DECOMPOSED), ("labels", DECOMPOSED)):
        renamed(folder / f"data/{part}/i0.png", form)
    (folder / "aes").mkdir()
    for name, number in ((COMPOSED, 0), ("i1", 1)):
        Image.fromarray(photo(number)).save(folder / f"aes/{name}.png")
    assert_scores(command(attacks=[FILES]))


def test_class_names_of_two_normal_forms_are_one_name(folder: Path) -> None:
    models = [{**model(), "classes": ["c0", "c1", DECOMPOSED]}]
    data = {"folder": "data", "classes": ["c0", "c1", COMPOSED]}
    values = {0: "c0", 1: "c1", 2: DECOMPOSED}
    assert_scores(command(data=data | {"values": values}, models=models))
    names = {"c0": "c0", "c1": "c1", DECOMPOSED: COMPOSED}
    assert_scores(
        command(data=data | {"label_map": names}, models=[models[0] | {"label_map": names}])
    )


def test_suffix_of_the_other_normal_form_is_found(folder: Path) -> None:
    for part in ("images", "labels"):
        for number in range(2):
            path = folder / f"data/{part}/i{number}.png"
            path.rename(path.with_name(f"i{number}_{DECOMPOSED}.png"))
    suffixes = {"image_suffix": f"_{COMPOSED}", "label_suffix": f"_{COMPOSED}"}
    assert_scores(command(data={"folder": "data", "classes": CLASSES, **suffixes}))


# -- dataset.json --------------------------------------------------------------------------------


def noted(folder: Path, notes: Any) -> None:
    text = notes if isinstance(notes, str) else json.dumps(notes)
    (folder / "data/dataset.json").write_text(text)


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ('{"classes": ["a", "b", "c"],}', "JSON"),
        ("", "JSON"),
        (CLASSES, "dataset.json"),
        ({"classes": "abc"}, "'classes'"),
        ({"classes": ["a", "b", "b"]}, "'b'"),
        ({"classes": [1, 2, 3]}, "'classes"),
        ({"classes": CLASSES, "palette": [[0, 0], [1, 1], [2, 2]]}, "'palette"),
        ({"classes": CLASSES, "palette": [[0, 0, 0], [1, 1, 1], [256, 0, 0]]}, "'palette"),
        ({"classes": CLASSES, "sequence": "i"}, "group"),
        ({"classes": CLASSES, "sequence": 3}, "'sequence'"),
        ({"clases": CLASSES}, "clases"),
        ('{"classes": ["a", "b", "c"], "classes": ["c", "b", "a"]}', "twice"),
    ],
    ids=str,
)
def test_notes_that_are_wrong_name_file_and_field(notes: Any, said: str, folder: Path) -> None:
    noted(folder, notes)
    assert_refused(command("plan", "spec.yaml", data={"folder": "data"}), "dataset.json", said)


@pytest.mark.parametrize("last", [[], [[0, 0, 0]]], ids=["short", "twice"])
def test_palette_that_cannot_tell_classes_apart_is_refused(
    last: list[list[int]], folder: Path
) -> None:
    noted(folder, {"classes": CLASSES, "palette": [[0, 0, 0], [1, 1, 1], *last]})
    for number in range(2):
        colours = np.stack([label(number) % 2] * 3, -1)
        Image.fromarray(colours).save(folder / f"data/labels/i{number}.png")
    assert_refused(command(data={"folder": "data"}), "palette")


def test_notes_in_another_encoding_are_read_or_named(folder: Path) -> None:
    text = json.dumps({"classes": ["c0", "c1", COMPOSED]}, ensure_ascii=False)
    (folder / "data/dataset.json").write_bytes(text.encode("utf-8-sig"))
    assert_scores(command(data={"folder": "data"}))
    shutil.rmtree(folder / "store")
    (folder / "data/dataset.json").write_bytes(text.encode("latin-1"))
    assert_refused(command(data={"folder": "data"}), "dataset.json", "'utf-8' codec")


def test_pattern_of_a_spec_without_a_group_is_refused(folder: Path) -> None:
    data = {"folder": "data", "classes": CLASSES}
    for pattern in ("i", "(["):
        assert_refused(command(data=data | {"sequence": pattern}), "data.sequence")


# -- Labels that are missing ---------------------------------------------------------------------


def test_folder_without_labels_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "data/labels")
    assert_refused(command(), "labels")


def test_image_without_a_label_is_named(folder: Path) -> None:
    (folder / "data/labels/i1.png").unlink()
    assert_refused(command(), "i1.png", "label")


def test_config_whose_label_folder_is_missing_or_not_named_is_refused(folder: Path) -> None:
    data = write_config(folder)
    text = Path("config.py").read_text()
    Path("config.py").write_text(text.replace("seg_map_path='labels'", "seg_map_path=''"))
    assert_refused(command(data=data), "label")
    Path("config.py").write_text(text)
    shutil.rmtree(folder / "data/labels")
    assert_refused(command(data=data), "label data/labels/i", "cannot be read")


def test_config_without_the_split_is_refused(folder: Path) -> None:
    data = write_config(folder) | {"split": "val"}
    assert_refused(command(data=data), "val")
    Path("config.py").write_text("model = dict(type='EncoderDecoder')")
    assert_refused(command(data={"mmseg": "config.py"}), "test_dataloader")


def test_config_whose_pipeline_leaves_labels_out_is_read_with_them(folder: Path) -> None:
    """The pipeline of a test split has no LoadAnnotations, though the labels are there."""
    data = write_config(folder)
    text = Path("config.py").read_text()
    Path("config.py").write_text(text.replace(", dict(type='LoadAnnotations')", ""))
    assert_scores(command(data=data))


def test_label_that_is_empty_or_no_image_is_named(folder: Path) -> None:
    path = folder / "data/labels/i1.png"
    for content in (b"", b"no image"):
        path.write_bytes(content)
        assert_refused(command(), "labels/i1.png")
    path.write_bytes(b"x")
    replace_file(path, np.zeros((16, 17), np.uint8), "i1.png")
    assert_refused(command(), "16 x 17")
