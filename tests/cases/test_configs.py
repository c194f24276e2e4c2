"""Configs and checkpoints of mmseg: wrapped data sets, ignored values, the order of classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.cases.user import (
    CLASSES,
    assert_refused,
    assert_scores,
    command,
    label,
    model,
    photo,
    write_config,
)
from tests.tasks.models.networks import write_network

PART = """dict(
    type='BaseSegDataset', data_root='{root}', img_suffix='.png', seg_map_suffix='.png',
    data_prefix=dict(img_path='images', seg_map_path='labels'),
    metainfo=dict(classes={classes}){more},
    pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')])"""


def part(root: str = "data", classes: tuple[str, ...] = ("c0", "c1", "c2"), more: str = "") -> str:
    return PART.format(root=root, classes=classes, more=more)


def written(dataset: str, evaluator: str = "dict(type='IoUMetric')", split: str = "test") -> dict:
    text = f"{split}_dataloader = dict(dataset={dataset})\n{split}_evaluator = {evaluator}\n"
    Path("config.py").write_text(text)
    return {"mmseg": "config.py", "split": split}


# -- Wrapped data sets ---------------------------------------------------------------------------


def test_repeated_data_set_is_read_once(folder: Path) -> None:
    assert_scores(command(data=written(f"dict(type='RepeatDataset', times=3, dataset={part()})")))


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (f"dict(type='ConcatDataset', datasets=[{part()}, {part()}])", "with common images"),
        (
            f"dict(type='ConcatDataset', datasets=[{part()}, {part(classes=('x', 'y', 'z'))}])",
            "different classes",
        ),
        (
            f"dict(type='MultiImageMixDataset', dataset={part()}, pipeline=[])",
            "in MultiImageMixDataset, which is not supported",
        ),
        (
            f"dict(type='ConcatDataset', datasets=[{part()}, {part(more=', ignore_index=0')}])",
            "ignore_index",
        ),
        (f"[{part()}, {part()}]", "describes no data set"),
    ],
    ids=["twice", "other classes", "mix", "other ignored value", "list"],
)
def test_wrapper_that_cannot_be_read_is_named(dataset: str, said: str, folder: Path) -> None:
    assert_refused(command("plan", "spec.yaml", data=written(dataset)), said)


# -- The ignored value ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evaluator", "split"),
    [
        ("dict(type='IoUMetric', ignore_index=0)", "val"),
        ("[dict(type='IoUMetric', ignore_index=0)]", "test"),
        ("dict(type='Evaluator', metrics=[dict(type='IoUMetric', ignore_index=0)])", "test"),
    ],
    ids=["val", "list", "Evaluator"],
)
def test_value_that_the_metric_ignores_is_not_scored(
    evaluator: str, split: str, folder: Path
) -> None:
    for number in range(2):
        wrong = photo(number)
        wrong[label(number) == 0] = 40
        Image.fromarray(wrong).save(folder / f"data/images/i{number}.png")
    assert_scores(command(data=written(part(), evaluator, split)))


def test_data_set_that_ignores_another_value_than_the_metric_is_refused(folder: Path) -> None:
    data = written(part(more=", ignore_index=0"))
    assert_refused(command(data=data), "ignore_index is 255 in metrics and 0 in data sets")


def test_ignored_value_of_a_spec_is_not_scored(folder: Path) -> None:
    for number in range(2):
        content = label(number)
        wrong = photo(number)
        wrong[:, :4] = 80
        content[:, :4] = 9
        Image.fromarray(wrong).save(folder / f"data/images/i{number}.png")
        Image.fromarray(content).save(folder / f"data/labels/i{number}.png")
    assert_scores(command(data={"folder": "data", "classes": CLASSES, "ignore_index": 9}))


# -- The order of classes ------------------------------------------------------------------------

BACKWARDS = CLASSES[::-1]


def reversed_checkpoint(folder: Path, meta: dict[str, Any]) -> dict[str, Any]:
    source = write_network(folder, "segformer")
    content = torch.load(source["checkpoint"])
    content["meta"] = meta
    torch.save(content, source["checkpoint"])
    return {"name": "m", "mmseg": source}


@pytest.mark.parametrize("key", ["CLASSES", "classes"])
def test_order_that_an_old_checkpoint_says_is_heeded(key: str, folder: Path) -> None:
    answer = command(models=[reversed_checkpoint(folder, {key: tuple(BACKWARDS)})])
    assert_refused(answer, "different class lists (model / data: 0: 'c2' / 'c0'")


def test_order_of_an_ensembles_member_is_heeded(folder: Path) -> None:
    member = reversed_checkpoint(folder, {"dataset_meta": {"classes": BACKWARDS}})
    models = [{"name": "e", "ensemble": [model(name="right"), member], "average": "logits"}]
    assert_refused(command(models=models), "different class lists (model / data: 0: 'c2' / 'c0'")


def test_order_in_the_weights_of_a_torch_model_is_heeded(folder: Path) -> None:
    from tests.foreign_models import right

    meta = {"dataset_meta": {"classes": BACKWARDS}}
    torch.save({"state_dict": right().state_dict(), "meta": meta}, folder / "w.pth")
    answer = command(models=[model(weights="w.pth")])
    assert_refused(answer, "different class lists (model / data: 0: 'c2' / 'c0'")
    torch.save({"state_dict": right().state_dict(), "meta": {"epoch": 1}}, folder / "w.pth")
    assert_scores(command(models=[model(weights="w.pth")]))


def test_order_of_an_mmseg_data_set_is_heeded(folder: Path) -> None:
    """The config of the data says another order than the checkpoint."""
    models = [reversed_checkpoint(folder, {"dataset_meta": {"classes": tuple(CLASSES)}})]
    data = write_config(folder, classes=tuple(BACKWARDS))
    assert_refused(
        command(data=data, models=models), "different class lists (model / data: 0: 'c0' / 'c2'"
    )
