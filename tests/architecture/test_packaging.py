"""What is installed: one import root, and every folder of it."""

import tomllib

from segtransfer.experiment.provenance import module_files
from tests.architecture.modules import FOLDERS, modules
from tests.conftest import ROOT


def test_every_package_of_the_tree_is_installed_and_no_other() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        ".".join((package, *path.parent.relative_to(ROOT / folder).parts))
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(settings["packages"]) == found
    assert settings["package-dir"] == {package: folder for folder, package in FOLDERS.items()}


def test_the_code_hash_covers_every_module_by_its_name() -> None:
    assert {name.removesuffix(".__init__") for name in module_files()} >= modules().keys()
