"""The page on common data sets, followed to the letter over made trees."""

import io
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import mmseg
import numpy as np
import pytest
import yaml
from PIL import Image

from segtransfer.tasks.data.base import load
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.data.survey import survey
from tests.conftest import ROOT
from tests.tasks.data.folders import write_image
from tests.tasks.data.test_layouts import LAYOUTS, write_layout

pytestmark = pytest.mark.pages

PAGE = (ROOT / "docs/how-to/data-sets.md").read_text()
LINES = re.findall(r"^ +data: (\{.*\})", PAGE, flags=re.MULTILINE)
SPECS = [yaml.safe_load(line) for line in LINES if "NAME" not in line]
OF_MMSEG = [spec for spec in SPECS if "mmseg" in spec]
CONVERTERS = Path(mmseg.__path__[0]) / ".mim/tools/dataset_converters"
# Cityscapes' own table: the trainId of each labelId; all other labelIds are ignored.
TRAIN_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12,
    26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip
# A scene of Potsdam, and the RGB colour of each number; 0 has a colour that is no class.
SCENE = np.random.default_rng(0).integers(0, 7, (520, 600))
WRITTEN = ["090909", "ffffff", "0000ff", "00ffff", "00ff00", "ffff00", "ff0000"]
COLOURS = np.array([list(bytes.fromhex(colour)) for colour in WRITTEN], np.uint8)


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def read(spec: dict[str, Any], folder: Path) -> DataSpec:
    return DataSpec.model_validate(spec, context={"base": folder})


def link(title: str, folder: Path) -> None:
    """Run the section's commands that make folders and links."""
    commands = re.findall(r"^ +((?:mkdir|ln) .*)$", section(title), flags=re.MULTILINE)
    assert any(command.startswith("ln") for command in commands)
    for command in commands:
        if not (folder / command.split()[-1]).exists():
            subprocess.run(shlex.split(command), cwd=folder, check=True)


def convert(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the section's converter in the working folder."""
    found = re.search(r"python \$CONVERTERS/(\S+) ([^`\n]*)", section(title))
    assert found
    script = CONVERTERS / found[1]
    monkeypatch.setattr(sys, "argv", [str(script), *shlex.split(found[2])])
    runpy.run_path(str(script), run_name="__main__")


def counted(spec: DataSpec) -> tuple[int, tuple[str, ...]]:
    """The number of usable images, and the faults."""
    found = survey(spec, groups=8, shard_size=8, thumbnails=1, tell=lambda done, total: None)
    return len(found.usable), found.faults


@pytest.mark.parametrize("fields", OF_MMSEG, ids=lambda fields: fields["mmseg"])
def test_each_line_reads_the_tree_of_its_set(fields: dict[str, Any], tmp_path: Path) -> None:
    layouts = LAYOUTS[fields["mmseg"], fields.get("split", "test")]
    for layout in layouts:
        write_layout(tmp_path / fields["root"], layout)
    images, faults = counted(read(fields, tmp_path))
    assert images == sum(len(layout.sizes) for layout in layouts)
    assert faults == ()


@pytest.mark.parametrize("fields", OF_MMSEG, ids=lambda fields: fields["mmseg"])
def test_each_tree_of_the_page_names_the_folders_of_its_set(fields: dict[str, Any]) -> None:
    (text,) = [t for t in PAGE.split("\n## ") if f"mmseg: {fields['mmseg']}, root" in t]
    if fields["mmseg"] == "chase_db1":
        return  # its converter makes the tree, as another test shows
    assert f"    {fields['root']}/\n" in text
    for layout in LAYOUTS[fields["mmseg"], fields.get("split", "test")]:
        for path in filter(None, (layout.image, layout.label)):
            assert f" {path.partition('{}')[0]}" in text


def test_cityscapes_is_the_same_by_the_converter_and_by_values(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 34, (2, 32, 64)).astype(np.uint8)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 64, 3)).astype(np.uint8)
    table = np.array([TRAIN_IDS.get(i, 255) for i in range(34)], np.uint8)
    for town, label, image in zip(("bonn", "ulm"), stored, pixels, strict=True):
        name = f"val/{town}/{town}_0_0"
        write_image(tmp_path / f"cityscapes/leftImg8bit/{name}_leftImg8bit.png", image)
        for end, content in (("labelIds", label), ("labelTrainIds", table[label])):
            write_image(tmp_path / f"cityscapes/gtFine/{name}_gtFine_{end}.png", content)
        write_image(tmp_path / f"cityscapes/gtFine/{name}_gtFine_color.png", image)
    link("Cityscapes", tmp_path)
    (block,) = re.findall(r"^    data:\n((?:      .*\n)+)", section("Cityscapes"), re.MULTILINE)
    by_values = read(yaml.safe_load(block), tmp_path)
    by_converter = read({"mmseg": "cityscapes", "root": "cityscapes"}, tmp_path)
    ours, theirs = open_dataset(by_values), open_dataset(by_converter)
    assert ours.classes == theirs.classes
    assert [i.sequence for i in ours.items] == [i.sequence for i in theirs.items] == ["bonn", "ulm"]
    shards = [
        [shard.shard_id for shard in make_shards(opened, spec, groups=8, shard_size=8)]
        for opened, spec in ((ours, by_values), (theirs, by_converter))
    ]
    assert shards[0] == shards[1]
    for item, label in zip(ours.items, stored, strict=True):
        assert np.array_equal(load(ours, item, by_values)[1], table[label])


def test_binary_masks_are_read_through_links_and_jpeg_masks_after_a_threshold(
    tmp_path: Path,
) -> None:
    cracks, polyps = (spec for spec in SPECS if "folder" in spec)
    mask = np.where(np.arange(64) % 16 < 8, 255, 0)[None].repeat(48, 0).astype(np.uint8)
    image = np.stack([mask] * 3, -1)
    write_image(tmp_path / "DeepCrack/test_img/11111.jpg", image)
    write_image(tmp_path / "DeepCrack/test_lab/11111.png", mask)
    write_image(tmp_path / "polyps/images/a.jpg", image)
    write_image(tmp_path / "polyps/masks/a.jpg", mask)
    link("Masks of 0 and 255", tmp_path)
    (code,) = re.findall(r' +python -c "\n(.*?)"\n', PAGE, flags=re.DOTALL)
    script = textwrap.dedent(code)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    for fields in (cracks, polyps):
        spec = read(fields, tmp_path)
        opened = open_dataset(spec)
        (item,) = opened.items
        assert np.array_equal(load(opened, item, spec)[1], mask // 255)


def test_loveda_is_converted_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loveda-zips").mkdir()
    content = io.BytesIO()
    Image.fromarray(np.arange(8, dtype=np.uint8).repeat(32).reshape(16, 16)).save(content, "PNG")
    for part in ("Train", "Val", "Test"):
        with zipfile.ZipFile(f"loveda-zips/{part}.zip", "w") as file:
            for number, place in enumerate(("Rural", "Urban")):
                for kind in ("images_png", "masks_png"):
                    file.writestr(f"{part}/{place}/{kind}/{number}.png", content.getvalue())
    convert("LoveDA", monkeypatch)
    assert counted(read(fields_of("loveda"), tmp_path)) == (2, ())


def test_potsdam_is_converted_and_its_tiles_are_a_video_per_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("potsdam-zips").mkdir()
    for archive, kind, pixels in (("2", "RGB", SCENE), ("5", "label", SCENE)):
        with zipfile.ZipFile(f"potsdam-zips/{archive}.zip", "w") as file:
            for scene in ("2_13", "2_14", "2_10"):
                content = io.BytesIO()
                Image.fromarray(COLOURS[pixels]).save(content, "TIFF")
                file.writestr(f"top_potsdam_{scene}_{kind}.tif", content.getvalue())
    convert("Potsdam", monkeypatch)
    spec = read(fields_of("potsdam"), tmp_path)
    opened = open_dataset(spec)
    assert {item.sequence for item in opened.items} == {"2_13", "2_14"}
    item = next(item for item in opened.items if item.image_id.endswith("2_13_0_0_512_512"))
    _, label = load(opened, item, spec)
    stored = SCENE[:512, :512]
    assert np.array_equal(label, np.where(stored == 0, 255, stored - 1))


def test_chase_db1_is_converted_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mask = np.where(np.arange(256).reshape(16, 16) % 3, 255, 0).astype(np.uint8)
    with zipfile.ZipFile("CHASEDB1.zip", "w") as file:
        for name in (f"Image_{i:02}{side}" for i in range(1, 15) for side in "LR"):
            for end in (".jpg", "_1stHO.png", "_2ndHO.png"):
                content = io.BytesIO()
                Image.fromarray(mask).save(content, "JPEG" if end == ".jpg" else "PNG")
                file.writestr(f"{name}{end}", content.getvalue())
    convert("Masks of 0 and 255", monkeypatch)
    spec = read(fields_of("chase_db1"), tmp_path)
    opened = open_dataset(spec)
    assert len(opened.items) == 8
    assert np.array_equal(load(opened, opened.items[0], spec)[1], mask // 128)


def fields_of(name: str) -> dict[str, Any]:
    return next(spec for spec in OF_MMSEG if spec["mmseg"] == name)
