"""Launcher files: who may come in, what runs where, and what `ray submit` starts."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.validators import INFRA, ROOT

LAUNCHERS = sorted((INFRA / "cluster").glob("*.yaml"))


@pytest.fixture(params=LAUNCHERS, ids=lambda path: path.stem)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(request.param.read_text())
    return read


def test_there_is_a_launcher_for_two_clouds_and_for_machines_of_ones_own() -> None:
    types = {yaml.safe_load(path.read_text())["provider"]["type"] for path in LAUNCHERS}
    assert types == {"aws", "gcp", "local"}


def test_ray_starts_in_the_environment_that_asks_for_the_token(config: dict[str, Any]) -> None:
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    assert all(command.startswith(". ~/segtransfer/env && ") for command in commands)


def test_the_token_comes_from_a_file_of_the_users(config: dict[str, Any]) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_what_is_copied_to_the_nodes_is_there(config: dict[str, Any]) -> None:
    sources = set(config["file_mounts"].values()) - {"dist", "~/.ray/auth_token"}
    assert sources
    assert all((ROOT / source).exists() for source in sources)


def test_the_head_takes_no_models_and_shows_its_dashboard_to_itself_alone(
    config: dict[str, Any],
) -> None:
    (head,) = [command for command in config["head_start_ray_commands"] if "--head" in command]
    assert "--num-cpus=0" in head
    assert "--dashboard-host=127.0.0.1" in head


def test_idle_nodes_are_ended(config: dict[str, Any]) -> None:
    assert 0 < config["idle_timeout_minutes"] <= 30


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_cloud_has_workers_with_gpus_between_two_numbers_and_spot_ones(cloud: str) -> None:
    config = yaml.safe_load((INFRA / f"cluster/{cloud}.yaml").read_text())
    types = config["available_node_types"]
    head, gpu, spot = types["head"], types["gpu"], types["gpu-spot"]
    assert head["resources"] == {"CPU": 0}
    assert gpu["min_workers"] < gpu["max_workers"] <= config["max_workers"]
    assert spot["priority"] > gpu.get("priority", 0)
    own = {"InstanceMarketOptions", "scheduling"}
    same = [{k: v for k, v in t["node_config"].items() if k not in own} for t in (gpu, spot)]
    assert same[0] == same[1]
    assert "spot" in str(spot["node_config"]).lower()


def test_aws_nodes_give_their_credentials_to_nobody_who_asks_through_them() -> None:
    config = yaml.safe_load((INFRA / "cluster/aws.yaml").read_text())
    for node in config["available_node_types"].values():
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert node["node_config"]["SecurityGroupIds"], "Ray's own lets anybody try SSH"
        assert all(d["Ebs"]["Encrypted"] for d in node["node_config"]["BlockDeviceMappings"])


# -- a node ---------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A home folder as the launcher fills it, with commands that only say what they would do."""
    home, bin_folder = tmp_path / "home", tmp_path / "bin"
    own = home / "segtransfer"
    for folder in (own / "locks", own / "wheel", home / ".ray", bin_folder):
        folder.mkdir(parents=True)
    (own / "node.sh").write_text((INFRA / "cluster/node.sh").read_text())
    (own / "wheel/segtransfer-0.1.0-py3-none-any.whl").touch()
    (home / ".ray/auth_token").write_text("a token")
    (home / ".ray/auth_token").chmod(0o644)
    stub = '#!/bin/sh\necho "${0##*/} $*" >> ~/log\n'
    (own / "locks/install.sh").write_text(
        f"mkdir -p $1/bin; cp {bin_folder}/pip $1/bin/pip\n{stub}"
    )
    libraries = "#!/bin/sh\necho libGL.so.1; echo libglib-2.0.so.0\n"
    stubs = {"pip": stub, "tmux": stub, "sudo": stub, "python3": stub, "ldconfig": libraries}
    for name, text in stubs.items():
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    return home


def set_up(home: Path) -> None:
    environment = {"HOME": str(home), "PATH": f"{home.parent}/bin:{os.environ['PATH']}"}
    subprocess.run(["bash", home / "segtransfer/node.sh"], env=environment, check=True)


def test_a_node_installs_what_is_locked_and_then_the_wheel_alone(node: Path) -> None:
    set_up(node)
    log = (node / "log").read_text()
    assert "install.sh venv locks/cuda.txt" in log
    assert "pip install --quiet --no-deps --no-index --force-reinstall wheel/segtransfer-" in log
    assert "sudo" not in log, "what is there already is not installed again"


def test_a_node_asks_for_system_packages_that_it_lacks(node: Path) -> None:
    (node.parent / "bin/ldconfig").write_text("#!/bin/sh\n")
    set_up(node)
    assert "apt-get install -qy python3-venv libgl1 libglib2.0-0" in (node / "log").read_text()


def test_commands_on_a_node_show_the_token_which_others_cannot_read(node: Path) -> None:
    for _ in range(2):
        set_up(node)
    show = ". ~/segtransfer/env && echo $RAY_AUTH_MODE $RAY_AUTH_TOKEN_PATH $PATH"
    environment = {"HOME": str(node), "PATH": "/bin"}
    answer = subprocess.check_output(["bash", "-c", show], env=environment, text=True)
    mode, token, path = answer.split()
    assert (mode, token) == ("token", f"{node}/.ray/auth_token")
    assert path == f"{node}/segtransfer/venv/bin:/bin"
    assert (node / ".ray/auth_token").stat().st_mode & 0o777 == 0o600
    assert (node / ".bashrc").read_text().count("segtransfer/env") == 1


# -- ray submit -----------------------------------------------------------------------------------

FAKE_CLI = """
import os, sys
def main():
    print(sys.argv[1:], os.environ["RAY_ADDRESS"])
    sys.exit(7)
"""


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """The home folder of a head, with what `ray submit` copies there, and a package elsewhere."""
    (tmp_path / "home").mkdir()
    (tmp_path / "installed/segtransfer").mkdir(parents=True)
    (tmp_path / "installed/segtransfer/__init__.py").touch()
    (tmp_path / "installed/segtransfer/cli.py").write_text(FAKE_CLI)
    (tmp_path / "home/submit.py").write_text((INFRA / "submit.py").read_text())
    return tmp_path / "home"


def submit(
    home: Path, *arguments: str, options: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """What `ray submit` runs: Python on the one file, from the home folder."""
    return subprocess.run(
        [sys.executable, *options, "submit.py", *arguments],
        cwd=home,
        env={"PYTHONPATH": str(home.parent / "installed"), **environment},
        capture_output=True,
        text=True,
    )


def test_one_file_runs_the_installed_command_on_the_heads_cluster(head: Path) -> None:
    answer = submit(head, "run", "mine.yaml", "seed=1")
    assert answer.stdout == "['run', 'mine.yaml', 'seed=1'] auto\n"
    assert answer.returncode == 7, "exit codes pass through"


def test_an_address_that_is_given_stays(head: Path) -> None:
    assert submit(head, RAY_ADDRESS="other:6379").stdout == "[] other:6379\n"


def test_a_package_of_that_name_at_home_is_not_imported(head: Path) -> None:
    (head / "segtransfer").mkdir()
    (head / "segtransfer/__init__.py").touch()
    (head / "segtransfer/cli.py").write_text("raise SystemExit('not this one')")
    assert submit(head, "run").returncode == 7


def test_a_head_without_the_package_says_so(head: Path) -> None:
    answer = submit(head, options=["-S"], PYTHONPATH="")  # without the environment's packages
    assert "segtransfer is not installed on the head" in answer.stderr
    assert answer.returncode == 1


# Run what they are given on this machine, as if it were the head.
FAKE_SSH = """#!/bin/bash
while [[ $1 != *@* ]]; do shift; done
shift
HOME="$HEAD" exec bash -c "cd && $*"
"""
FAKE_RSYNC = """#!/bin/bash
target="${@: -1}"
cp "${@: -2:1}" "$HEAD/${target#*:\~/}"
"""


def test_ray_submit_copies_one_file_and_runs_it_from_the_home_folder(
    head: Path, tmp_path: Path
) -> None:
    """Ray's own command, with an ssh and an rsync that reach no further than this machine."""
    (head / "submit.py").unlink()
    launcher = yaml.safe_load((INFRA / "cluster/on-premises.yaml").read_text())
    launcher["provider"] |= {"head_ip": "127.0.0.1", "worker_ips": ["127.0.0.2", "127.0.0.3"]}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(launcher))
    tags = {"ray-node-type": "head", "ray-node-status": "up-to-date"}
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/cluster-segtransfer.state").write_text(
        json.dumps({"127.0.0.1": {"tags": tags, "state": "running"}})
    )
    (tmp_path / "bin").mkdir()
    for name, text in {"ssh": FAKE_SSH, "rsync": FAKE_RSYNC}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    python = Path(sys.executable).parent
    (head / ".bashrc").write_text(
        f"export PATH={python}:$PATH PYTHONPATH={tmp_path / 'installed'}\n"
    )
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "HEAD": str(head),
        "RAY_TMPDIR": str(tmp_path),
    }
    answer = subprocess.run(
        [
            str(python / "ray"), "submit", "--no-config-cache", "cluster.yaml",
            str(INFRA / "submit.py"), "--", "run", "mine.yaml", "seed=1",
        ],
        cwd=tmp_path, env=environment, capture_output=True, text=True, start_new_session=True,
    )  # fmt: skip
    assert answer.returncode == 1, "Ray makes 1 of every code that is not 0"
    assert "['run', 'mine.yaml', 'seed=1'] auto" in answer.stdout
    assert {path.name for path in head.iterdir()} == {".bashrc", "submit.py"}
