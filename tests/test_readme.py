"""What the README shows works as written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from segtransfer import open_results
from segtransfer.experiment.reading import read_experiment
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def blocks(text: str) -> list[str]:
    """The indented blocks, unindented."""
    found = re.findall(r"(?:(?:^    .*|^)\n)+", text, flags=re.MULTILINE)
    return [re.sub("^    ", "", block, flags=re.MULTILINE).strip() for block in found]


def test_every_attack_that_it_shows_is_a_spec(tmp_path: Path) -> None:
    (tmp_path / "aes_made_elsewhere").mkdir()
    Image.new("L", (320, 240), 1).save(tmp_path / "car.png")
    (block,) = [b for b in blocks(README) if b.startswith("attacks:\n")]
    attacks = yaml.safe_load(block)["attacks"]
    spec = {"data": "camvid", "models": ["fcn-r18"], "attacks": attacks}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert len(read_experiment(tmp_path / "spec.yaml").attacks) == len(attacks) >= 7


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_its_own_loss_runs_from_the_working_folder(executor: str, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(# my_losses.*?)```", README, flags=re.DOTALL)
    assert code.count("\n") < 20
    (tmp_path / "my_losses.py").write_text(code)
    (line,) = re.findall(r"^    (attacks: .*my_losses.*)$", README, flags=re.MULTILINE)
    spec = {
        "name": "own-loss",
        "data": {"sample": "camvid", "images": 2, "size": [48, 64]},
        "models": ["fcn-r18"],
        "runtime": {"executor": executor, "tracking": False},
        **yaml.safe_load(line),
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(spec))
    command = [str(Path(sys.executable).with_name("segtransfer")), "run", "own.yaml"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (results,) = open_results(tmp_path / "segtransfer-store")
    assert results.attacks == ["margin", "pgd"]
    drops = [float(results.matrix(attack, "drop").iloc[0, 0]) for attack in results.attacks]
    assert min(drops) > 5
    assert drops[0] != drops[1]
