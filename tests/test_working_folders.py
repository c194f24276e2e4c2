"""Working folders with strangers' files: each way to use segtransfer works there, or is refused.

A stranger's ``tasks.py`` (Invoke, Celery), ``tasks/``, ``orchestrator.py`` or ``search_spaces/`` is
never executed by segtransfer. A folder ``segtransfer/``, such as a clone, hides an editable install
from Python, which segtransfer refuses in one sentence; an installed wheel goes on working.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.golden import working_folder
from tests.infra.labs import Lab, copy_sources, make_editable_environment, open_lab

STRANGER = """
from pathlib import Path

with Path({marker!r}).open("a") as file:
    file.write(__file__ + "\\n")
raise RuntimeError("a stranger's file was executed")
"""
HIDING = ("segtransfer (empty)", "segtransfer (clone)")
STRANGERS = ("tasks.py", "tasks/", "orchestrator.py", "search_spaces/", *HIDING)
OVERRIDES = ["runtime.executor=ray", "runtime.fleet.slots=1", "runtime.tracking=false"]
CODE = f"""
import segtransfer

if __name__ == "__main__":
    results = segtransfer.run("mine.yaml", {OVERRIDES!r})
    assert not results.missing
"""
TEST = """
import segtransfer


def test_a_run_has_all_its_results():
    overrides = ["runtime.executor=inline", "runtime.tracking=false"]
    assert not segtransfer.run("mine.yaml", overrides).missing
"""
SPEC = {
    "data": {"folder": "data", "classes": working_folder.CLASSES, "images": 2},
    "models": [working_folder.net("a", 1)],
    "attacks": [
        {"preset": "pgd", "eps": "8/255", "steps": 1, "loss": "my_losses:margin", "name": "mine"}
    ],
    "runtime": {"tracking": False, "fleet": {"slots": 1}},
}

Surface = Callable[[Lab, Path], "subprocess.CompletedProcess[str]"]
SURFACES: dict[str, Surface] = {
    "inline": lambda lab, folder: lab.run(
        folder, "segtransfer", "run", "mine.yaml", "--executor", "inline"
    ),
    "ray": lambda lab, folder: lab.run(folder, "segtransfer", "run", "mine.yaml"),
    "python -m": lambda lab, folder: lab.run(
        folder, "python", "-P", "-m", "segtransfer", "run", "mine.yaml"
    ),
    "python -c": lambda lab, folder: lab.run(folder, "python", "-c", CODE),
    "script": lambda lab, folder: lab.run(folder, "python", "script.py"),
    "pytest": lambda lab, folder: lab.run(folder, "python", "-m", "pytest", "-q", "test_it.py"),
    "job": lambda lab, folder: lab.run(
        folder, "segtransfer", "submit", "mine.yaml", "--working-dir", ".",
        "--address", lab.address, "--store", str(folder.with_name(f"{folder.name}-store")),
    ),
}  # fmt: skip
# Python itself imports here, before segtransfer has any say.
IMPORTED_BY_PYTHON = ("python -c", "script", "pytest")


@pytest.fixture(scope="module", params=["wheel", "editable"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A cluster of one node whose environment has segtransfer installed in one of both ways."""
    with open_lab() as lab:
        if request.param == "editable":
            sources = copy_sources(lab.folder / "editable")
            lab.commands = make_editable_environment(lab.folder / "venv-editable", sources)
        lab.editable = request.param == "editable"
        lab.start("head")
        yield lab


def make_folder(folder: Path, stranger: str) -> Path:
    """Make a user's working folder with own models and losses beside a stranger's files."""
    working_folder.write(folder)
    (folder / "mine.yaml").write_text(json.dumps(SPEC))
    (folder / "script.py").write_text(CODE)
    (folder / "test_it.py").write_text(TEST)
    content = STRANGER.format(marker=str(folder.with_name("executed")))
    if stranger == "segtransfer (clone)":
        copy_sources(folder / "segtransfer")
    elif stranger == "segtransfer (empty)":
        (folder / "segtransfer").mkdir()
    elif stranger.endswith("/"):
        (folder / stranger).mkdir()
        (folder / stranger / "__init__.py").write_text(content)
    else:
        (folder / stranger).write_text(content)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_folder_with_strangers_files_works_or_is_refused(
    lab: Lab, stranger: str, surface: str, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "work", stranger)
    done = SURFACES[surface](lab, folder)
    assert not (tmp_path / "executed").exists()
    if not (lab.editable and stranger in HIDING):
        assert done.returncode == 0, done.stdout
    elif surface in IMPORTED_BY_PYTHON:
        assert done.returncode != 0
        assert "segtransfer" in done.stdout
    else:
        assert done.returncode == 2, done.stdout
        (sentence,) = [line for line in done.stdout.splitlines() if line.startswith("error:")]
        assert str(folder / "segtransfer") in sentence
        assert not (folder / "segtransfer-store").exists()
