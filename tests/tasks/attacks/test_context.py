"""Bounds, regions and targets, and the refusals that only a model or a file can give."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Region, Target
from segtransfer.tasks.attacks.context import aim, allowed, bounds
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.tasks.cases import spec

LABELS = torch.tensor([[[0, 1, 2, 255], [2, 2, 0, 1]]])


def target(**fields: Any) -> Target:
    return Target.model_validate(fields)


def test_bounds_cut_the_ball_with_the_box() -> None:
    images = torch.tensor([0.0, 0.01, 0.5, 0.99, 1.0]).view(1, 1, 1, 5)
    lower, upper = bounds(images, spec(eps=0.02), None)
    assert lower.flatten().tolist() == pytest.approx([0, 0, 0.48, 0.97, 0.98])
    assert upper.flatten().tolist() == pytest.approx([0.02, 0.03, 0.52, 1, 1])
    lower, upper = bounds(images, spec(eps=0.02, norm="l2"), None)
    assert lower.eq(0).all()
    assert upper.eq(1).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_outside_the_region_both_bounds_are_the_image(norm: str) -> None:
    images = torch.rand(1, 3, 2, 4)
    region = allowed(Region(classes=(2,)), LABELS)
    assert region is not None
    lower, upper = bounds(images, spec(eps=0.1, norm=norm), region)
    outside = (region == 0).expand_as(images)
    assert torch.equal(lower[outside], images[outside])
    assert torch.equal(upper[outside], images[outside])
    assert (upper > lower)[~outside].all()


def test_a_region_is_classes_a_box_or_both() -> None:
    assert allowed(None, LABELS) is None
    by_class = allowed(Region(classes=(0, 2)), LABELS)
    assert by_class is not None
    assert by_class.tolist() == [[[[1, 0, 1, 0], [1, 1, 1, 0]]]]
    by_box = allowed(Region(box=(0, 0.25, 0.5, 1)), LABELS)
    assert by_box is not None
    assert by_box.tolist() == [[[[0, 1, 1, 1], [0, 0, 0, 0]]]]
    both = allowed(Region(classes=(0, 2), box=(0, 0.25, 0.5, 1)), LABELS)
    assert both is not None
    assert both.tolist() == [[[[0, 0, 1, 0], [0, 0, 0, 0]]]]
    assert both.dtype == torch.float32


def test_void_pixels_belong_to_no_class_but_may_lie_in_a_box() -> None:
    everywhere = allowed(Region(box=(0, 0, 1, 1)), LABELS)
    assert everywhere is not None
    assert everywhere.all()
    classes = allowed(Region(classes=(0, 1, 2)), LABELS)
    assert classes is not None
    assert torch.equal(classes[:, 0] == 0, LABELS == 255)


def test_mask_is_nonzero_pixels_of_its_file_in_every_image(tmp_path: Path) -> None:
    path = str(write_map(tmp_path / "mask.png", [[0, 1, 255, 7], [0, 0, 0, 2]]))
    found = allowed(Region(mask=path), LABELS.expand(3, 2, 4))
    assert found is not None
    assert found.tolist() == [[[[0, 1, 1, 1], [0, 0, 0, 1]]]] * 3
    every = allowed(Region(mask=path, classes=(1, 2), box=(0, 0.5, 1, 1)), LABELS)
    assert every is not None
    assert every.tolist() == [[[[0, 0, 1, 0], [0, 0, 0, 1]]]]


@pytest.mark.parametrize("kind", ["1", "L", "P"])
def test_a_mask_may_be_black_and_white_grey_or_a_palette(tmp_path: Path, kind: str) -> None:
    grey = Image.fromarray(np.array([[0, 255, 0, 0], [0, 0, 0, 255]], np.uint8))
    if kind == "P":
        grey.putpalette([1, 2, 3] * 256)
    (grey.convert("1") if kind == "1" else grey).save(tmp_path / "mask.png")
    found = allowed(Region(mask=str(tmp_path / "mask.png")), LABELS)
    assert found is not None
    assert found.tolist() == [[[[0, 1, 0, 0], [0, 0, 0, 1]]]]


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.ones((4, 8)), r"region.mask .* is 4 x 8 \(height x width\), the images are 2 x 4"),
        (np.zeros((2, 4)), "region.mask .* is 0 everywhere, so no pixel may change"),
        (np.ones((2, 4, 3)), "region.mask .* has 3 dimensions, not 2; save a number per pixel"),
    ],
    ids=["size", "nothing", "colours"],
)
def test_a_mask_that_does_not_fit_is_refused(pixels: Any, told: str, tmp_path: Path) -> None:
    path = str(write_map(tmp_path / "mask.png", pixels))
    with pytest.raises(InputError, match=told):
        allowed(Region(mask=path), LABELS)


def test_mask_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    path = write_map(tmp_path / "mask.png", [[1] * 4] * 2)
    planned = Region(mask=str(path))
    write_map(path, [[2] * 4] * 2)
    with pytest.raises(InputError, match=r"region\.mask .* changed since the plan"):
        allowed(planned, LABELS)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"every": 1}, [[[1, 1, 1, 255], [1, 1, 1, 1]]]),
        ({"classes": {2: 0}}, [[[0, 1, 0, 255], [0, 0, 0, 1]]]),
        ({"classes": {2: 0}, "others": "ignore"}, [[[255, 255, 0, 255], [0, 0, 255, 255]]]),
        ({"classes": {0: 1, 1: 0}}, [[[1, 0, 2, 255], [2, 2, 1, 0]]]),
    ],
    ids=str,
)
def test_targets_by_hand(fields: dict[str, Any], expected: list[Any]) -> None:
    found = aim(LABELS, target(**fields), 3)
    assert found.dtype == torch.int64
    assert found.tolist() == expected


def test_without_a_target_the_aim_is_the_truth() -> None:
    assert aim(LABELS, None, 3) is LABELS


def write_map(path: Path, indices: Any, palette: bool = False) -> Path:
    image = Image.fromarray(np.array(indices, np.uint8))
    if palette:
        image.putpalette([1, 2, 3] * 256)
    image.save(path)
    return path


@pytest.mark.parametrize("palette", [False, True])
def test_a_label_map_is_the_same_for_every_image(tmp_path: Path, palette: bool) -> None:
    indices = [[0, 2, 255, 1], [1, 1, 1, 1]]
    path = write_map(tmp_path / "map.png", indices, palette)
    found = aim(LABELS.expand(3, 2, 4), target(label_map=str(path)), 3)
    assert found.tolist() == [indices] * 3


def test_a_label_map_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    small = target(label_map=str(write_map(tmp_path / "small.png", [[0, 1]])))
    with pytest.raises(InputError, match=r"is 1 x 2 \(height x width\), the images are 2 x 4"):
        aim(LABELS, small, 3)
    high = target(label_map=str(write_map(tmp_path / "high.png", [[0] * 4, [7] * 4])))
    with pytest.raises(InputError, match=r"high.png has values \[7\]; allowed are 0 to 2"):
        aim(LABELS, high, 3)
    colours = target(label_map=str(write_map(tmp_path / "rgb.png", np.zeros((2, 4, 3)))))
    with pytest.raises(InputError, match="3 dimensions"):
        aim(LABELS, colours, 3)


def test_label_map_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.png", [[0] * 4] * 2)
    planned = target(label_map=str(path))
    write_map(path, [[1] * 4] * 2)
    with pytest.raises(InputError, match="is missing, or changed since the plan"):
        aim(LABELS, planned, 3)
    path.unlink()
    with pytest.raises(InputError, match="is missing, or changed since the plan"):
        aim(LABELS, planned, 3)


@pytest.mark.parametrize(
    ("value", "told"),
    [(np.nan, r"holds \[nan\]"), (0.5, r"holds \[0.5\]"), (-1, "-1"), (-9999, "-9999")],
)
@pytest.mark.parametrize("field", ["region.mask", "target.label_map"])
def test_masks_and_label_maps_hold_whole_numbers_from_0(
    field: str, value: float, told: str, tmp_path: Path
) -> None:
    values = np.ones((2, 4), np.float32)
    values[0, 0] = value
    path = str(tmp_path / "map.tif")
    Image.fromarray(values).save(path)
    with pytest.raises(InputError, match=rf"{field} .*map.tif .*{told}"):
        read_planned(field, path)


@pytest.mark.parametrize("field", ["region.mask", "target.label_map"])
def test_masks_and_label_maps_are_not_compressed_with_loss(field: str, tmp_path: Path) -> None:
    path = str(tmp_path / "map.jpg")
    Image.fromarray(np.ones((2, 4), np.uint8)).save(path)
    with pytest.raises(InputError, match=rf"{field} .*map.jpg is compressed as JPEG"):
        read_planned(field, path)


def read_planned(field: str, path: str) -> None:
    if field == "region.mask":
        allowed(Region(mask=path), LABELS)
    else:
        aim(LABELS, target(label_map=path), 3)


@pytest.mark.parametrize("fields", [{"every": 3}, {"classes": {0: 5}}], ids=str)
def test_a_target_that_the_source_does_not_predict_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(
        InputError, match=r"target is class [35], and the source predicts classes 0"
    ):
        aim(LABELS, target(**fields), 3)


def test_the_target_of_a_preset_reaches_the_spec() -> None:
    rule = AttackSpec.model_validate({"preset": "segpgd", "target": {"every": 1}})
    assert rule.target == target(every=1)
