"""Files and folders called segtransfer in the working folder, made for each test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer import run
from segtransfer.cli import app
from segtransfer.errors import InputError
from segtransfer.experiment.shadowing import check_not_shadowed, find_shadow, own_file
from segtransfer.runtime.executors.ray.driver import join_cluster


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> str:
    """A folder of the path that holds the package, as where a wheel is installed."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/segtransfer").symlink_to(own_file().parent, target_is_directory=True)
    return str(tmp_path / "site")


def make(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix:
        path.write_text("raise SystemExit('not this one')")
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("name", ["segtransfer.py", "segtransfer/__init__.py"])
def test_module_or_regular_package_hides_every_install(folder: Path, site: str, name: str) -> None:
    path = make(folder, name)
    assert find_shadow([str(folder)]) == path
    assert find_shadow([str(folder), site]) == path


@pytest.mark.parametrize("name", ["segtransfer", "segtransfer/README.md", "segtransfer/cli.py"])
def test_plain_folder_hides_an_editable_install_alone(folder: Path, site: str, name: str) -> None:
    make(folder, name)
    assert find_shadow([str(folder)]) == folder / "segtransfer"
    assert find_shadow([str(folder), site]) is None


@pytest.mark.parametrize("name", ["tasks", "tasks.py", "orchestrator/__init__.py", "search_spaces"])
def test_other_names_hide_nothing(folder: Path, site: str, name: str) -> None:
    make(folder, name)
    assert find_shadow([str(folder)]) is None
    assert find_shadow([str(folder), site]) is None
    check_not_shadowed()


def test_refusal_names_the_file_the_package_and_the_cure(folder: Path) -> None:
    path = make(folder, "segtransfer.py")
    with pytest.raises(InputError) as caught:
        check_not_shadowed()
    message = str(caught.value)
    for part in (str(path), str(own_file().parent), "rename the file, or work in another folder"):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "verb",
    [
        ["run", "quickstart"],
        ["search", "quickstart"],
        ["study", "eps"],
        ["plan", "quickstart"],
        ["report", "store"],
        ["export", "store", "out"],
        ["compare", "a", "b"],
        ["doctor"],
        ["data", "check", "quickstart"],
        ["store", "verify", "store"],
        ["fleet", "up", "lab"],
        ["submit", "quickstart"],
        ["job", "status", "job"],
    ],
    ids=" ".join,
)
def test_every_verb_in_a_folder_that_hides_the_package_exits_with_code_2(
    folder: Path, verb: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(folder, "segtransfer.py")
    monkeypatch.setattr("ray.init", lambda *args, **options: pytest.fail("Ray was started"))
    answer = CliRunner().invoke(app, verb, terminal_width=400)
    assert answer.exit_code == 2, answer.output
    assert f"{path} would be imported on Ray's workers" in answer.output.replace("\n", "")
    assert [found.name for found in folder.iterdir()] == ["segtransfer.py"]


@pytest.mark.parametrize(
    "verb",
    [["--help"], ["data", "--help"], ["run", "--help"], ["models"], ["attacks"], ["schema"]],
    ids=" ".join,
)
def test_help_and_registries_in_a_folder_that_hides_the_package_work(
    folder: Path, verb: list[str]
) -> None:
    make(folder, "segtransfer/__init__.py")
    answer = CliRunner().invoke(app, verb)
    assert answer.exit_code == 0, answer.output
    assert "would be imported" not in answer.output


def test_installed_command_in_such_a_folder_exits_with_one_sentence(folder: Path) -> None:
    make(folder, "segtransfer/__init__.py")
    code = "from segtransfer.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, "plan", "quickstart"]
    # An empty part of PYTHONPATH, as these tests have it, is the working folder.
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(command, env=plain, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1


def test_python_functions_in_such_a_folder_raise_before_ray_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", lambda *args, **options: pytest.fail("Ray was started"))
    make(folder, "segtransfer.py")
    with pytest.raises(InputError, match=r"segtransfer\.py would be imported"):
        join_cluster("test")
    with pytest.raises(InputError, match=r"segtransfer\.py would be imported"):
        run("quickstart", ["runtime.executor=ray", "data.images=2", "runtime.tracking=false"])


def test_doctor_in_a_clean_folder_names_the_imported_package(folder: Path) -> None:
    make(folder, "tasks.py")
    answer = CliRunner().invoke(app, ["doctor"], terminal_width=400)
    assert answer.exit_code == 0, answer.output
    assert f"workers import segtransfer from {own_file().parent}" in answer.output.replace("\n", "")
