"""Small made trees of the data sets of mmseg's configs are read value by value as by mmseg."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmseg
import mmseg.datasets
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import load
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models.mmseg_configs import find_config

CONFIGS = Path(mmseg.__file__).parent / ".mim/configs/_base_/datasets"
ONE_SIZE = ((24, 48), (24, 48))
SIZES = ((20, 28), (28, 20), (33, 33))
VESSELS = (0, 1)


@dataclass(frozen=True)
class Layout:
    """A tree of files: paths hold ``{}`` for the name of an image.

    Attributes:
        image: The path of an image.
        label: The path of its label.
        values: The values in label files.
        sizes: Height and width of each image.
        listing: The path of the list of names.
        names: The beginning of each name, may hold a folder.
    """

    image: str
    label: str
    values: Sequence[int]
    sizes: tuple[tuple[int, int], ...] = SIZES
    listing: str = ""
    names: str = "n"


def upto(last: int, ignored: bool = True) -> list[int]:
    return [*range(last + 1), *([255] if ignored else [])]


def folders(images: str, labels: str, values: Sequence[int], **fields: Any) -> Layout:
    ends = fields.pop("ends", (".jpg", ".png"))
    return Layout(f"{images}/{{}}{ends[0]}", f"{labels}/{{}}{ends[1]}", values, **fields)


def street(split: str = "val") -> Layout:
    ends = ("_leftImg8bit.png", "_gtFine_labelTrainIds.png")
    where = f"leftImg8bit/{split}", f"gtFine/{split}"
    return folders(*where, upto(18), ends=ends, sizes=ONE_SIZE, names="bonn/bonn_")


def ade(split: str = "validation") -> Layout:
    return folders(f"images/{split}", f"annotations/{split}", upto(150, ignored=False))


def vessels(end: str, split: str = "validation") -> Layout:
    where = f"images/{split}", f"annotations/{split}"
    return folders(*where, VESSELS, ends=(".png", end), sizes=ONE_SIZE)


def voc(labels: str = "SegmentationClass", names: str = "val", last: int = 20) -> Layout:
    listing = f"ImageSets/Segmentation/{names}.txt"
    return folders("JPEGImages", labels, upto(last), listing=listing, names=names)


def context(last: int, ignored: bool = True) -> Layout:
    where = "JPEGImages", "SegmentationClassContext"
    listing = "ImageSets/SegmentationContext/val.txt"
    return folders(*where, upto(last, ignored), listing=listing)


def tiles(last: int, split: str = "val", **fields: Any) -> Layout:
    fields = {"ends": (".png", ".png"), "sizes": ONE_SIZE, **fields}
    return folders(f"img_dir/{split}", f"ann_dir/{split}", upto(last), **fields)


def mapillary(version: str, last: int) -> Layout:
    return folders("validation/images", f"validation/{version}/labels", upto(last))


LAYOUTS: dict[tuple[str, str], tuple[Layout, ...]] = {
    ("ade20k", "test"): (ade(),),
    ("ade20k", "train"): (ade("training"),),
    ("ade20k_640x640", "test"): (ade(),),
    ("bdd100k", "test"): (
        folders("images/10k/val", "labels/sem_seg/masks/val", upto(18), sizes=ONE_SIZE),
    ),
    ("chase_db1", "test"): (vessels("_1stHO.png"),),
    ("chase_db1", "train"): (vessels("_1stHO.png", "training"),),
    ("cityscapes", "test"): (street(),),
    ("cityscapes", "train"): (street("train"),),
    ("cityscapes_1024x1024", "test"): (street(),),
    ("cityscapes_768x768", "test"): (street(),),
    ("cityscapes_769x769", "test"): (street(),),
    ("cityscapes_832x832", "test"): (street(),),
    ("coco-stuff10k", "test"): (
        folders(
            "images/test2014", "annotations/test2014", upto(171, ignored=False),
            ends=(".jpg", "_labelTrainIds.png"),
        ),
    ),
    ("coco-stuff164k", "test"): (
        folders(
            "images/val2017", "annotations/val2017", upto(170),
            ends=(".jpg", "_labelTrainIds.png"),
        ),
    ),
    ("drive", "test"): (vessels("_manual1.png"),),
    ("hrf", "test"): (vessels(".png"),),
    ("isaid", "test"): (
        tiles(15, ends=(".png", "_instance_color_RGB.png"), sizes=SIZES),
    ),
    ("loveda", "test"): (tiles(7),),
    ("mapillary_v1", "test"): (mapillary("v1.2", 65),),
    ("mapillary_v1_65", "test"): (mapillary("v1.2", 65),),
    ("mapillary_v2", "test"): (mapillary("v2.0", 123),),
    ("pascal_context", "test"): (context(59),),
    ("pascal_context_59", "test"): (context(59, ignored=False),),
    ("pascal_voc12", "test"): (voc(),),
    ("pascal_voc12_aug", "test"): (voc(),),
    ("pascal_voc12_aug", "train"): (voc(names="train"), voc("SegmentationClassAug", "aug")),
    ("potsdam", "test"): (tiles(6),),
    ("refuge", "test"): (
        folders(
            "images/test", "annotations/test", (0, 1, 2), ends=(".png", ".png"), sizes=ONE_SIZE
        ),
    ),
    ("stare", "test"): (vessels(".ah.png"),),
    ("synapse", "test"): (tiles(8, ends=(".jpg", ".png")),),
    ("vaihingen", "test"): (tiles(6),),
}  # fmt: skip

# Image and label as loaded; and on the grid of the test pipeline, as a pipeline of training draws
# at random.
CASES = [
    (name, split, fit)
    for name, split in LAYOUTS
    for fit in ("native", "pipeline")
    if (split, fit) != ("train", "pipeline")
]

# Configs without labels of classes or images of three channels: their files, and what is told.
UNREAD = {
    "hsi_drive": (
        ["images/test/a.npy", "annotations/test/a.png"],
        r"float32 of shape \(20, 28, 25\)",
    ),
    "levir_256x256": (["test/A/a.png", "test/B/a.png", "test/label/a.png"], "gdal|of shape"),
    "nyu": (["images/test/bookstore_1.jpg", "annotations/test/bookstore_1.png"], "has no labels"),
    "nyu_512x512": (["images/test/cafe_1.jpg", "annotations/test/cafe_1.png"], "has no labels"),
}


def write_layout(root: Path, layout: Layout) -> None:
    """Write images and labels; all values occur, and labels of JPEG images have a palette."""
    random = np.random.default_rng(0)
    names = [f"{layout.names}{i}" for i in range(len(layout.sizes))]
    for name, (height, width) in zip(names, layout.sizes, strict=True):
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        label = random.choice(np.array(layout.values, np.uint8), (height, width))
        label.flat[: len(layout.values)] = layout.values
        mask = Image.fromarray(label)
        if layout.image.endswith(".jpg"):
            mask.putpalette(random.integers(0, 256, 768, np.uint8).tobytes())
        for image, path in ((Image.fromarray(pixels), layout.image), (mask, layout.label)):
            (root / path.format(name)).parent.mkdir(parents=True, exist_ok=True)
            image.save(root / path.format(name))
    if layout.listing:
        (root / layout.listing).parent.mkdir(parents=True, exist_ok=True)
        (root / layout.listing).write_text("".join(f"{name}\n" for name in names))


def rooted(dataset: dict[str, Any], root: Path, steps: list[Any] | None) -> dict[str, Any]:
    """A data set of a config with its files in ``root``, and with ``steps`` as its pipeline."""
    if "datasets" in dataset:
        return dataset | {"datasets": [rooted(d, root, steps) for d in dataset["datasets"]]}
    if "dataset" in dataset:  # a repetition, which changes no mIoU
        return rooted(dataset["dataset"], root, steps)
    pipeline = dataset["pipeline"] if steps is None else steps
    return dataset | {"data_root": str(root), "pipeline": pipeline}


def loading_steps(dataset: dict[str, Any]) -> list[Any]:
    parts = dataset.get("datasets") or [dataset.get("dataset") or dataset]
    return [step for step in parts[0]["pipeline"] if step["type"].startswith("Load")]


def mmsegs_own(name: str, split: str, root: Path, fit: str) -> Any:
    """The data set as mmseg builds it: with its pipeline, or with the loading steps alone."""
    init_default_scope("mmseg")
    described = Config.fromfile(str(find_config(name)))[f"{split}_dataloader"].dataset.to_dict()
    steps = loading_steps(described) if fit == "native" else None
    return DATASETS.build(rooted(described, root, steps))


def read_by_mmseg(loaded: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Image 3 x H x W, RGB, and label of what a pipeline of mmseg returns."""
    if "inputs" in loaded:
        return loaded["inputs"].numpy()[::-1], loaded["data_samples"].gt_sem_seg.data[0].numpy()
    return loaded["img"][..., ::-1].transpose(2, 0, 1), loaded["gt_seg_map"]


@pytest.mark.parametrize(("name", "split", "fit"), CASES)
def test_a_layout_is_read_as_mmseg_reads_it(
    name: str, split: str, fit: str, tmp_path: Path
) -> None:
    layouts = LAYOUTS[name, split]
    for layout in layouts:
        write_layout(tmp_path, layout)
    spec = DataSpec.model_validate(
        {"mmseg": name, "split": split, "root": str(tmp_path), "fit": fit}
    )
    opened, theirs = open_dataset(spec), mmsegs_own(name, split, tmp_path, fit)
    assert opened.classes == tuple(theirs.metainfo["classes"])
    assert opened.palette == tuple(map(tuple, theirs.metainfo["palette"]))
    sizes = [size for layout in layouts for size in layout.sizes]
    assert len(opened.items) == len(theirs) == len(sizes)
    seen = set()
    for item, loaded, size in zip(opened.items, theirs, sizes, strict=True):
        image, label = load(opened, item, spec)
        expected_image, expected_label = read_by_mmseg(loaded)
        assert np.array_equal(image, expected_image)
        assert np.array_equal(label, expected_label)
        assert label.shape == size
        assert (image.shape[1:] == size) == (fit == "native")
        seen |= set(np.unique(label).tolist())
    assert seen >= set(range(len(opened.classes)))


def test_every_config_of_the_installed_mmseg_is_tried() -> None:
    shipped = {path.stem for path in CONFIGS.glob("*.py")}
    assert {name for name, _ in LAYOUTS} | set(UNREAD) == shipped
    assert len({name for name, _ in LAYOUTS}) >= 25


def read_first(spec: DataSpec) -> None:
    opened = open_dataset(spec)
    load(opened, opened.items[0], spec)


@pytest.mark.parametrize("name", UNREAD)
def test_data_of_other_kinds_are_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    paths, told = UNREAD[name]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".npy"):
            np.save(tmp_path / path, np.zeros((20, 28, 25), np.float32))
        else:
            Image.fromarray(np.zeros((20, 28), np.uint8)).save(tmp_path / path)
    with pytest.raises(InputError, match=told):
        read_first(DataSpec(mmseg=name, root=str(tmp_path)))
