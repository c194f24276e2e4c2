"""``ray up`` and ``ray submit`` with Ray's local launcher; ssh and rsync are stubs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from segtransfer import open_results
from tests.infra.labs import Lab, open_lab
from tests.infra.validators import INFRA

SSH = """#!/bin/bash
while [[ $1 != *@* ]]; do shift; done
shift
cd "$HOME" && exec bash -c "$*"
"""
RSYNC = """#!/bin/bash
target=${@: -1}
target=${target#*:}
cp -r "${@: -2:1}" "${target/#\\~/$HOME}"
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with open_lab() as lab:
        lab.start("head")
        yield lab


@pytest.mark.slow
def test_spec_is_run_on_the_head_of_a_launched_cluster(lab: Lab, tmp_path: Path) -> None:
    stubs = lab.folder / "stubs"
    stubs.mkdir()
    for name, text in {"ssh": SSH, "rsync": RSYNC}.items():
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    # As infra/cluster/node.sh leaves it: a login shell has the environment and the token.
    lines = [f"export {name}='{value}'\n" for name, value in lab.environment.items()]
    (lab.home / ".bashrc").write_text("".join(lines))
    launcher = lab.folder / "local.yaml"
    config = {
        "cluster_name": "lab",
        "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
        "auth": {"ssh_user": "somebody"},
        "min_workers": 0,
        "max_workers": 0,
        "head_start_ray_commands": [],  # the head is up
        "worker_start_ray_commands": [],
    }
    launcher.write_text(yaml.safe_dump(config))
    more = {"PATH": f"{stubs}{os.pathsep}{lab.environment['PATH']}", "TMPDIR": str(lab.folder)}
    ray = ("python", "-m", "ray.scripts.scripts")

    up = lab.run(lab.folder, *ray, "up", "-y", str(launcher), **more)
    assert up.returncode == 0, up.stdout
    small = ["quickstart", "data.images=2", "schedule_groups=1"]
    command = ["run", *small, "--store", str(tmp_path / "store"), "--no-tracking"]
    given = (*ray, "submit", str(launcher), str(INFRA / "submit.py"), "--")
    submitted = lab.run(lab.folder, *given, *command, **more)
    assert submitted.returncode == 0, submitted.stdout
    assert not open_results(tmp_path / "store")[0].missing
    wrong = lab.run(lab.folder, *given, "run", "nowhere.yaml", **more)
    assert wrong.returncode == 1, "Ray turns every exit code but 0 into 1"
    assert "nowhere.yaml" in wrong.stdout
