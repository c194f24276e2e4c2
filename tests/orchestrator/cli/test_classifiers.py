"""Classifiers of a user through the verbs, on crops of the shipped images."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli.command import app
from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment
from segtransfer.leaderboard.verification import verify_file
from segtransfer.results import Results
from segtransfer.runtime.runner import carry_out
from segtransfer.tasks.labels import image_classes

RED, BLUE = [6.0, 0.0, -3.0], [-3.0, 0.0, 6.0]


def toy(name: str, function: str = "pooled", **fields: Any) -> dict[str, Any]:
    """Return a model with two outstanding classes, sky (0) and road (3), by colour."""
    tint = sum(map(ord, name)) % 7 / 10
    weights = [[tint, 0.0, 4.0]] + [[-9.0, -9.0, -9.0]] * 10
    weights[3] = [3.0, 1.0 - tint, 0.0]
    source = {"callable": f"tests.toys:{function}", "arguments": {"weights": weights}, **fields}
    return {"name": name, "backbone": name, "torch": source}


def classifier(name: str) -> dict[str, Any]:
    return toy(name, classifier=True)


def spec_of(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "classify",
        "data": {"sample": "camvid", "images": 10, "crops": {"size": [32, 32], "per_image": 2}},
        "models": [classifier("a"), classifier("b")],
        "attacks": [
            {"preset": "pgd", "eps": "64/255", "steps": 4},
            {"preset": "mi", "eps": "64/255", "steps": 4},
        ],
        "runtime": {"store": str(folder / "store"), "executor": "inline", "tracking": False},
    } | changes


def told(command: list[str], code: int = 0) -> str:
    result = CliRunner().invoke(app, command)
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def run(folder: Path, verb: str = "run", **changes: Any) -> tuple[str, Results]:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec_of(folder, **changes)))
    output = told([verb, str(path)])
    return output, open_results(folder / "store")[-1]


def test_run_report_compare_and_export_speak_of_accuracy(tmp_path: Path) -> None:
    output, results = run(tmp_path)
    assert "Accuracy in %" in output
    assert "mIoU" not in output
    images = len(results.image_ids)
    shards = [shard for _, shard in results.reader().shards() if shard is not None]
    truth = np.concatenate([image_classes(shard.labels).ravel() for shard in shards])
    for target in results.targets:
        right, labelled, _ = np.moveaxis(results.counts["clean", None, target], 1, 0)
        assert (labelled == np.eye(11, dtype=int)[truth]).all()
        assert results.clean()[target] == 100 * right.sum() / images
    drop = results.matrix("pgd", "drop")
    assert (drop == results.clean() - results.matrix("pgd", "aacc")).to_numpy().all()
    assert drop.loc["a", "a"] > 0
    assert results.headlines("pgd")["diagonal"] == np.mean(
        [results.matrix("pgd").loc[m, m] for m in "ab"]
    )
    with pytest.raises(KeyError, match="no metric 'miou'"):
        results.matrix("pgd", "miou")
    page = next((tmp_path / "store/reports").glob("classify-*/report.html")).read_text()
    data = json.loads(page.partition('type="application/json" id="data">')[2].partition("</")[0])
    assert data["headline"] == "aacc"
    assert next(iter(data["metrics"])) == "aacc"
    assert "miou" not in data["metrics"]
    assert "mIoU" not in json.dumps(data)
    for picture in data["gallery"]:
        assert {share for _, share in filter(None, picture["predictions"])} <= {0, 100}
    compared = told(["compare", "pgd", "mi", "--store", str(tmp_path / "store"), "--json"])
    assert json.loads(compared)["metric"] == "aacc"
    assert "error" in told(
        ["compare", "pgd", "mi", "--store", str(tmp_path / "store"), "--metric", "miou"], 2
    )
    told(["export", str(tmp_path / "store"), str(tmp_path / "out"), "--format", "csv"])
    told(["export", str(tmp_path / "store"), str(tmp_path / "png"), "--format", "png",
          "--predictions"])  # fmt: skip
    told(["store", "verify", str(tmp_path / "store")])  # exits with 0 if the store is sound


def test_plan_names_the_power_in_points_of_accuracy(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec_of(tmp_path)))
    assert "points of accuracy" in told(["plan", str(path)])


def test_leaderboard_ranks_the_drop_in_accuracy_and_verifies(tmp_path: Path) -> None:
    output, results = run(
        tmp_path,
        "leaderboard",
        threat={"eps": "16/255", "budget": 4},
        attacks=["pgd", "mi"],
    )
    assert "drop in accuracy" in output
    path = next((tmp_path / "store/reports").glob("classify-*/leaderboard.json"))
    record = verify_file(path, str(tmp_path / "store"))
    assert record.problems == ()
    assert record.record.statistic.drop_of == "aacc"
    for attack in record.record.attacks:
        mean = results.headlines(attack.name, "drop")["cross_backbone"]
        assert math.isclose(attack.drop.value, mean)


def test_sources_of_both_kinds_attack_targets_of_one_kind(tmp_path: Path) -> None:
    models = [classifier("a"), toy("seg", "linear")]
    _, seg = run(tmp_path, models=models, targets=["seg"])
    assert seg.headline == "miou"
    assert seg.sources == ["a", "seg"]
    _, cls = run(tmp_path, models=models, targets=["a"])
    assert cls.headline == "aacc"
    made = [{c.attack_key for c in r.manifest.cells if c.attack_key} for r in (seg, cls)]
    assert made[0] == made[1]  # the adversarial examples are those of the first experiment


def test_classifier_reads_folders_of_images_per_class(tmp_path: Path) -> None:
    names = ["sky", "building", "pole", "road", *"efghijk"]
    for name, colour in (("sky", (40, 90, 200)), ("road", (160, 90, 60))):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((32, 40, 3), np.array(colour) + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    data = {"reader": {"class-folders": {"root": str(tmp_path / "images"), "classes": names}}}
    output, results = run(tmp_path, data=data)
    assert results.clean().tolist() == [100, 100]
    assert "9 of 11 classes have no image" in output


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "classifier on pixels": ({"data": "camvid"}, "'a' is a classifier, and data set camvid has"),
    "targets of both kinds": (
        {"models": [classifier("a"), toy("seg", "linear")]},
        "target 'a' is a classifier and target 'seg' predicts a class per pixel",
    ),
    "crops too large": (
        {"data": {"sample": "camvid", "crops": {"size": [512, 512]}}},
        "data.crops.size is",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_plan_refuses_in_a_sentence(case: str, tmp_path: Path) -> None:
    changes, message = REFUSED[case]
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec_of(tmp_path, **changes)))
    assert message in told(["plan", str(path)], 2)


def test_segmenter_on_class_folders_is_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "images" / name / "1.png")
    data = {"reader": {"class-folders": {"root": str(tmp_path / "images")}}}
    models = [{"name": "a", "torch": {"callable": "tests.toys:linear",
                                      "arguments": {"weights": [RED, BLUE]}}}]  # fmt: skip
    with pytest.raises(InputError, match="predicts a class per pixel, and data set"):
        carry_out(read_experiment(spec_of(tmp_path, data=data, models=models)))


def test_label_map_target_of_a_classifier_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "map.png")
    attack = {"preset": "pgd", "eps": "8/255", "target": {"label_map": str(tmp_path / "map.png")}}
    with pytest.raises(InputError, match=r"target\.label_map has a class per pixel"):
        carry_out(read_experiment(spec_of(tmp_path, attacks=[attack])))
