"""Recipes of the paper's setting and of ADE20K on made trees, and their check of clean mIoU."""

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli import app
from segtransfer.experiment.reading import read_experiment
from segtransfer.tasks.models.mmseg_configs import find_config
from tests.orchestrator.cli.test_native_sizes import mmsegs_test, run, write_config, write_mixed
from tests.tasks.data.folders import write_image
from tests.tasks.models.networks import write_network
from tests.tasks.models.published import Server, entry, serving, write_metafile

pytestmark = pytest.mark.pages

runner = CliRunner()
RECIPES = ("paper-voc", "paper-cityscapes", "ade20k")
# Changes per kind of network to make the network small.
NARROW = {"depth": 18, "base_channels": 8, "init_cfg": None, "norm_cfg": {"type": "BN"}}
CHANGES: dict[str, dict[str, Any]] = {
    "fcn_r": {"backbone": NARROW, "decode_head": {"in_channels": 64, "channels": 16}},
    "pspnet": {"backbone": NARROW, "decode_head": {"in_channels": 64, "channels": 16}},
    "deeplabv3": {"backbone": NARROW, "decode_head": {"in_channels": 64, "channels": 16}},
    "segformer": {
        "backbone": {"embed_dims": 8, "num_heads": [1, 2, 2, 2], "num_layers": [1, 1, 1, 1]},
        "decode_head": {"in_channels": [8, 16, 16, 16], "channels": 16},
    },
    "swin": {
        "backbone": {"embed_dims": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2]},
        "decode_head": {"in_channels": [8, 16, 32, 64], "channels": 16},
    },
}


def write_tree(recipe: str, root: Path, count: int) -> Path:
    """Write a tree like the recipe's unpacked data set, with smooth images and labels in blocks."""
    random = np.random.default_rng(0)
    classes = {"paper-voc": 21, "paper-cityscapes": 19, "ade20k": 151}[recipe]
    names = []
    for number in range(count):
        mixed = (94, 125 - 40 * (number % 2))
        height, width = (256, 512) if recipe == "paper-cityscapes" else mixed
        cells = height // 16 + 1, width // 16 + 1
        coarse = Image.fromarray(random.integers(0, 256, (*cells, 3)).astype(np.uint8))
        image = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        blocks = random.integers(0, classes, cells).astype(np.uint8)
        label = blocks.repeat(16, 0).repeat(16, 1)[:height, :width]
        names.append(f"2007_{number:06}")
        if recipe == "paper-voc":
            places = f"JPEGImages/{names[-1]}.jpg", f"SegmentationClass/{names[-1]}.png"
        elif recipe == "paper-cityscapes":
            stem = f"city{number}_{number:06}_000019"
            places = (
                f"leftImg8bit/val/city{number}/{stem}_leftImg8bit.png",
                f"gtFine/val/city{number}/{stem}_gtFine_labelTrainIds.png",
            )
        else:
            places = (
                f"images/validation/ADE_val_{number:08}.jpg",
                f"annotations/validation/ADE_val_{number:08}.png",
            )
        write_image(root / places[0], image)
        write_image(root / places[1], label)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(names) + "\n")
    return root


def publish(recipe: str, server: Server, *, full: bool) -> list[str]:
    """Write networks with random weights instead of a recipe's networks.

    Returns:
        The overrides: a config per network, beside a metafile with the original's scores.
    """
    import torch
    from mmengine.config import Config
    from mmseg.apis import init_model

    folder, overrides = server.folder, []
    for number, model in enumerate(read_experiment(recipe).models):
        assert model.mmseg is not None
        base = find_config(model.mmseg.config)
        change: dict[str, Any] = {"pretrained": None, "auxiliary_head": None}
        for kind, small in CHANGES.items():
            if base.stem.startswith(kind):
                parts = small if not full else {"backbone": {"init_cfg": None}}
                change |= {name: dict(fields) for name, fields in parts.items()}
        config = folder / base.name
        config.write_text(f"_base_ = {str(base)!r}\nmodel = {change!r}\n")
        torch.manual_seed(number)
        state = init_model(Config.fromfile(str(config)), None, device="cpu").state_dict()
        torch.save({"state_dict": state}, folder / "made.pth")
        digits = hashlib.sha256((folder / "made.pth").read_bytes()).hexdigest()[:8]
        (folder / "made.pth").rename(folder / f"{base.stem}-{digits}.pth")
        url = f"{server.url}/{base.stem}-{digits}.pth"
        write_metafile(folder, entry(str(config), url, {"mIoU": 77.0}))
        overrides.append(f"models.{number}.mmseg.config={config}")
    return overrides


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve a folder of configs, their metafile and their weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving(tmp_path / "configs") as running:
        yield running


def carry_out(recipe: str, folder: Path, *more: str) -> str:
    store = folder / "store"
    answer = runner.invoke(app, ["run", recipe, "--store", str(store), "--no-tracking", *more])
    assert answer.exit_code == 0, answer.output
    (results,) = open_results(store)
    assert not results.missing
    assert set(results.attacks) == {
        "noise", "pgd-authors", "ds-authors", "pgd", "ds", "mi", "ds-mi",
    }  # fmt: skip
    return " ".join(answer.output.split())


def quick(executor: str) -> list[str]:
    """Return overrides for 2 images of 96 x 128 pixels and 2 steps."""
    steps = [f"attacks.{number}.steps=2" for number in range(1, 7)]
    sizes = ["data.images=2", "data.fit=resize", "data.size=[96,128]", "schedule_groups=2"]
    return [*steps, *sizes, f"runtime.executor={executor}"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_small_recipe_with_random_weights_warns_of_unpublished_weights(
    recipe: str, server: Server, tmp_path: Path, cluster: None
) -> None:
    tree = write_tree(recipe, tmp_path / "tree", 4)
    changes = publish(f"{recipe}-small", server, full=False)
    told = carry_out(f"{recipe}-small", tmp_path, f"data.root={tree}", *changes, *quick("ray"))
    assert "Clean mIoU as published: 0 of 4 targets" in told
    assert told.count("but 77.0 % is published for its weights") == 4


def test_study_accepts_a_recipe_as_base(server: Server, tmp_path: Path) -> None:
    tree = write_tree("paper-voc", tmp_path / "tree", 4)
    changes = publish("paper-voc-small", server, full=False)
    answer = runner.invoke(
        app,
        ["study", "heads", "paper-voc-small", "--store", str(tmp_path / "store"), "--no-tracking",
         f"data.root={tree}", *changes, *quick("inline")],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    assert "fcn" in answer.output
    assert "deeplabv3" in answer.output


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_runs_on_ray_at_full_network_shapes(
    recipe: str, server: Server, tmp_path: Path, cluster: None
) -> None:
    signal.alarm(1800)
    tree = write_tree(recipe, tmp_path / "tree", 2)
    changes = publish(recipe, server, full=True)
    told = carry_out(recipe, tmp_path, f"data.root={tree}", *changes, *quick("ray"))
    assert "Clean mIoU as published: 0 of 6 targets" in told


@pytest.mark.parametrize("off", [0.0, 30.0])
def test_network_passes_the_check_only_with_its_published_miou(
    off: float, server: Server, tmp_path: Path
) -> None:
    """Compare the clean mIoU with a published mIoU that mmseg's own test loop measured."""
    write_mixed(tmp_path / "data")
    data = write_config(tmp_path, [])
    source = write_network(tmp_path, "segformer")
    miou, _ = mmsegs_test(tmp_path, source, data)
    config, weights = server.folder / "known.py", Path(source["checkpoint"])
    config.write_text(Path(source["config"]).read_text() + data.read_text())
    digits = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    weights.rename(server.folder / f"known-{digits}.pth")
    published = round(miou + off, 2)
    url = f"{server.url}/known-{digits}.pth"
    write_metafile(server.folder, entry(str(config), url, {"mIoU": published}))
    named = {"config": str(config), "weights": "mmseg"}
    results = run(tmp_path, {"mmseg": str(data), "fit": "pipeline"}, named)
    page = next((tmp_path / "store/reports").glob("*/report.html")).read_text()
    summary = next((tmp_path / "store/reports").glob("*/summary.md")).read_text()
    for text in (page, summary):
        assert f"as published: {0 if off else 1} of 1 targets" in text
        assert f"(m {miou:.1f} of {published:.1f})" in text
    kinds = [warning.kind for warning in results.warnings]
    assert ("not as published" in kinds) == bool(off)
    assert results.manifest.models["m"].published == published
