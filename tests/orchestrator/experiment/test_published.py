"""The published mIoU of a model's weights, on the images for which it was published."""

from pathlib import Path
from typing import Any

import pytest

from segtransfer.experiment.published import published_miou
from segtransfer.tasks.data.spec import DataSpec
from tests.tasks.data.folders import CLASSES, write_folder
from tests.tasks.data.test_mmseg import described
from tests.tasks.models.published import entry, named, write_metafile


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A config whose three splits are one data set, with published weights."""
    path = tmp_path / "mine.py"
    loader = f"dict(dataset={described(write_folder(tmp_path / 'data', 1))!r})"
    path.write_text("".join(f"{s}_dataloader = {loader}\n" for s in ("train", "val", "test")))
    write_metafile(tmp_path, entry("mine.py", "https://host/net-0123abcd.pth", {"mIoU": 77.0}))
    return str(path)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, 77.0),
        ({"split": "val"}, 77.0),
        ({"split": "train"}, None),
        ({"label_map": dict.fromkeys(CLASSES, "all")}, None),
    ],
    ids=str,
)
def test_published_score_needs_the_measured_images(
    data: dict[str, Any], expected: float | None, config: str
) -> None:
    spec = DataSpec.model_validate({"mmseg": config, "split": "test", **data})
    assert published_miou(named({"config": config, "weights": "mmseg"}), spec) == expected


def test_weights_of_a_path_have_no_published_score(config: str) -> None:
    model = named({"config": config, "checkpoint": "w.pth"})
    assert published_miou(model, DataSpec(mmseg=config, split="test")) is None
