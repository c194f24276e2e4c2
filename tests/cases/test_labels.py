"""Labels and masks: numbers that are no class, ignored pixels, files that change numbers."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cases.user import (
    CLASSES,
    PGD,
    assert_refused,
    assert_scores,
    command,
    label,
    photo,
    replace_file,
    told,
    write_config,
)

MASKED = [PGD | {"region": {"mask": "mask.tif"}}]


def write_labels(folder: Path, content: np.ndarray, name: str = "i0.tif") -> Path:
    return replace_file(folder / "data/labels/i0.png", content, name)


# -- NaN and other numbers that are no whole number ----------------------------------------------


@pytest.mark.parametrize("value", [np.inf, -np.inf, 0.5])
def test_float_label_that_is_no_whole_number_is_refused(value: float, folder: Path) -> None:
    content = label().astype(np.float32)
    content[0, 0] = value
    write_labels(folder, content)
    assert_refused(command(), "i0.tif", f"[{value}]")


def test_float_label_of_whole_numbers_is_read(folder: Path) -> None:
    write_labels(folder, label().astype(np.float32))
    assert_scores(command())


def test_nan_in_a_label_under_values_is_refused(folder: Path) -> None:
    content = label().astype(np.float32)
    content[0, 0] = np.nan
    write_labels(folder, content)
    values = {0: "c0", 1: "c1", 2: "c2"}
    assert_refused(
        command(data={"folder": "data", "classes": CLASSES, "values": values}), "i0.tif", "nan"
    )


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "holds [nan]"), (-1.0, "the value -1"), (0.5, "holds [0.5]")]
)
def test_mask_of_doubtful_numbers_is_refused(value: float, said: str, folder: Path) -> None:
    content = (label() == 1).astype(np.float32)
    content[0, :4] = value
    Image.fromarray(content).save(folder / "mask.tif")
    assert_refused(command(attacks=MASKED), "mask.tif", said)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_nan_in_a_file_of_aes_is_refused(suffix: str, folder: Path) -> None:
    """A TIFF of floats, under its own suffix and under that of AEs."""
    (folder / "aes").mkdir()
    for number in range(2):
        content = photo(number)[..., 0].astype(np.float32)
        content[0] = np.nan
        Image.fromarray(content).save(folder / "aes" / f"i{number}{suffix}", format="TIFF")
    assert_refused(
        command(attacks=[{"name": "theirs", "files": "aes", "eps": "1/255"}]), "aes/i0.png"
    )


# -- Negative numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"), [(np.int32, -1), (np.int32, -256), (np.float32, -9999), (np.int32, 65536)]
)
def test_number_outside_the_classes_is_refused(dtype: type, value: int, folder: Path) -> None:
    content: np.ndarray = label().astype(dtype)
    content[0, 0] = value
    write_labels(folder, content)
    assert_refused(command(), "i0.tif", f"[{value}]", "0 to 2")


def signed_tiff(content: np.ndarray) -> bytes:
    """A TIFF of signed 16-bit numbers, which Pillow reads and does not write."""
    height, width = content.shape
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 0, 277: 1, 278: height}
    tags |= {279: content.nbytes, 339: 2}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # the pixels begin behind the tags
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return header + content.astype("<i2").tobytes()


def test_negative_number_of_sixteen_bits_is_refused(folder: Path) -> None:
    """GDAL writes rasters of int16; -1 has the bits of 65535."""
    (folder / "data/labels/i0.png").unlink()
    path = folder / "data/labels/i0.tif"
    content = label().astype(np.int16)
    path.write_bytes(signed_tiff(content))
    assert command("plan", "spec.yaml").exit_code == 0
    content[0, 0] = -1
    path.write_bytes(signed_tiff(content))
    assert_refused(command(), "i0.tif has values [-1]; allowed are 0 to 2")


def test_negative_number_of_an_mmseg_config_is_refused(folder: Path) -> None:
    for number in range(2):
        content = label(number).astype(np.int32)
        content[:, : 8 * number] = -9999
        replace_file(folder / f"data/labels/i{number}.png", content, f"i{number}.tif")
    assert_refused(command(data=write_config(folder, label_suffix=".tif")), "i1.tif", "[-9999]")


def test_negative_number_that_values_ignore_is_ignored(folder: Path) -> None:
    content = label().astype(np.int32)
    content[:, :8] = -9999
    write_labels(folder, content)
    values = {0: "c0", 1: "c1", 2: "c2", -9999: None}
    assert_scores(command(data={"folder": "data", "classes": CLASSES, "values": values}))


# -- No labelled pixel ---------------------------------------------------------------------------


def test_one_image_of_two_without_a_labelled_pixel_changes_no_score(folder: Path) -> None:
    Image.fromarray(np.full_like(label(), 255)).save(folder / "data/labels/i0.png")
    assert_scores(command())


def test_values_that_ignore_everything_are_refused(folder: Path) -> None:
    values = {0: None, 1: None, 2: None}
    answer = command(data={"folder": "data", "classes": CLASSES, "values": values})
    assert_refused(answer, "no image of data has a labelled pixel")


def test_config_whose_labels_are_all_ignored_is_refused(folder: Path) -> None:
    for number in range(2):
        path = folder / f"data/labels/i{number}.png"
        Image.fromarray(np.full_like(label(), 255)).save(path)
    assert_refused(command(data=write_config(folder)), "has a labelled pixel")


def test_labelled_pixels_that_resizing_loses_are_refused(folder: Path) -> None:
    for number in range(2):
        content = np.full((64, 64), 255, np.uint8)
        content[0, 0] = 1
        Image.fromarray(content).save(folder / f"data/labels/i{number}.png")
        Image.new("RGB", (64, 64)).save(folder / f"data/images/i{number}.png")
    answer = command(data={"folder": "data", "classes": CLASSES, "size": [16, 16]})
    assert_refused(answer, "has a labelled pixel")


def test_region_without_a_labelled_pixel_is_said(folder: Path) -> None:
    """The attack's loss has no pixel to follow; its AEs are the images."""
    for number in range(2):
        content = label(number).copy()
        content[:8] = 255
        Image.fromarray(content).save(folder / f"data/labels/i{number}.png")
    answer = command(attacks=[PGD | {"region": {"box": [0, 0, 0.5, 1]}}])
    assert answer.exit_code == 0, answer.output
    assert "! AEs made on m equal their clean images: 2 of 2 under pgd." in told(answer)


# -- Two classes, 0 and 255 ----------------------------------------------------------------------


def two_classes(folder: Path, high: int = 255) -> None:
    for number in range(2):
        content = np.where(label(number) == 1, high, 0).astype(np.uint8)
        Image.fromarray(content).save(folder / f"data/labels/i{number}.png")
        image = np.where(content[..., None] > 0, 40, np.zeros(3)).astype(np.uint8)
        Image.fromarray(image).save(folder / f"data/images/i{number}.png")


BINARY = ["background", "object"]
TWO = [
    {
        "name": "m",
        "torch": {"callable": "tests.foreign_models:right", "arguments": {"num_classes": 2}},
    }
]


def test_binary_labels_of_an_mmseg_config_are_said(folder: Path) -> None:
    two_classes(folder)
    data = write_config(folder, classes=tuple(BINARY))
    for verb in ("plan", "run"):
        answer = command(verb, "spec.yaml", data=data, models=TWO)
        assert answer.exit_code == 0, answer.output
        if verb == "run":
            assert "Class 'object' has no labelled pixel" in told(answer)


def test_bits_are_the_classes_0_and_1(folder: Path) -> None:
    two_classes(folder)
    for number in range(2):
        path = folder / f"data/labels/i{number}.png"
        Image.open(path).convert("1").save(path)
    answer = command(data={"folder": "data", "classes": BINARY}, models=TWO)
    assert_scores(answer)
    assert "has no labelled pixel" not in told(answer)


def test_black_and_white_colours_without_a_palette_are_refused(folder: Path) -> None:
    two_classes(folder)
    for number in range(2):
        path = folder / f"data/labels/i{number}.png"
        Image.open(path).convert("RGB").save(path)
    assert_refused(
        command(data={"folder": "data", "classes": BINARY}, models=TWO), "i0.png", "palette"
    )


def test_class_1_saved_as_254_is_refused(folder: Path) -> None:
    two_classes(folder, high=254)
    assert_refused(
        command(data={"folder": "data", "classes": BINARY}, models=TWO), "[254]", "0 to 1"
    )


# -- Lossy files ---------------------------------------------------------------------------------


def test_jpeg_under_the_name_of_a_png_is_refused(folder: Path) -> None:
    Image.fromarray(label()).save(folder / "data/labels/i0.png", format="JPEG")
    assert_refused(command(), "i0.png", "JPEG")


def test_lossy_webp_label_is_refused(folder: Path) -> None:
    grey = Image.fromarray(np.stack([label()] * 3, -1))
    replace_file(folder / "data/labels/i0.png", grey, "i0.webp", quality=50)
    assert_refused(command(), "i0.webp")


def test_jpeg_inside_a_tiff_label_is_refused(folder: Path) -> None:
    content = Image.fromarray(label())
    replace_file(folder / "data/labels/i0.png", content, "i0.tif", compression="jpeg")
    assert_refused(command(), "i0.tif", "compressed as jpeg")


def test_jpeg_labels_of_an_mmseg_config_are_refused(folder: Path) -> None:
    for number in range(2):
        path = folder / f"data/labels/i{number}.png"
        replace_file(path, label(number), f"i{number}.jpg")
    assert_refused(
        command(data=write_config(folder, label_suffix=".jpg")), ".jpg is compressed as JPEG"
    )


def test_jpeg_mask_is_refused(folder: Path) -> None:
    """What is not 0 may change, and JPEG's noise is not 0."""
    content = np.where(label() == 1, 255, 0).astype(np.uint8)
    Image.fromarray(content).save(folder / "mask.jpg", quality=50)
    assert_refused(command(attacks=[PGD | {"region": {"mask": "mask.jpg"}}]), "mask.jpg", "JPEG")
