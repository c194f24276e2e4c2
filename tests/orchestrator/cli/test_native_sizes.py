"""Images at native sizes through the command, compared with mmseg's own test loop."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli import app
from segtransfer.results import Results
from tests.tasks.data.folders import write_image
from tests.tasks.data.test_mmseg import described
from tests.tasks.models.networks import write_network

runner = CliRunner()
SIZES = [(64, 96), (96, 64), (64, 96), (80, 80), (61, 83), (64, 96)]  # height, width
LOAD, LABEL, PACK = ({"type": t} for t in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs"))
RATIO_KEPT = {"type": "Resize", "scale": (256, 72), "keep_ratio": True}
WINDOWS = {"mode": "slide", "crop_size": (48, 48), "stride": (32, 32)}


def write_mixed(root: Path) -> Path:
    """Write images of several sizes, smooth with grain, with labels in blocks of three classes."""
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        blocks = random.integers(0, 4, (height // 8 + 1, width // 8 + 1)).astype(np.uint8)
        label = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
        write_image(root / f"images/{number}.png", np.asarray(smooth))
        write_image(root / f"labels/{number}.png", np.where(label == 3, 255, label))
    return root


def write_config(folder: Path, steps: list[dict[str, Any]]) -> Path:
    """Write a config of mmseg with the data, its test pipeline and its metric."""
    pipeline = [LOAD, *steps, LABEL, PACK]
    loader = {
        "batch_size": 1,
        "num_workers": 0,
        "persistent_workers": False,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": described(folder / "data", pipeline=pipeline),
    }
    path = folder / "data.py"
    path.write_text(
        "default_scope = 'mmseg'\n"
        f"test_dataloader = {loader!r}\n"
        "test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])\n"
        "test_cfg = dict(type='TestLoop')\n"
    )
    return path


def mmsegs_test(folder: Path, source: dict[str, str], data: Path) -> tuple[float, dict[str, Any]]:
    """Return mIoU and predictions by image of mmseg's own runner."""
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmseg.utils import register_all_modules

    register_all_modules()
    config = Config.fromfile(str(data))
    config.model = Config.fromfile(source["config"]).model
    config.load_from, config.work_dir = source["checkpoint"], str(folder / "work")
    config.test_evaluator.output_dir = str(folder / "predicted")
    config.log_level = "ERROR"
    metrics = Runner.from_cfg(config).test()
    files = (folder / "predicted").glob("*.png")
    return round(float(metrics["mIoU"]), 2), {
        path.stem: np.asarray(Image.open(path)) for path in files
    }


def run(folder: Path, data: dict[str, Any], source: dict[str, str], **changes: Any) -> Results:
    content = {
        "data": data,
        "models": [{"name": "m", "mmseg": source}],
        "attacks": [{"preset": "ds", "eps": "8/255", "steps": 2}],
        "schedule_groups": 1,
        "runtime": {"executor": "inline", "store": str(folder / "store")},
        **changes,
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    answer = runner.invoke(app, ["run", str(path), "--no-tracking"])
    assert answer.exit_code == 0, answer.output
    (results,) = open_results(folder / "store")
    assert not results.missing
    return results


def predictions(results: Results, attack: str = "clean") -> dict[str, np.ndarray]:
    """Return the predictions of every image under an attack, by the stem of its file."""
    found: dict[str, np.ndarray] = {}
    for cell in results.manifest.cells:
        if cell.attack == attack:
            evaluation = results.store.evaluation(cell.key)
            assert evaluation is not None
            stems = (image.split("/")[-1] for image in evaluation.image_ids)
            found |= dict(zip(stems, evaluation.predictions, strict=True))
    return found


@pytest.mark.parametrize(
    ("family", "fit", "mode"),
    [
        ("pspnet", "native", "whole"),
        ("pspnet", "pipeline", "slide"),
        ("segformer", "pipeline", "whole"),
        ("segformer", "native", "slide"),
        ("swin", "pipeline", "whole"),
        ("swin", "pipeline", "slide"),
    ],
)
def test_clean_scores_equal_mmsegs_test_loop(
    family: str, fit: str, mode: str, tmp_path: Path
) -> None:
    write_mixed(tmp_path / "data")
    source = write_network(tmp_path, family, align_corners=family == "pspnet")
    if mode == "slide":
        config = Path(source["config"])
        config.write_text(config.read_text() + f"model['test_cfg'] = {WINDOWS!r}\n")
    data = write_config(tmp_path, [RATIO_KEPT] if fit == "pipeline" else [])
    miou, theirs = mmsegs_test(tmp_path, source, data)
    results = run(tmp_path, {"mmseg": str(data), "fit": fit}, source)
    ours = predictions(results)
    assert ours.keys() == theirs.keys() == {str(number) for number in range(len(SIZES))}
    for name, prediction in ours.items():
        assert np.array_equal(prediction, theirs[name])
        assert prediction.shape == SIZES[int(name)], "scored at the size of the label"
        assert len(np.unique(prediction)) > 1
    assert round(float(results.clean()["m"]), 2) == miou
    attacked = predictions(results, "ds")
    assert any(not np.array_equal(attacked[name], ours[name]) for name in ours)


def test_readers_accept_labels_of_another_size_than_images(tmp_path: Path) -> None:
    write_mixed(tmp_path / "data")
    source = write_network(tmp_path, "segformer")
    data = {"mmseg": str(write_config(tmp_path, [RATIO_KEPT])), "fit": "pipeline"}
    results = run(tmp_path, data, source)
    store = str(results.store.location)
    for line in (
        ["plan", str(tmp_path / "mine.yaml")],
        ["run", str(tmp_path / "mine.yaml"), "--no-tracking"],
        ["report", store],
        ["store", "verify", store],
        ["export", store, str(tmp_path / "png"), "--format", "png", "--predictions"],
        ["export", store, str(tmp_path / "hf"), "--format", "hf", "--predictions"],
        ["compare", store, store],
    ):
        answer = runner.invoke(app, line)
        assert answer.exit_code == 0, answer.output
    sizes = {Image.open(path).size for path in (tmp_path / "png").rglob("labels/**/*.png")}
    assert sizes == {(width, height) for height, width in SIZES}
    assert {Image.open(path).size for path in (tmp_path / "png").rglob("images/**/*.png")} != sizes
