"""Pixels of images, AEs and masks: EXIF orientation, 16 bits, sizes, files that are no images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segtransfer import open_results
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
    write_data,
)

FILES = {"name": "theirs", "files": "aes", "eps": "1/255"}


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def write_aes(folder: Path) -> Path:
    """AEs of no change: those of the images themselves."""
    (folder / "aes").mkdir()
    for number in range(2):
        Image.fromarray(photo(number)).save(folder / "aes" / f"i{number}.png")
    return folder / "aes"


def unchanged_aes() -> None:
    """The AEs were read as the images are."""
    (results,) = open_results("store")
    assert results.perturbation("theirs")["linf"] == 0


# -- EXIF orientation ----------------------------------------------------------------------------


def test_orientation_of_jpeg_tiff_and_webp_is_applied(folder: Path) -> None:
    upside_down = Image.fromarray(photo(0)[::-1, ::-1].copy())
    lying = Image.fromarray(np.rot90(photo(1)).copy())
    images = folder / "data/images"
    replace_file(images / "i0.png", upside_down, "i0.jpg", quality=100, exif=turned(3))
    replace_file(images / "i1.png", lying, "i1.tif", exif=turned(6))
    Image.fromarray(np.rot90(photo(2)).copy()).save(
        images / "i2.webp", lossless=True, exif=turned(6)
    )
    Image.fromarray(label(2)).save(folder / "data/labels/i2.png")
    assert_scores(command())


def test_orientation_of_images_of_an_mmseg_config_is_applied(folder: Path) -> None:
    for number in range(2):
        lying = Image.fromarray(np.rot90(photo(number)).copy())
        lying.save(folder / f"data/images/i{number}.png", exif=turned(6))
    assert_scores(command(data=write_config(folder)))


def test_orientation_of_aes_is_applied(folder: Path) -> None:
    aes = write_aes(folder)
    Image.fromarray(np.rot90(photo(0)).copy()).save(aes / "i0.png", exif=turned(6))
    assert_scores(command(attacks=[FILES]))
    unchanged_aes()


def test_orientation_of_masks_and_labels_is_refused(folder: Path) -> None:
    """A viewer shows what the tag says, mmcv's reader of labels ignores it."""
    lying = Image.fromarray(np.rot90(label(0)).copy())
    lying.save(folder / "mask.png", exif=turned(6))
    assert_refused(
        command(attacks=[PGD | {"region": {"mask": "mask.png"}}]), "mask.png", "orientation"
    )
    lying.save(folder / "data/labels/i0.png", exif=turned(6))
    assert_refused(command(), "labels/i0.png", "orientation")


# -- 16 bits -------------------------------------------------------------------------------------


def sixteen(number: int) -> np.ndarray:
    return photo(number)[..., 0].astype(np.uint16) * 257


def test_sixteen_bit_tiff_of_either_byte_order_counts_by_its_high_byte(folder: Path) -> None:
    images = folder / "data/images"
    replace_file(images / "i0.png", sixteen(0), "i0.tif")
    big = Image.frombytes("I;16B", (16, 16), sixteen(1).astype(">u2").tobytes())
    replace_file(images / "i1.png", big, "i1.tif")
    assert_scores(command())


def test_sixteen_bit_colour_counts_by_its_high_byte(folder: Path) -> None:
    import cv2

    for number in range(2):
        colour = photo(number).astype(np.uint16) * 256 + 255
        assert cv2.imwrite(str(folder / f"data/images/i{number}.png"), colour)
    assert_scores(command())
    assert_scores(command(data=write_config(folder)))


def test_sixteen_bit_aes_are_read_as_images_are(folder: Path) -> None:
    Image.fromarray(sixteen(0)).save(write_aes(folder) / "i0.png")
    assert_scores(command(attacks=[FILES]))
    unchanged_aes()


def test_sixteen_bit_labels_count_by_their_numbers(folder: Path) -> None:
    Image.fromarray(label(0).astype(np.uint16)).save(folder / "data/labels/i0.png")
    replace_file(folder / "data/labels/i1.png", label(1).astype(np.uint16), "i1.tif")
    assert_scores(command())


# -- Large images --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["label", "mask", "ae"])
def test_two_hundred_megapixels_are_refused(place: str, folder: Path) -> None:
    changes: dict[str, Any] = {}
    path = folder / "data/labels/i0.png"
    if place == "mask":
        path = folder / "mask.png"
        changes = {"attacks": [PGD | {"region": {"mask": "mask.png"}}]}
    elif place == "ae":
        path = write_aes(folder) / "i0.png"
        changes = {"attacks": [FILES]}
    Image.new("1", (20_000, 10_000)).save(path)
    assert_refused(command(**changes), path.name, "178956970 pixels")


# -- Files that are no images --------------------------------------------------------------------


def litter(folder: Path) -> None:
    """What macOS and Windows leave behind."""
    for name in ("._i0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"no image")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._i0.png").write_bytes(b"no image")


def test_litter_in_split_and_video_folders_is_skipped(folder: Path) -> None:
    write_data(folder / "other", split="val/video")
    for part in ("images", "labels"):
        litter(folder / "other" / part / "val")
        (folder / "other" / part / "val/video/._i1.png").write_bytes(b"no image")
    assert_scores(command(data={"folder": "other", "split": "val", "classes": CLASSES}))


def test_litter_in_the_folders_of_an_mmseg_config_is_skipped(folder: Path) -> None:
    for part in ("images", "labels"):
        litter(folder / "data" / part)
    assert_scores(command(data=write_config(folder)))


def test_litter_among_aes_is_skipped(folder: Path) -> None:
    litter(write_aes(folder))
    answer = command(attacks=[FILES])
    assert_scores(answer)
    unchanged_aes()
    assert "._i0" not in told(answer)
