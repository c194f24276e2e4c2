"""Images, Compose files and lock files: what is in them, who they run as, who can reach them."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tests.infra.validators import INFRA, ROOT

LOCKS = INFRA / "docker/locks"
DOCKERFILE = (INFRA / "docker/Dockerfile").read_text().replace("\\\n", " ")
COMPOSE = {
    path: yaml.safe_load((INFRA / path).read_text())
    for path in ("docker/compose.yaml", "docker/compose.gpu.yaml", "mlflow/compose.yaml")
}
SERVICES: dict[str, dict[str, Any]] = {
    **COMPOSE["docker/compose.yaml"]["services"],
    **COMPOSE["mlflow/compose.yaml"]["services"],
}


def stages() -> dict[str, list[str]]:
    """The instructions of every stage, by its name."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.M)
    return {name: body.splitlines() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


# -- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_ends_as_a_user_without_rights(target: str) -> None:
    users = [line for line in stages()[target] if line.startswith("USER ")]
    assert users == ["USER 1000:1000"]
    assert any("useradd" in line and "--uid 1000" in line for line in stages()["system"])


def test_images_have_what_opencv_links_and_the_path_of_login_shells() -> None:
    (made,) = [line for line in stages()["system"] if line.startswith("RUN ")]
    assert "libgl1 libglib2.0-0" in made
    assert "/opt/segtransfer/bin" in made
    assert "/etc/profile.d/" in made


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_holds_what_its_lock_file_lists(target: str) -> None:
    commands = "\n".join(stages()[f"{target}-packages"])
    assert f"install.sh /opt/segtransfer /locks/{target}.txt" in commands
    assert "pip install --no-deps --no-build-isolation /source" in commands
    assert f"COPY --from={target}-packages /opt/segtransfer /opt/segtransfer" in stages()[target]


def test_the_build_sees_no_secrets_and_all_of_the_package() -> None:
    lines = (INFRA / "docker/Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "everything stays outside that is not named"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert not any("secret" in rule for rule in let_in)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["setuptools"]["package-dir"].values())
    files = {"README.md", *project["project"]["license-files"]}
    files |= {"pyproject.toml", "setup.py"}
    assert packages | files | {"infra/docker/locks"} == let_in


# -- lock files -----------------------------------------------------------------------------------


def locked(name: str) -> dict[str, list[Requirement]]:
    """The requirements of a lock file by package; each must be pinned and carry hashes."""
    found: dict[str, list[Requirement]] = {}
    for entry in re.split(r"\n(?=\S)", (LOCKS / name).read_text().strip()):
        first, *hashes = entry.replace("\\\n", "").split("--hash=")
        requirement = Requirement(first.strip())
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), first
        assert hashes, f"{first} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text.strip()) for text in hashes)
        found.setdefault(requirement.name, []).append(requirement)
    return found


def version(requirement: Requirement) -> Version:
    return Version(str(requirement.specifier).removeprefix("=="))


@pytest.mark.parametrize("name", ["cpu.txt", "cuda.txt", "build.txt"])
def test_every_package_is_pinned_to_files(name: str) -> None:
    assert locked(name)


@pytest.mark.parametrize("name", ["cpu.txt", "cuda.txt"])
def test_a_lock_file_has_what_the_package_needs(name: str) -> None:
    """It is renewed with `infra/docker/locks/renew.sh` whenever the dependencies change."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = [line.partition("#")[0] for line in (LOCKS / "extra.in").read_text().splitlines()]
    found = locked(name)
    for wanted in map(Requirement, [*project["dependencies"], *filter(str.strip, extra)]):
        assert wanted.name in found, f"{wanted} is not in {name}: renew.sh writes it anew"
        for pinned in found[wanted.name]:
            assert wanted.specifier.contains(version(pinned)), f"{wanted}, locked: {pinned}"


def test_the_two_differ_in_torch_alone() -> None:
    cpu, cuda = locked("cpu.txt"), locked("cuda.txt")
    of_cuda = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
    different = {name for name in cpu | cuda if cpu.get(name) != cuda.get(name)}
    assert all(of_cuda.fullmatch(name) for name in different)
    (one,), (other,) = cpu["torch"], cuda["torch"]
    assert version(one).public == version(other).public
    assert version(one).local == "cpu"
    assert version(other).local is None
    assert any(name.startswith("nvidia-") for name in cuda)


def test_what_builds_the_package_is_locked_too() -> None:
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for wanted in map(Requirement, needs):
        assert all(wanted.specifier.contains(version(p)) for p in locked("build.txt")[wanted.name])


# -- Compose --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_some_ports_are_open() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["head", "mlflow"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_gains_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    if not service["image"].startswith("postgres:"):  # which starts as root, to become another
        assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", ["head", "worker"])
def test_ray_reads_its_token_from_a_secret_file(name: str) -> None:
    service = SERVICES[name]
    assert service["environment"]["RAY_AUTH_MODE"] == "token"
    assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
    assert "ray_token" in service["secrets"]


@pytest.mark.parametrize("name", ["head", "worker"])
def test_the_object_store_fits_into_shared_memory(name: str) -> None:
    asked = re.search(r"--object-store-memory=(\d+)", SERVICES[name]["command"])
    gigabytes = re.fullmatch(r"(\d+)gb", SERVICES[name]["shm_size"])
    assert asked is not None
    assert gigabytes is not None
    assert int(asked[1]) <= int(gigabytes[1]) * 2**30


def test_the_head_takes_no_models() -> None:
    assert "--num-cpus=0" in SERVICES["head"]["command"]


def test_mlflow_asks_for_a_password_and_listens_to_names_that_are_listed() -> None:
    serve = (INFRA / "mlflow/serve.sh").read_text()
    assert "--app-name basic-auth" in serve
    assert "--serve-artifacts" in serve
    server = SERVICES["mlflow"]["environment"]
    hosts = re.fullmatch(r"\$\{MLFLOW_ALLOWED_HOSTS:-(.*)\}", server["MLFLOW_SERVER_ALLOWED_HOSTS"])
    assert hosts is not None
    assert hosts[1].split(",") == ["localhost:5000", "127.0.0.1:5000", "mlflow:5000"]
    assert SERVICES["head"]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_mlflow_keeps_its_users_in_a_database_that_is_made() -> None:
    (made,) = re.findall(r"CREATE DATABASE (\w+)", (INFRA / "mlflow/users.sql").read_text())
    assert made not in SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert made in SERVICES["postgres"]["healthcheck"]["test"]


def test_files_that_are_mounted_are_there() -> None:
    for path, content in COMPOSE.items():
        for service in content["services"].values():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    assert (INFRA / path).parent.joinpath(source).is_file()
                else:
                    assert source in content["volumes"]


# -- secrets of the Compose files -----------------------------------------------------------------


@pytest.fixture
def infra(tmp_path: Path) -> Path:
    """A copy of the script's folder, to make secrets in."""
    (tmp_path / "docker").mkdir()
    shutil.copy(INFRA / "docker/make_secrets.sh", tmp_path / "docker")
    return tmp_path


def make_secrets(infra: Path) -> dict[str, str]:
    script = infra / "docker/make_secrets.sh"
    answer = subprocess.run(["bash", script], check=True, capture_output=True, text=True)
    assert answer.stdout + answer.stderr == ""
    return {path.name: path.read_text() for path in (infra / "secrets").iterdir()}


def test_every_secret_of_the_compose_files_is_made(infra: Path) -> None:
    named = {
        Path(secret["file"]).name: (INFRA / path).parent.joinpath(secret["file"]).resolve()
        for path, content in COMPOSE.items()
        for secret in content.get("secrets", {}).values()
    }
    assert set(make_secrets(infra)) == set(named)
    assert {path.parent for path in named.values()} == {INFRA / "secrets"}


def test_secrets_are_random_readable_by_their_owner_and_made_once(infra: Path) -> None:
    first = make_secrets(infra)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (infra / "secrets").iterdir())
    assert (infra / "secrets").stat().st_mode & 0o077 == 0
    assert make_secrets(infra) == first
    plain = [text for name, text in first.items() if name != "mlflow_credentials"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", text) for text in plain)
    assert len(set(plain)) == len(plain)
    assert first["mlflow_admin_password"] in first["mlflow_credentials"]


def test_git_ignores_them() -> None:
    assert "/infra/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
