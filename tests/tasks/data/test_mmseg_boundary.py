"""Data of mmseg configs equals mmseg's own, value by value, or is refused in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmseg.evaluation.metrics import IoUMetric
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import load
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.metrics import confusion
from tests.tasks.data.folders import CLASSES, write_folder, write_image
from tests.tasks.data.test_mmseg import described, mmsegs_own


def written(folder: Path, dataset: dict[str, Any], rest: str = "", split: str = "test") -> DataSpec:
    path = folder / "config.py"
    path.write_text(f"{split}_dataloader = dict(dataset={dataset!r})\n{rest}\n")
    return DataSpec(mmseg=str(path), split=split)


def refused(spec: DataSpec, *told: str) -> None:
    with pytest.raises(InputError) as error:
        list(make_shards(open_dataset(spec), spec, groups=8, shard_size=4))
    assert all(part in str(error.value) for part in told), str(error.value)


def same_as_mmseg(spec: DataSpec, dataset: dict[str, Any]) -> None:
    """Images and labels are those that mmseg's own pipeline gives."""
    opened = open_dataset(spec)
    for item, theirs in zip(opened.items, mmsegs_own(dataset), strict=True):
        image, label = load(opened, item, spec)
        assert np.array_equal(image, theirs["img"][..., ::-1].transpose(2, 0, 1))
        assert np.array_equal(label, theirs["gt_seg_map"])


LOADER = {"type": "LoadImageFromFile"}


@pytest.mark.parametrize(
    "loader",
    [
        LOADER,
        LOADER | {"imdecode_backend": "pillow"},
        LOADER | {"to_float32": True},
        LOADER | {"color_type": "color_ignore_orientation"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["exif", "grey16", "grey", "palette", "alpha"])
def test_pixels_are_those_of_the_configs_own_loading_pipeline(
    kind: str, loader: dict[str, Any], tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "data", 1, size=(24, 24))
    path = root / "images/clip0_0.png"
    photo = Image.open(path).copy()
    if kind == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        photo.save(path, exif=exif)
    elif kind == "grey16":
        grey = np.random.default_rng(0).integers(0, 2**16, (24, 24)).astype(np.uint16)
        Image.fromarray(grey).save(path)
    elif kind == "alpha":
        photo.putalpha(128)
        photo.save(path)
    else:
        photo.convert({"grey": "L", "palette": "P"}[kind]).save(path)
    dataset = described(root, pipeline=[loader, {"type": "LoadAnnotations"}])
    same_as_mmseg(written(tmp_path, dataset), dataset)


@pytest.mark.parametrize("color_type", ["grayscale", "unchanged"])
def test_pixels_that_are_no_three_channels_are_refused(color_type: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 1)
    path = root / "images/clip0_0.png"
    Image.open(path).convert("L").save(path)
    steps = [LOADER | {"color_type": color_type}, {"type": "LoadAnnotations"}]
    refused(
        written(tmp_path, described(root, pipeline=steps)), f"the config loads image {path} as "
    )


@pytest.mark.parametrize("kept", [0, 10, 700])
def test_a_torn_image_is_refused_although_opencv_fills_it_with_grey(
    kept: int, tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "data", 1, size=(60, 80))
    path = root / "images/clip0_0.png"
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()
    path = path.with_suffix(".jpg")
    path.write_bytes(path.read_bytes()[:kept])
    refused(written(tmp_path, described(root, img_suffix=".jpg")), f"image {path} cannot be read")


@pytest.mark.parametrize("value", [np.nan, 0.5, -1, -9999, 256, 65536])
def test_a_label_value_that_mmsegs_cast_would_change_is_refused(
    value: float, tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "data", 1)
    label = np.zeros((20, 28), np.float32)
    label[0, 0] = value
    path = root / "labels/clip0_0.tif"
    Image.fromarray(label if label[0, 0] % 1 else label.astype(np.int32)).save(path)
    refused(written(tmp_path, described(root, seg_map_suffix=".tif")), f"label {path} ")


def test_parts_of_concatenated_and_repeated_sets_are_read_each_by_its_rules(
    tmp_path: Path,
) -> None:
    plain = described(write_folder(tmp_path / "one", 2))
    zero = write_folder(tmp_path / "two", 2)
    for path in (zero / "labels").iterdir():
        write_image(path, np.where(np.arange(28) < 9, 0, np.full((20, 28), 2)).astype(np.uint8))
    reduced = described(zero, reduce_zero_label=True)
    nested = {"type": "RepeatDataset", "dataset": reduced, "times": 3}
    both = {"type": "ConcatDataset", "datasets": [plain, nested], "ignore_keys": "label_map"}
    spec = written(tmp_path, {"type": "RepeatDataset", "dataset": both, "times": 2})
    opened = open_dataset(spec)
    ids = [item.image_id for item in opened.items]
    assert ids == [f"{n}/images/clip0_{i}" for n in ("one", "two") for i in range(2)]
    for item, theirs in zip(opened.items, mmsegs_own(plain) + mmsegs_own(reduced), strict=True):
        assert np.array_equal(load(opened, item, spec)[1], theirs["gt_seg_map"])


def test_wrappers_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    part = described(write_folder(tmp_path / "data", 1))
    balanced = {"type": "ClassBalancedDataset", "dataset": part, "oversample_thr": 0.1}
    refused(
        written(tmp_path, balanced),
        "ClassBalancedDataset, which is not supported",
        "BaseSegDataset",
    )
    twice = {"type": "ConcatDataset", "datasets": [part, part]}
    refused(written(tmp_path, twice), "with common images")
    other = part | {"metainfo": {"classes": ("a", "b", "c")}}
    refused(written(tmp_path, twice | {"datasets": [part, other]}), "with different classes")
    for wrong in ({"type": "ConcatDataset"}, {"datasets": [part]}, {"type": 3}):
        refused(written(tmp_path, wrong), "describes no data set")
    refused(written(tmp_path, part | {"suffix": 1}), "cannot be built (TypeError")


def test_data_without_labels_or_classes_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 1)
    bare = described(root, data_prefix={"img_path": "images"})
    refused(
        written(tmp_path, bare),
        "has no labels (no seg_map_path",
        "set data.split to a split with labels",
    )
    unnamed = described(root, metainfo={})
    refused(written(tmp_path, unnamed), "names no classes; give data.classes")
    (root / "labels/clip0_0.png").unlink()
    refused(written(tmp_path, described(root)), "label", "cannot be read")


@pytest.mark.parametrize(
    ("dataset", "rest", "ignored"),
    [
        ({"ignore_index": 0}, "test_evaluator = dict(type='IoUMetric', ignore_index=0)", 0),
        ({}, "test_evaluator = dict(type='IoUMetric', ignore_index=0)", 0),
        ({}, "test_evaluator = [dict(type='IoUMetric', ignore_index=1)]", 1),
        ({}, "val_evaluator = dict(type='IoUMetric', ignore_index=1)", 1),
        ({"ignore_index": 0}, "", 0),
        ({}, "model = dict(decode_head=dict(ignore_index=0))", 0),
        ({}, "test_evaluator = dict(type='IoUMetric')", 255),
    ],
)
def test_the_ignored_value_is_the_configs_and_scores_equal_mmsegs(
    dataset: dict[str, Any], rest: str, ignored: int, tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "data", 1)
    label = np.random.default_rng(0).integers(0, 3, (20, 28)).astype(np.uint8)
    label[0] = ignored
    write_image(root / "labels/clip0_0.png", label)
    spec = written(tmp_path, described(root, **dataset), rest)
    opened = open_dataset(spec)
    _, found = load(opened, opened.items[0], spec)
    assert np.array_equal(found, np.where(label == ignored, 255, label))
    predicted = np.random.default_rng(1).integers(0, 3, (20, 28)).astype(np.uint8)
    theirs = IoUMetric.intersect_and_union(
        torch.tensor(predicted), torch.tensor(label), len(CLASSES), ignored
    )
    matrix = confusion(predicted[None], found[None], 3)[0]
    assert np.array_equal(np.diag(matrix), theirs[0])
    assert np.array_equal(matrix.sum(0), theirs[2])
    assert np.array_equal(matrix.sum(1), theirs[3])


def test_a_metric_and_data_that_ignore_different_values_are_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 1)
    rest = "test_evaluator = dict(type='IoUMetric')"
    told = "ignore_index is 255 in metrics and 0 in data sets"
    refused(written(tmp_path, described(root, ignore_index=0), rest), told)
    both = "test_evaluator = [dict(type='IoUMetric'), dict(type='IoUMetric', ignore_index=0)]"
    refused(written(tmp_path, described(root), both), "0 and 255 in metrics")
    spec = written(tmp_path, described(root, ignore_index=0))
    refused(spec, "has values [255]; allowed are 0 to 2", "and 0 (ignored)")


def test_a_config_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text("test_dataloader = dict(")
    refused(DataSpec(mmseg=str(path)), f"config {path} cannot be read")


RESIZE = {"type": "Resize", "scale": (40, 24), "keep_ratio": True}


@pytest.mark.parametrize(
    "resize",
    [
        RESIZE,
        {"type": "Resize", "scale": (31, 17), "keep_ratio": False},
        {"type": "ResizeToMultiple", "size_divisor": 8},
        {"type": "ResizeShortestEdge", "scale": 24, "max_size": 64},
    ],
    ids=lambda resize: resize["type"],
)
def test_images_are_on_the_grid_of_the_test_pipeline_and_labels_on_their_own(
    resize: dict[str, Any], tmp_path: Path
) -> None:
    steps = [LOADER, resize, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
    dataset = described(write_folder(tmp_path / "data", 2), pipeline=steps)
    spec = written(tmp_path, dataset).model_copy(update={"fit": "pipeline"})
    opened = open_dataset(spec)
    for item, theirs in zip(opened.items, mmsegs_own(dataset), strict=True):
        image, label = load(opened, item, spec)
        assert np.array_equal(image, theirs["inputs"].numpy()[::-1])
        assert np.array_equal(label, theirs["data_samples"].gt_sem_seg.data[0].numpy())
        assert image.shape[1:] != label.shape == (20, 28)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "RandomResize", "scale": (40, 24), "ratio_range": (0.5, 2.0), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": (16, 16)},
        {"type": "Pad", "size": (32, 32)},
    ],
    ids=lambda step: step["type"],
)
def test_a_pipeline_that_does_more_than_resize_is_refused(
    step: dict[str, Any], tmp_path: Path
) -> None:
    dataset = described(write_folder(tmp_path / "data", 1), pipeline=[LOADER, step])
    spec = written(tmp_path, dataset).model_copy(update={"fit": "pipeline"})
    refused(spec, f"the pipeline of test_dataloader has steps {step['type']}", "set fit: native")


def test_data_sets_of_different_pipelines_are_refused(tmp_path: Path) -> None:
    parts = [
        described(write_folder(tmp_path / name, 1), pipeline=[LOADER, *steps])
        for name, steps in (("one", [RESIZE]), ("two", []))
    ]
    spec = written(tmp_path, {"type": "ConcatDataset", "datasets": parts})
    refused(spec.model_copy(update={"fit": "pipeline"}), "has different steps by data set")


SHORTEST: dict[str, Any] = {"type": "ResizeShortestEdge", "scale": 32}


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"type": "Resize", "scale": (32, 32), "ratio": 2}, ("pipeline fails", "'ratio'")),
        ({"type": "Resize", "scale": "large"}, ("pipeline fails", "large")),
        (SHORTEST | {"max_size": "x"}, ("fails on 24 x 32 (height x width)", "ResizeShortestEdge")),
        ({"scale": (32, 32)}, ("its data set cannot be built", "'type'")),
    ],
    ids=str,
)
def test_a_resize_that_fails_is_told_with_its_step(
    step: Any, told: tuple[str, ...], tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "data", 1, size=(24, 32))
    spec = written(tmp_path, described(root, pipeline=[LOADER, step]))
    refused(spec.model_copy(update={"fit": "pipeline"}), *told)
