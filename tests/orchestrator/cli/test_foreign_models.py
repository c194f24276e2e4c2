"""The command with models that break the contract: a sentence, never a silent number."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.store import Store

runner = CliRunner()
SIZE = (24, 32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write two images whose pixels have class k if red is 40 k."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for number in range(2):
        label = np.random.default_rng(number).integers(0, 3, SIZE).astype(np.uint8)
        image = np.stack([label * 40] * 3, -1)
        Image.fromarray(image).save(tmp_path / "data" / "images" / f"i{number}.png")
        Image.fromarray(label).save(tmp_path / "data" / "labels" / f"i{number}.png")
    return tmp_path


def run(folder: Path, function: str, preset: str = "noise", **model: Any) -> Any:
    source = {"callable": f"tests.foreign_models:{function}", **model}
    spec = {
        "data": {"folder": "data", "classes": ["c0", "c1", "c2"]},
        "models": [{"name": "m", "torch": source}],
        "attacks": [{"preset": preset, "eps": "1/255"}],
        "runtime": {"store": "store", "executor": "inline", "tracking": False},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return runner.invoke(app, ["run", "spec.yaml"])


def reports(folder: Path) -> dict[str, Any]:
    """Return reports by key; reports of attacks have a field health."""
    store = Store(str(folder / "store"))
    rows = {key: store.row(key) for key in sorted(store.keys())}
    return {key: row.report for key, row in rows.items() if row is not None}


def scores(folder: Path) -> dict[str, np.ndarray]:
    store = Store(str(folder / "store"))
    scored = {k: store.evaluation(k) for k, r in reports(folder).items() if "health" not in r}
    return {key: found.confusions for key, found in scored.items() if found is not None}


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("extra", "model 'm' returned 4 channels, and its num_classes is 3"),
        ("dictionary", "model 'm' returned a dict; return logits N x K x H x W"),
        ("nan", "model 'm' returned NaN logits for image i0"),
        ("infinite", "model 'm' returned infinite logits for image i0"),
        ("two_inputs", "raised TypeError"),
    ],
)
def test_run_of_a_model_that_returns_no_logits_fails_in_a_sentence(
    folder: Path, function: str, said: str
) -> None:
    done = run(folder, function)
    assert done.exit_code == 1
    assert said in done.output.replace("\n", " ")
    assert "errors.InputError" not in done.output
    assert re.search(r"clean\W+not measured", done.output), "no number is shown"


def test_run_with_wrong_arguments_is_refused_before_any_task(folder: Path) -> None:
    done = run(folder, "right", arguments={"num_clases": 3})
    assert done.exit_code == 2
    assert "model 'm': tests.foreign_models:right(num_clases=3) raised TypeError" in done.output
    assert not (folder / "store" / "rows").exists()


def test_run_of_a_random_model_is_repeatable_and_reported_as_random(folder: Path) -> None:
    assert run(folder, "dropped").exit_code == 0
    evaluations = [report for report in reports(folder).values() if "health" not in report]
    assert all(report["deterministic"] is False for report in evaluations)
    before = scores(folder)
    (folder / "store").rename(folder / "before")
    assert run(folder, "dropped").exit_code == 0
    again = scores(folder)
    assert len(again) == len(before) == 4
    assert all(np.array_equal(again[key], before[key]) for key in before)


def test_run_of_a_source_without_gradient_stores_its_share(folder: Path) -> None:
    assert run(folder, "rounded", "pgd").exit_code == 0
    (share,) = {
        value
        for report in reports(folder).values()
        for health in report.get("health", ())
        for step in health["zero_gradients"]
        for value in step
    }
    assert share == 1


def test_run_after_a_file_of_weights_was_replaced_computes_again(folder: Path) -> None:
    import torch

    for gain, computed in ((100.0, True), (100.0, False), (50.0, True)):
        torch.save(torch.tensor(gain), folder / "w.pth")
        done = run(folder, "from_file", arguments={"path": "w.pth"})
        assert done.exit_code == 0
        assert ("Nothing to compute" not in done.output) == computed, done.output
