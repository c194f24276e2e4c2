"""The survey counts as a person would, finds every fault, and cuts the shards that a plan cuts."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.data.survey import Survey, survey
from tests.tasks.cases import annotations, pictures
from tests.tasks.data.folders import CLASSES, write_folder, write_image
from tests.tasks.data.test_mmseg import described
from tests.tasks.data.test_mmseg_boundary import LOADER, written

SIZES = [(20, 28), (24, 16), (20, 28), (31, 31), (24, 16), (20, 28), (20, 28)]


def looked_at(
    spec: DataSpec,
    shard_size: int = 2,
    thumbnails: int = 4,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    return survey(spec, groups=2, shard_size=shard_size, thumbnails=thumbnails, tell=tell)


def mixed_folder(root: Path) -> list[np.ndarray]:
    """A folder of images of several sizes; its labels, without the class 'tree'."""
    write_folder(root, 0)
    labels = []
    for i, size in enumerate(SIZES):
        write_image(
            root / f"images/clip{i // 2}_{i}.png", pictures(1, *size, i)[0].transpose(1, 2, 0)
        )
        labels.append(annotations(1, *size, 2, i)[0])
        write_image(root / f"labels/clip{i // 2}_{i}.png", labels[-1])
    return labels


def test_counts_are_those_of_the_labels(tmp_path: Path) -> None:
    labels = mixed_folder(tmp_path)
    labels[3][:] = 1
    write_image(tmp_path / "labels/clip1_3.png", labels[3])
    told: list[tuple[int, int]] = []
    found = looked_at(DataSpec(folder=str(tmp_path)), tell=lambda *n: told.append(n))
    assert (found.dataset.classes, len(found.usable), found.videos) == (CLASSES, 7, 4)
    for index in range(3):
        assert found.pixels[index] == sum((label == index).sum() for label in labels)
        assert found.images_with[index] == sum((label == index).any() for label in labels)
    assert found.pixels[2] == found.images_with[2] == 0
    assert found.images_with[0] == 6
    assert found.ignored == sum((label == 255).sum() for label in labels)
    assert Counter({sizes.file: n for sizes, n in found.sizes.items()}) == Counter(SIZES)
    assert found.faults == ()
    assert told == [(done, 7) for done in range(1, 8)]


@pytest.mark.parametrize("fields", [{}, {"size": [16, 24], "fit": "pad"}], ids=str)
@pytest.mark.parametrize("shard_size", [1, 2, 8])
def test_shards_and_pixels_are_those_of_a_plan(
    fields: dict[str, Any], shard_size: int, tmp_path: Path
) -> None:
    mixed_folder(tmp_path)
    spec = DataSpec.model_validate({"folder": str(tmp_path), **fields})
    found = looked_at(spec, shard_size)
    shards = list(make_shards(open_dataset(spec), spec, groups=2, shard_size=shard_size))
    assert found.shards == len(shards)
    assert found.ignored == sum((shard.labels == 255).sum() for shard in shards)
    assert {sizes.grid for sizes in found.sizes} == {shard.size for shard in shards}


def test_sizes_of_a_test_pipeline_are_told_beside_those_of_the_files(tmp_path: Path) -> None:
    mixed_folder(tmp_path)
    steps = [LOADER, {"type": "Resize", "scale": (64, 32), "keep_ratio": True}]
    spec = written(tmp_path, described(tmp_path, pipeline=steps))
    found = looked_at(spec.model_copy(update={"fit": "pipeline"}))
    assert {(s.file, s.grid, s.label) for s in found.sizes} == {
        ((20, 28), (32, 45), (20, 28)),
        ((24, 16), (48, 32), (24, 16)),
        ((31, 31), (32, 32), (31, 31)),
    }
    assert all(t.image.shape[:2] == t.label.shape for t in found.thumbnails)


def test_every_fault_is_told_and_the_other_images_are_counted(tmp_path: Path) -> None:
    mixed_folder(tmp_path)
    write_image(tmp_path / "labels/clip0_1.png", np.full((24, 16), 7, np.uint8))
    write_image(tmp_path / "labels/clip1_2.png", np.zeros((28, 20), np.uint8))
    (tmp_path / "images/clip1_3.png").write_bytes(b"torn")
    (tmp_path / "labels/clip2_5.png").unlink()
    (tmp_path / "labels/clip3_6.png").unlink()
    spec = DataSpec(folder=str(tmp_path))
    found = looked_at(spec)
    assert len(found.usable) == sum(found.sizes.values()) == 2
    parts = (
        "clip2_5.png has no label: ",
        "clip3_6.png has no label: ",
        "clip0_1.png has values [7]",
        "clip1_2.png is 20 x 28 (height x width), its label",
        f"image {tmp_path}/images/clip1_3.png cannot be read",
    )
    assert len(found.faults) == len(parts)
    for sentence, part in zip(found.faults, parts, strict=True):
        assert part in sentence
    with pytest.raises(InputError, match=r"clip2_5.* 1 more images have none: .* data check"):
        open_dataset(spec)


def test_an_image_that_the_test_pipeline_cannot_resize_is_a_fault(tmp_path: Path) -> None:
    mixed_folder(tmp_path)
    resize = {"type": "ResizeShortestEdge", "scale": 32, "max_size": "x"}
    spec = written(tmp_path, described(tmp_path, pipeline=[LOADER, resize]))
    found = looked_at(spec.model_copy(update={"fit": "pipeline"}))
    assert found.usable == ()
    assert len(found.faults) == len(SIZES)
    assert "fails on 20 x 28 (height x width)" in found.faults[0]


def test_data_that_a_plan_refuses_as_a_whole_has_a_fault(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 1)
    write_image(root / "labels/clip0_0.png", np.full((20, 28), 255, np.uint8))
    (fault,) = looked_at(DataSpec(folder=str(root))).faults
    assert "has a labelled pixel: all pixels are ignored" in fault


def test_data_without_any_label_are_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 2)
    for path in (root / "labels").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"clip0_0\.png has no label: "):
        looked_at(DataSpec(folder=str(root)))


@pytest.mark.parametrize(("wanted", "given"), [(3, ["clip0_0", "clip1_2", "clip2_4"]), (99, None)])
def test_thumbnails_are_evenly_spaced_and_small(
    wanted: int, given: list[str] | None, tmp_path: Path
) -> None:
    mixed_folder(tmp_path)
    spec = DataSpec(folder=str(tmp_path))
    found = looked_at(spec, thumbnails=wanted).thumbnails
    every = [item.image_id for item in open_dataset(spec).items]
    assert [t.image_id for t in found] == (given or every)


def test_a_thumbnail_shows_the_large_image_and_its_label(tmp_path: Path) -> None:
    write_folder(tmp_path, 0)
    image = np.zeros((400, 640, 3), np.uint8)
    image[:, 320:] = 200
    write_image(tmp_path / "images/a.png", image)
    write_image(tmp_path / "labels/a.png", (image[..., 0] > 0).astype(np.uint8))
    (small,) = looked_at(DataSpec(folder=str(tmp_path))).thumbnails
    assert small.image.shape == (200, 320, 3)
    assert small.label.shape == (200, 320)
    assert (small.label == (np.arange(320) >= 160)).all()
    assert (small.image[:, :150] == 0).all()
    assert (small.image[:, 170:] == 200).all()
