"""``segtransfer infra copy``: the files that users get, from the source tree and from a wheel."""

import subprocess
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.jobs.infra_files import copy_infra
from tests.conftest import ROOT
from tests.infra.labs import make_environment
from tests.wheels import build_wheel, copy_checkout

FOLDERS = {"cluster", "docker", "kubernetes", "mlflow", "monitoring", "slurm"}


def test_files_are_copied_once_and_changed_ones_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "infra"
    first = copy_infra(target)
    assert {path.relative_to(target).parts[0] for path in first.written} >= FOLDERS
    assert (target / "slurm/run.sbatch").read_bytes() == (
        ROOT / "infra/slurm/run.sbatch"
    ).read_bytes()
    assert not (target / "zoo").exists()
    (target / "cluster/aws.yaml").write_text("mine")
    (target / "submit.py").unlink()
    runner = CliRunner().invoke(app, ["infra", "copy", str(target)])
    assert runner.exit_code == 0, runner.output
    assert "1 files copied" in runner.output
    assert "Kept, although it differs from the shipped file" in runner.output
    assert (target / "cluster/aws.yaml").read_text() == "mine"


@pytest.mark.parametrize("taken", ["", "cluster"])
def test_file_in_the_place_of_a_folder_is_refused_and_kept(taken: str, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    place = target / taken
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("mine")
    answer = CliRunner().invoke(app, ["infra", "copy", str(target)])
    assert answer.exit_code == 2
    assert f"{place} is a file, and a folder is needed" in " ".join(answer.output.split())
    assert place.read_text() == "mine"


def test_a_folder_in_the_place_of_a_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "submit.py").mkdir()
    assert copy_infra(tmp_path).kept == (tmp_path / "submit.py",)


def test_every_infra_file_of_the_readme_is_copied(tmp_path: Path) -> None:
    copied = {path.relative_to(tmp_path).parts[0] for path in copy_infra(tmp_path).written}
    listed = set((ROOT / "infra/copied.txt").read_text().split())
    assert copied == listed


@pytest.mark.pages
def test_wheel_of_a_checkout_has_the_files_and_the_code_hash_of_the_tree(tmp_path: Path) -> None:
    from segtransfer.experiment.provenance import code_hash

    wheel = build_wheel(copy_checkout(tmp_path / "checkout"), tmp_path)
    names = {name for name in zipfile.ZipFile(wheel).namelist() if "/infra/" in name}
    assert {name.split("/")[2] for name in names} >= FOLDERS
    assert not [name for name in names if "secrets" in Path(name).parts]
    commands = make_environment(tmp_path / "venv", wheel)
    done = subprocess.run(
        [commands / "segtransfer", "infra", "copy"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "infra/slurm/run.sbatch").is_file()
    code = "from segtransfer.experiment.provenance import code_hash; print(code_hash())"
    theirs = subprocess.check_output([commands / "python", "-c", code], cwd=tmp_path, text=True)
    assert theirs.strip() == code_hash()
