"""Built distributions: the whole tree and nothing else, with one code hash."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.architecture.modules import FOLDERS
from tests.conftest import ROOT
from tests.infra.labs import make_environment, make_wheel
from tests.wheels import build_sdist, build_wheel, copy_checkout

HASH = "from segtransfer.experiment.provenance import code_hash; print(code_hash())"
# A file of each folder, and a config that is read and never imported.
EDITED = (
    "orchestrator/errors.py",
    "search_spaces/paths.py",
    "tasks/batching.py",
    "tasks/models/zoo/fcn-r18.py",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("source") / "segtransfer")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sources alone, without MANIFEST.in, as the container images install it."""
    return make_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment in which the wheel is installed."""
    return make_environment(tmp_path_factory.mktemp("venv") / "venv", wheel) / "python"


@pytest.fixture(scope="module")
def editable(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment with an editable install of ``source``."""
    folder = tmp_path_factory.mktemp("editable") / "venv"
    return make_environment(folder, source, editable=True) / "python"


def names_in(wheel: Path) -> set[str]:
    """Return the paths of all files of a wheel outside its dist-info folder."""
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if not name.partition("/")[0].endswith(".dist-info")}


def names_of_the_tree() -> set[str]:
    """Return the paths below site-packages of all files of the package's three folders."""
    return {
        str(Path(package.replace(".", "/"), path.relative_to(ROOT / folder)))
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def code_hash(python: Path, folder: Path) -> str:
    """Return the code hash of the segtransfer that an environment's python imports."""
    command = [str(python), "-I", "-c", HASH]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_wheel_puts_one_package_into_site_packages(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    (info,) = [name for name in top if name.endswith(".dist-info")]
    assert top == {"segtransfer", info}
    listed = zipfile.ZipFile(wheel).read(f"{info}/top_level.txt").decode().split()
    assert listed == ["segtransfer"]


def test_the_wheel_has_every_file_of_the_tree_and_no_other(wheel: Path) -> None:
    assert names_in(wheel) == names_of_the_tree()
    kinds = {Path(name).suffix for name in names_in(wheel)}
    assert kinds >= {".py", ".typed", ".yaml", ".md", ".safetensors", ".json", ".png"}
    assert kinds >= {".html", ".css", ".js"}


def test_every_link_on_the_page_of_an_index_is_absolute(wheel: Path) -> None:
    content = zipfile.ZipFile(wheel)
    (name,) = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
    head, _, page = content.read(name).decode().partition("\n\n")
    assert "License-Expression: Apache-2.0 AND CC-BY-NC-4.0" in head
    links = re.findall(r"\]\(([^)]*)\)", page)
    assert links
    assert all(link.startswith("https://") for link in links), links


def test_only_configs_of_the_zoo_have_names_that_no_import_can_give(wheel: Path) -> None:
    """``check-wheel-contents`` ignores W004 for their sake, and would overlook others."""
    modules = [Path(name).with_suffix("") for name in names_in(wheel) if name.endswith(".py")]
    others = {str(m.parent) for m in modules if not all(part.isidentifier() for part in m.parts)}
    assert others == {"segtransfer/tasks/models/zoo"}


def test_check_wheel_contents_finds_nothing(wheel: Path) -> None:
    pytest.importorskip("check_wheel_contents", reason="check-wheel-contents is in extra dev")
    command = [str(Path(sys.executable).with_name("check-wheel-contents")), str(wheel)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wheel_and_an_editable_install_have_one_code_hash(
    installed: Path, editable: Path, tmp_path: Path
) -> None:
    assert code_hash(installed, tmp_path) == code_hash(editable, tmp_path)


@pytest.mark.parametrize("path", EDITED)
def test_one_edited_byte_changes_the_code_hash(
    path: str, editable: Path, source: Path, tmp_path: Path
) -> None:
    before, file = code_hash(editable, tmp_path), source / path
    content = file.read_bytes()
    try:
        file.write_bytes(content.replace(b".", b",", 1))
        assert code_hash(editable, tmp_path) != before
    finally:
        file.write_bytes(content)
    assert code_hash(editable, tmp_path) == before


def test_one_edited_byte_of_an_installed_wheel_changes_its_code_hash(
    installed: Path, tmp_path: Path
) -> None:
    (file,) = installed.parents[1].glob("lib/*/site-packages/segtransfer/tasks/batching.py")
    before, content = code_hash(installed, tmp_path), file.read_bytes()
    file.write_bytes(content.replace(b".", b",", 1))
    assert code_hash(installed, tmp_path) != before
    file.write_bytes(content)


@pytest.mark.slow
def test_the_tests_in_the_source_distribution_run_on_the_wheel_built_from_it(
    wheel: Path, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    with tarfile.open(build_sdist(checkout, tmp_path / "dist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (root,) = (tmp_path / "unpacked").iterdir()
    for folder in (".ci", "docs", "examples", "infra", "tests", *FOLDERS):
        assert files_below(root / folder) == files_below(checkout / folder)
    rebuilt = build_wheel(root, tmp_path / "rebuilt")
    assert names_in(rebuilt) == names_in(wheel)

    python = make_environment(tmp_path / "venv", rebuilt) / "python"
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    for command, expected in (
        (["-c", "import segtransfer; print(segtransfer.__file__)"], str(tmp_path / "venv")),
        (["-m", "pytest", "-q", "tests/golden", "tests/search_spaces"], " passed"),
    ):
        done = subprocess.run(
            [str(python), *command], cwd=root, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert expected in done.stdout


def files_below(folder: Path) -> set[Path]:
    """Return the relative paths of all files of a folder; it must have some."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert files
    return files


def test_secrets_in_the_checkout_stay_out_of_the_source_distribution(
    source: Path, tmp_path: Path
) -> None:
    secret = source / "infra" / "secrets" / "ray_token"
    secret.parent.mkdir()
    secret.write_text("secret")
    with tarfile.open(build_sdist(source, tmp_path)) as archive:
        names = archive.getnames()
    secret.unlink()
    assert any(name.endswith("/tests/conftest.py") for name in names)
    assert not [name for name in names if "secrets/" in name]
