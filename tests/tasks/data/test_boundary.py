"""Files as users have them: pixels and labels are read exactly, or refused in one sentence."""

import json
import struct
import unicodedata
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.image_files import read_image
from segtransfer.tasks.labels import read_index_map
from tests.tasks.data.folders import CLASSES, write_folder, write_image
from tests.tasks.data.test_folder import read, refused

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)
LABEL = np.random.default_rng(1).integers(0, 3, (20, 28)).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of one image ``a`` and its label."""
    write_image(tmp_path / "images/a.png", PHOTO)
    write_image(tmp_path / "labels/a.png", LABEL)
    (tmp_path / "dataset.json").write_text(json.dumps({"classes": CLASSES}))
    return tmp_path


def label_of(root: Path, **fields: Any) -> np.ndarray:
    (shard,) = read(root, **fields)
    return shard.labels[0]


# Pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_exif_orientation_is_applied_as_mmcv_applies_it(
    orientation: int, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(PHOTO).save(path, exif=exif, **options)
    assert np.array_equal(read_image(path), mmcv.imread(path, channel_order="rgb"))
    assert (read_image(path).shape[:2] == (28, 20)) == (orientation > 4)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_of_sixteen_bits_of_grey_the_high_byte_counts_as_in_mmcv(
    suffix: str, tmp_path: Path
) -> None:
    grey = np.random.default_rng(2).integers(0, 2**16, (20, 28)).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert np.array_equal(image, mmcv.imread(tmp_path / f"a.{suffix}", channel_order="rgb"))
    assert np.array_equal(image[..., 1], grey // 256)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_grey_palette_and_alpha_are_read_as_mmcv_reads_them(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(PHOTO)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(PHOTO[..., 0]))
    else:
        image = image.convert("L").convert(mode) if mode != "P" else image.convert("P")
    image.save(tmp_path / "a.png")
    assert np.array_equal(
        read_image(tmp_path / "a.png"), mmcv.imread(tmp_path / "a.png", channel_order="rgb")
    )


@pytest.mark.parametrize("mode", ["CMYK", "F", "I", "LAB"])
def test_pixels_without_exact_rgb_values_are_refused(mode: str, root: Path) -> None:
    (root / "images/a.png").unlink()
    image = Image.fromarray(PHOTO if mode in ("CMYK", "LAB") else PHOTO[..., 0])
    if mode == "LAB":
        Image.frombytes("LAB", (28, 20), PHOTO.tobytes()).save(root / "images/a.tif")
    else:
        image.convert(mode).save(root / "images/a.tif")
    refused(root, f"image {root}/images/a.tif has pixels of mode {mode}", "save the image as RGB")


def test_an_image_of_200_megapixels_is_refused_with_its_size_and_the_limit(root: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(root / "images/a.png")
    refused(root, f"{root}/images/a.png is too large", "200000000", "178956970", size=(32, 48))


@pytest.mark.parametrize(
    "content", [b"<html>404</html>", b"version https://git-lfs", b"", b"\0" * 99]
)
@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_file_that_is_no_image_is_named(content: bytes, part: str, root: Path) -> None:
    (root / part / "a.png").write_bytes(content)
    refused(root, f"{part[:-1]} {root}/{part}/a.png cannot be read")


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_raises_nothing_but_input_errors(seed: int, root: Path) -> None:
    random = np.random.default_rng(seed)
    path = root / ("images", "labels")[seed % 2] / "a.png"
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[random.integers(8, len(content), 5)] = random.integers(0, 256, 5)
    path.write_bytes(content.tobytes())
    with suppress(InputError):
        read(root)


# Values of labels


def tiff(values: np.ndarray, bits: int, kind: int) -> bytes:
    """A plain grey TIFF; kind 1 is unsigned, 2 signed, 3 float."""
    raw, (height, width) = values.tobytes(), values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, len(raw)), (339, kind)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(raw)) + raw
        + struct.pack("<H", len(tags)) + entries + bytes(4)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "kind", "value", "told"),
    [
        (np.float32, 3, np.nan, "holds [nan] at 50% of its pixels; give whole numbers"),
        (np.float32, 3, 0.5, "holds [0.5]"),
        (np.float32, 3, np.inf, "holds [inf]"),
        (np.float32, 3, -9999, "has values [-9999]"),
        (np.int32, 2, -9999, "has values [-9999]; allowed are 0 to 2"),
        (np.int32, 2, -1, "has values [-1]"),
        (np.int32, 2, -256, "has values [-256]"),
        (np.int16, 2, -1, "has values [-1]"),
        (np.int8, 2, -1, "has values [-1]"),
        (np.uint16, 1, 65535, "has values [65535]"),
        (np.uint16, 1, 511, "has values [511]"),
        (np.uint8, 1, 3, "has values [3]"),
    ],
)
def test_a_label_value_that_is_no_class_is_refused_before_any_cast(
    dtype: type, kind: int, value: float, told: str, root: Path
) -> None:
    values = LABEL.astype(dtype)
    values[:, :14] = value
    (root / "labels/a.png").unlink()
    (root / "labels/a.tif").write_bytes(tiff(values, values.itemsize * 8, kind))
    refused(root, f"label {root}/labels/a.tif {told}")
    mapping = {name: name for name in CLASSES}
    refused(root, f"label {root}/labels/a.tif {told}", label_map=mapping)


@pytest.mark.parametrize(("dtype", "kind"), [(np.float32, 3), (np.int32, 2), (np.int8, 2)])
def test_whole_numbers_of_any_type_are_classes(dtype: type, kind: int, root: Path) -> None:
    values = LABEL.astype(dtype)
    (root / "labels/a.png").unlink()
    (root / "labels/a.tif").write_bytes(tiff(values, values.itemsize * 8, kind))
    assert np.array_equal(label_of(root), LABEL)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_labels_of_few_bits_count_as_stored(depth: int, tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 2**depth, (6, 16))
    bits = ((values[..., None] >> np.arange(depth)[::-1]) & 1).reshape(6, -1).astype(np.uint8)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 16, 6, depth, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert np.array_equal(read_index_map(tmp_path / "a.png"), values)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_label_compressed_with_loss_is_refused_whatever_its_name(suffix: str, root: Path) -> None:
    (root / "labels/a.png").unlink()
    path, image = root / f"labels/a.{suffix}", Image.fromarray(LABEL)
    if suffix == "tif":
        image.save(path, compression="jpeg")
    else:
        image.save(path, "WEBP" if suffix == "webp" else "JPEG")
    refused(root, f"label {path} is compressed as", "save the original as PNG")


def test_a_label_that_viewers_turn_is_refused(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(LABEL).save(root / "labels/a.png", exif=exif)
    refused(root, "labels/a.png has the EXIF orientation 6", "save the file upright")


def test_labels_that_are_all_ignored_are_refused_and_classes_are_counted(root: Path) -> None:
    spec = DataSpec(folder=str(root))
    shards = list(make_shards(open_dataset(spec), spec, groups=8, shard_size=4))
    counts = sum(np.bincount(shard.labels.ravel(), minlength=4) for shard in shards)
    assert counts.tolist() == [*np.bincount(LABEL.ravel()).tolist(), 0]
    write_image(root / "labels/a.png", np.full_like(LABEL, 255))
    refused(root, f"no image of {root.name} has a labelled pixel")


# Names


def test_files_that_macos_leaves_beside_images_are_skipped(root: Path) -> None:
    plain = read(root)
    for part in ("images", "labels"):
        (root / part / "._a.png").write_bytes(b"\0\5\x16\7 Mac OS X")
        (root / part / ".DS_Store").write_bytes(b"")
        write_image(root / part / ".thumbnails/a.png", PHOTO)
    assert read(root)[0].shard_id == plain[0].shard_id


@pytest.mark.parametrize("name", ["a.json", "a.png.aux.xml", "a.tfw", "a.txt", "Thumbs.db"])
def test_files_that_tools_leave_beside_labels_are_skipped(name: str, root: Path) -> None:
    (root / "labels" / name).write_text("{}")
    assert np.array_equal(label_of(root), LABEL)


@pytest.mark.parametrize("suffix", ["tif", "bmp", "jpg"])
@pytest.mark.parametrize("part", ["images", "labels"])
def test_two_files_of_one_stem_are_refused(suffix: str, part: str, root: Path) -> None:
    Image.open(root / part / "a.png").save(root / part / f"a.{suffix}")
    refused(root, f"{root}/{part} has two {part} named 'a'")


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_names_in_two_unicode_normal_forms_are_one(forms: tuple[str, str], root: Path) -> None:
    for part, form in zip(("images", "labels"), forms, strict=True):
        (root / part / "a.png").rename(root / part / f"{unicodedata.normalize(form, 'é')}.png")
    assert np.array_equal(label_of(root), LABEL)


def test_two_images_whose_names_look_equal_are_refused(root: Path) -> None:
    for form in ("NFC", "NFD"):
        write_image(root / "images" / f"{unicodedata.normalize(form, 'é')}.png", PHOTO)
    refused(root, "two images named 'é'")


# Folders


def nested(root: Path, *places: str, image_end: str = "", label_end: str = "") -> Path:
    for place in places:
        write_image(root / "images" / f"{place}{image_end}.png", PHOTO)
        write_image(root / "labels" / f"{place}{label_end}.png", LABEL)
    (root / "dataset.json").write_text(json.dumps({"classes": CLASSES}))
    return root


def test_folders_below_images_are_read_and_are_sequences(tmp_path: Path) -> None:
    nested(tmp_path, "bonn/a", "aachen/a", "aachen/b")
    items = open_dataset(DataSpec(folder=str(tmp_path))).items
    assert [i.image_id for i in items] == ["aachen/a", "aachen/b", "bonn/a"]
    assert [i.sequence for i in items] == ["aachen", "aachen", "bonn"]


def test_images_in_the_folder_itself_keep_their_ids_whatever_lies_below(root: Path) -> None:
    write_image(root / "images/unused/b.png", PHOTO)
    assert [i.image_id for i in open_dataset(DataSpec(folder=str(root))).items] == ["a"]


def test_splits_are_not_mixed(tmp_path: Path) -> None:
    nested(tmp_path, "train/bonn/a", "val/bonn/b")
    refused(tmp_path, "holds the folders train, val; choose one with data.split")
    items = open_dataset(DataSpec(folder=str(tmp_path), split="val")).items
    assert [i.image_id for i in items] == ["bonn/b"]


@pytest.mark.parametrize("end", ["", ".png"])
def test_cityscapes_names_are_matched_by_their_suffixes(end: str, tmp_path: Path) -> None:
    ends = {"image_end": "_leftImg8bit", "label_end": "_gtFine_labelIds"}
    nested(tmp_path, "bonn/a", "ulm/a", **ends)
    write_image(tmp_path / "labels/bonn/a_gtFine_color.png", PHOTO)
    write_image(tmp_path / "labels/bonn/a_gtFine_instanceIds.png", LABEL)
    suffixes = {"image_suffix": f"_leftImg8bit{end}", "label_suffix": f"_gtFine_labelIds{end}"}
    items = open_dataset(DataSpec.model_validate({"folder": str(tmp_path), **suffixes})).items
    assert [i.image_id for i in items] == ["bonn/a_leftImg8bit", "ulm/a_leftImg8bit"]
    assert items[0].label.name == "a_gtFine_labelIds.png"
    refused(tmp_path, "holds no file whose name ends with '_left'", image_suffix="_left")
    refused(tmp_path, "has no label: ")


# Values and colours


def test_binary_labels_of_0_and_255_are_mapped_by_value(root: Path) -> None:
    write_image(root / "labels/a.png", np.where(LABEL > 0, 255, 0).astype(np.uint8))
    classes, values = ["background", "object"], {0: "background", 255: "object"}
    assert np.array_equal(label_of(root, classes=classes, values=values), LABEL > 0)


def test_values_that_the_map_leaves_out_are_refused(root: Path) -> None:
    refused(root, "has values [1, 2] without a class", values={0: 0})


@pytest.mark.parametrize(("value", "mode"), [(0, np.uint8), (7, np.uint8), (-1, np.int32)])
def test_another_ignored_value_is_a_field(value: int, mode: type, root: Path) -> None:
    label = LABEL.astype(mode)
    label[:4] = value
    (root / "labels/a.png").unlink()
    Image.fromarray(label).save(root / "labels/a.tif")
    expected = np.where(label == value, 255, label).astype(np.uint8)
    assert np.array_equal(label_of(root, ignore_index=value), expected)
    values = {0: 0, 1: 1, 2: 2} | {value: None}
    assert np.array_equal(label_of(root, values=values), expected)


def test_another_ignored_value_leaves_255_without_a_meaning(root: Path) -> None:
    label = LABEL.copy()
    label[0, 0] = 255
    write_image(root / "labels/a.png", label)
    refused(root, "has values [255]; allowed are 0 to 2", "and 0 (ignored)", ignore_index=0)


COLOURS = np.array([[128, 64, 128], [0, 0, 142], [70, 130, 180]], np.uint8)


@pytest.mark.parametrize("alpha", [False, True])
def test_colours_of_the_palette_are_classes(alpha: bool, root: Path) -> None:
    notes = {"classes": CLASSES, "palette": COLOURS.tolist()}
    (root / "dataset.json").write_text(json.dumps(notes))
    mask = Image.fromarray(COLOURS[LABEL])
    mask.convert("RGBA" if alpha else "RGB").save(root / "labels/a.png")
    assert np.array_equal(label_of(root), LABEL)
    spoilt = COLOURS[LABEL]
    spoilt[0, 0] = 0
    write_image(root / "labels/a.png", spoilt)
    refused(root, "has values [#000000] without a class")
    expected = LABEL.copy()
    expected[0, 0] = 255
    assert np.array_equal(label_of(root, values={"#000000": None}), expected)


def test_colours_of_the_spec_are_classes(root: Path) -> None:
    write_image(root / "labels/a.png", COLOURS[LABEL])
    values = {"#804080": "sky", "#00008E": "road", "#4682b4": 2}
    assert np.array_equal(label_of(root, values=values), LABEL)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"values": {"0x": 0}}, "'0x' is no value of a label file"),
        ({"values": {True: 0}}, "'True' is no value of a label file"),
        ({"values": {0: True}}, "values"),
        ({"values": {}}, "values"),
        ({"values": {0: 0}, "ignore_index": 0}, "map ignored values to null"),
        ({"ignore_index": True}, "ignore_index"),
        ({"ignore_index": 0.5}, "ignore_index"),
    ],
)
def test_meaningless_label_values_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DataSpec.model_validate({"folder": "x", **fields})


@pytest.mark.parametrize("name", ["values", "image_suffix", "label_suffix", "ignore_index"])
def test_fields_of_folders_are_refused_with_other_data(name: str) -> None:
    value = {"values": {0: 0}, "ignore_index": 0}.get(name, "_x")
    with pytest.raises(ValueError, match=f"{name} is for data.folder, and data.mmseg is given"):
        DataSpec.model_validate({"mmseg": "config.py", name: value})


def test_a_value_of_no_class_is_refused(root: Path) -> None:
    refused(root, "data.values maps 0 to 'raod'", "did you mean 'road'", values={0: "raod"})
    refused(root, "data.values maps 0 to '3'", values={0: 3})


# dataset.json


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"classes": ["a", "b", "c"], "sequence": "(["}', "'sequence': '([' is no regular expr"),
        ('{"classes": ["a", "b", "c"], "sequence": "a"}', "'sequence': 'a' has no group"),
        ('{"classes": "abc"}', "field 'classes'"),
        ('{"classes": ["a", 1]}', "field 'classes.1'"),
        ('{"classes": {"a": 0}}', "field 'classes'"),
        ('{"classes": ["a", "b"], "palette": [[0, 0, 256], [1, 1, 1]]}', "field 'palette.0.2'"),
        ('{"classes": ["a", "b"], "palette": [[0, 0], [1, 1, 1]]}', "field 'palette.0.2'"),
        ('{"classes": ["a", "b"], "palette": [[true, 0, 0], [1, 1, 1]]}', "field 'palette.0.0'"),
        ('{"classes": ["a", "b"], "classes": ["b", "a"]}', "key 'classes' is given twice"),
        ('["a", "b"]', "dataset.json: "),
        ("null", "dataset.json: "),
        ("[" * 100_000, "is no valid JSON"),
        ("{\xff}", "is no valid JSON"),
    ],
)
def test_a_wrong_dataset_json_is_refused_with_file_and_field(
    content: str, told: str, root: Path
) -> None:
    (root / "dataset.json").write_text(content, "latin-1")
    refused(root, f"{root}/dataset.json", told)


def test_a_dataset_json_with_a_byte_order_mark_and_notes_is_read(root: Path) -> None:
    notes = {"classes": CLASSES, "licence": "CC0"}
    (root / "dataset.json").write_text(json.dumps(notes), "utf-8-sig")
    assert np.array_equal(label_of(root), LABEL)


def test_classes_of_one_name_are_refused(root: Path) -> None:
    refused(root, "several classes named 'a'", classes=["a", "b", "a"])


def test_a_folder_written_before_keeps_its_shards(tmp_path: Path) -> None:
    """The ids were recorded when a folder had fewer fields: they are part of every key."""
    shards = read(write_folder(tmp_path))
    assert [s.shard_id[:8] for s in shards] == ["42d9b7bc", "623ee650", "8847236c"]


@pytest.mark.parametrize("twice", [("1", "01"), ("#FF0000", "#ff0000"), (1, "1")])
def test_two_spellings_of_one_value_are_refused(twice: tuple[object, object]) -> None:
    values = {twice[0]: "a", twice[1]: "b"}
    with pytest.raises(ValidationError, match="are the same value; delete one of them"):
        DataSpec.model_validate({"folder": "data", "classes": ["a", "b"], "values": values})
