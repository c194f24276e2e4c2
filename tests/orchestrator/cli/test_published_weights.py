"""Weights by name through the command: listed, planned, run here and on Ray's workers."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from segtransfer.cli import app
from tests.conftest import ROOT
from tests.orchestrator.cli.test_library_models import experiment
from tests.tasks.models.published import publish, served_file, serving

runner = CliRunner()
# Ray's processes keep the environment of Ray's start, as the processes of other nodes do.
ON_RAY = """
import os, sys, ray
from segtransfer import run
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
os.environ["XDG_CACHE_HOME"] = sys.argv[2]
run(sys.argv[1], ["runtime.tracking=false"])
"""


def test_models_lists_configs_with_weights_by_name() -> None:
    assert "configs of mmsegmentation" in runner.invoke(app, ["models"]).output
    answer = runner.invoke(app, ["models", "pspnet_r50-d8_4xb2-40k"])
    assert answer.exit_code == 0, answer.output
    for told in ("pspnet_r50-d8_4xb2-40k_cityscapes-512x1024", "Cityscapes", "77.85", "79.18"):
        assert told in answer.output
    assert "pspnet_r101" not in answer.output
    wrong = runner.invoke(app, ["models", "no-such-part"])
    assert wrong.exit_code == 2
    assert "has 'no-such-part' in its name" in " ".join(wrong.output.split())


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "SEGTRANSFER_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return dict(os.environ)


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "segtransfer").iterdir())


@pytest.mark.usefixtures("environment")
def test_model_by_name_is_downloaded_once(tmp_path: Path) -> None:
    with serving(tmp_path / "web") as server:
        model = {"mmseg": publish(tmp_path / "configs", server)}
        path = experiment(tmp_path, model)
        answer = runner.invoke(app, ["run", str(path), "--no-tracking"])
        assert answer.exit_code == 0, answer.output
        assert len(server.asked) == 1
        name = served_file(server).name
    assert names(tmp_path / "cache") == [name, f"{name}.sha256"]
    answer = runner.invoke(app, ["plan", str(path)])
    assert answer.exit_code == 0, answer.output
    assert "weights: mmseg" in path.read_text()


@pytest.mark.slow
def test_workers_download_weights_by_name_into_the_cache_of_their_node(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with serving(tmp_path / "web") as server:
        model: dict[str, Any] = {"mmseg": publish(tmp_path / "configs", server)}
        path = experiment(tmp_path, model)
        content = yaml.safe_load(path.read_text())
        content["runtime"] |= {"executor": "ray", "fleet": {"slots": 1}}
        path.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-c", ON_RAY, str(path), str(tmp_path / "client")]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        name = served_file(server).name
        assert len(server.asked) == 2
    for cache in ("client", "cache"):
        assert names(tmp_path / cache) == [name, f"{name}.sha256"]
