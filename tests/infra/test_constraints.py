"""The tested versions: each direct dependency has one, and every install takes them."""

import re
import tomllib

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = (ROOT / "infra/constraints.txt").read_text().splitlines()
PINS = [Requirement(line) for line in LINES if line and not line.startswith("#")]
VERSIONS = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in PINS}
DIRECT = [Requirement(text) for text in PROJECT["dependencies"]]
TOGETHER = {"onedl-mmsegmentation", "onedl-mmcv", "onedl-mmengine", "altair"}
PYTHON = {"python_full_version": "3.11.0", "python_version": "3.11"}


def test_every_direct_dependency_has_a_tested_version_within_its_range() -> None:
    used = ("huggingface", "postgresql", "dashboard", "docs")
    extras = [Requirement(t) for name in used for t in PROJECT["optional-dependencies"][name]]
    for requirement in (*DIRECT, *extras):
        name = canonicalize_name(requirement.name)
        if name != "packaging":  # pip and setuptools bring their own
            assert requirement.specifier.contains(VERSIONS[name]), name


def test_the_metadata_has_an_upper_bound_only_where_versions_belong_together() -> None:
    bounded = {r.name for r in DIRECT if any("<" in part.operator for part in r.specifier)}
    assert bounded == TOGETHER


@pytest.mark.parametrize("lock", ["cpu", "cuda"])
def test_a_lock_file_has_the_tested_versions(lock: str) -> None:
    environment = {**default_environment(), **PYTHON}
    pinned = {}
    for line in (ROOT / f"infra/docker/locks/{lock}.txt").read_text().splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                version = next(iter(requirement.specifier)).version
                pinned[canonicalize_name(requirement.name)] = version.partition("+")[0]
    direct = {canonicalize_name(r.name) for r in DIRECT} - {"packaging"}
    assert {name: pinned[name] for name in direct} == {name: VERSIONS[name] for name in direct}


@pytest.mark.parametrize(
    "file",
    [
        "README.md",
        ".ci/run",
        "docs/how-to/one-node.md",
        "docs/how-to/four-nodes.md",
        "docs/tutorials/two-nodes.md",
    ],
)
def test_an_install_of_the_checkout_takes_the_tested_versions(file: str) -> None:
    installs = re.findall(r"pip\S* install [^&\n]*", (ROOT / file).read_text())
    ours = [line for line in installs if re.search(r" (\.|-e '\.\S*|\./segtransfer)(\s|$)", line)]
    assert ours
    for line in ours:
        assert re.search(r"-c (segtransfer/)?infra/constraints\.txt", line), line
