"""Files for maintainers agree with the package: versions, Python versions, commands."""

import re
import tomllib
from typing import Any

import yaml

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def read(name: str) -> Any:
    """Return the content of a YAML file of the root."""
    return yaml.safe_load((ROOT / name).read_text())


def test_citation_names_the_version_of_the_package_and_the_paper() -> None:
    citation = read("CITATION.cff")
    assert citation["version"] == PROJECT["version"]
    assert citation["references"][0]["url"].endswith("2111.11368")


def test_changelog_begins_with_the_version_of_the_package() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(name for name in headings if name != "Unreleased") == PROJECT["version"]


def test_matrix_has_the_supported_python_versions_and_the_test_line_of_the_readme() -> None:
    jobs = read(".github/workflows/test.yml")["jobs"]
    pythons = jobs["test"]["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" == PROJECT["requires-python"]
    lines = [step["run"] for step in jobs["test"]["steps"] if "run" in step]
    readme = (ROOT / "README.md").read_text()
    assert lines[-1] in readme
    assert f"`{lines[-1]}`" in CONTRIBUTING
    assert (ROOT / jobs["ci"]["steps"][-1]["run"]).exists()


def test_hooks_run_commands_of_ci() -> None:
    ci = (ROOT / ".ci/run").read_text().replace('"$scratch/venv/bin/', "").replace('"', "")
    hooks = {hook["id"]: hook for hook in read(".pre-commit-config.yaml")["repos"][0]["hooks"]}
    for name in ("ruff", "ruff-format", "prose"):
        assert hooks[name]["entry"] in ci
    assert hooks["quick"]["entry"].removesuffix(" -q") in CONTRIBUTING


def test_rules_of_contributing_name_files_that_exist() -> None:
    parts = re.findall(r"\| `((?:tasks|orchestrator)/[^`]*)` \|", CONTRIBUTING)
    assert len(parts) > 5
    assert [part for part in parts if not (ROOT / part).exists()] == []
