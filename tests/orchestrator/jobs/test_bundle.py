"""What a job gets: its command, its folder, the package; and what is refused before it is sent."""

import os
import shlex
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from segtransfer.errors import InputError
from segtransfer.jobs.bundle import JobRequest, pack
from tests.conftest import ROOT

STORE = "s3://bucket/lab"
SPEC: dict[str, Any] = {
    "data": {"sample": "camvid", "images": 2},
    "models": ["fcn-r18", "pspnet-r18"],
    "attacks": ["pgd"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that somebody works in."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, **changes: Any) -> str:
    (folder / "mine.yaml").write_text(yaml.safe_dump(SPEC | changes))
    return "mine.yaml"


def refused(order: JobRequest, **options: Any) -> str:
    with pytest.raises(InputError) as caught, pack(order, **options):
        pass
    return str(caught.value)


def test_a_job_gets_the_spec_alone(folder: Path) -> None:
    (folder / "secret.txt").write_text("not to be sent")
    order = JobRequest(write(folder), ("attacks.*.eps=8/255", "attacks=[pgd, mi]"), STORE)
    with pack(order) as parcel:
        assert [path.name for path in parcel.folder.iterdir()] == ["mine.yaml"]
        assert (parcel.folder / "mine.yaml").read_text() == (folder / "mine.yaml").read_text()
        assert parcel.modules == ()
        command = shlex.split(parcel.entrypoint)
    assert command == ["segtransfer", "run", "mine.yaml", *order.overrides, "--store", STORE]
    assert not parcel.folder.exists()


def test_a_shell_reads_the_command_as_it_was_meant(folder: Path) -> None:
    overrides = ("""data.classes=["it's", "$HOME", "*; exit 1"]""", "attacks.*.eps=8/255")
    with pack(JobRequest(write(folder), overrides, STORE)) as parcel:
        shown = parcel.entrypoint.replace("segtransfer", "printf '%s\\n'", 1)
        answer = subprocess.run(shown, shell=True, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["run", "mine.yaml", *overrides, "--store", STORE]


def test_a_recipe_needs_no_file(folder: Path) -> None:
    with pack(JobRequest("quickstart", store=STORE)) as parcel:
        assert list(parcel.folder.iterdir()) == []
        assert parcel.entrypoint == f"segtransfer run quickstart --store {STORE}"


def test_a_search_goes_as_one(folder: Path) -> None:
    order = JobRequest("quickstart", ("search.trials=3",), "/shared/lab", search=True, resume=True)
    with pack(order) as parcel:
        assert parcel.entrypoint == (
            "segtransfer search quickstart search.trials=3 --store /shared/lab --resume"
        )


def test_a_wrong_spec_is_refused_here(folder: Path) -> None:
    assert "did you mean 'eps'" in refused(JobRequest(write(folder), ("attacks.0.epz=1",), STORE))
    assert "neither a file nor a recipe" in refused(JobRequest("nowhere.yaml", (), STORE))


def test_a_store_that_goes_with_the_job_is_refused(folder: Path) -> None:
    spec = write(folder)
    assert "goes with the job" in refused(JobRequest(spec))
    assert "goes with the job" in refused(JobRequest(spec, store="lab"))
    assert "runtime.log" in refused(JobRequest(spec, ("runtime.log=events.json",), STORE))
    assert "leave the credentials out" in refused(JobRequest(spec, store="s3://me:pw@bucket/lab"))
    for order in (
        JobRequest(spec, store="/shared/lab"),
        JobRequest(spec, ("runtime.store=/shared/lab", "runtime.log=/shared/log")),
        JobRequest(write(folder, runtime={"store": "/shared/lab"})),
    ):
        with pack(order):
            pass


def test_what_lies_beside_the_spec_needs_a_working_folder(folder: Path) -> None:
    data = {"folder": "streets", "classes": ["road", "sky"]}
    order = JobRequest(write(folder, data=data), store=STORE)
    assert "streets" in (message := refused(order))
    assert "--working-dir ." in message
    assert "does not exist" in refused(order, working_dir=".")
    (folder / "streets").mkdir()
    with pack(order, ".") as parcel:
        assert parcel.folder == folder
        assert parcel.entrypoint == f"segtransfer run mine.yaml --store {STORE}"
    outside = JobRequest(write(folder, data=data | {"folder": "../streets"}), store=STORE)
    (folder.parent / "streets").mkdir()
    assert "outside" in refused(outside, working_dir=".")


def test_what_lies_on_the_nodes_is_not_looked_for_here(folder: Path) -> None:
    data = {"folder": "/shared/streets", "classes": ["road", "sky"]}
    with pack(JobRequest(write(folder, data=data), store=STORE)):
        pass


def test_code_of_ones_own_needs_a_working_folder(folder: Path) -> None:
    model = {"name": "mine", "torch": {"callable": "nets.small:build"}}
    order = JobRequest(write(folder, models=[model, "fcn-r18"]), store=STORE)
    with pack(order):
        pass  # no module of that name is here: the nodes may have it
    (folder / "nets").mkdir()
    assert "needs nets" in refused(order)
    with pack(order, "."):
        pass
    (folder / "sub").mkdir()
    (folder / "sub" / "mine.yaml").write_text((folder / "mine.yaml").read_text())
    inside = JobRequest("sub/mine.yaml", store=STORE)
    assert "the module nets" in refused(inside, working_dir="sub")
    with pack(inside, ".") as parcel:
        assert parcel.entrypoint == f"segtransfer run sub/mine.yaml --store {STORE}"
    plain = JobRequest(write(folder), store=STORE)
    assert "does not lie in the working folder" in refused(plain, working_dir="sub")


def test_a_folder_that_would_stand_in_for_ours_is_refused(folder: Path) -> None:
    (folder / "tasks").mkdir()
    assert "holds 'tasks'" in refused(JobRequest(write(folder), store=STORE), working_dir=".")


def test_a_source_tree_as_working_folder_is_what_the_nodes_run() -> None:
    with pack(JobRequest("quickstart", store=STORE), str(ROOT)) as parcel:
        assert parcel.folder == ROOT
        assert parcel.entrypoint.startswith("python -P -m orchestrator.cli run quickstart")


def test_a_wheel_is_sent_as_folders(folder: Path) -> None:
    files = {
        "orchestrator/cli.py": "",
        "tasks/__init__.py": "",
        "segtransfer-0.1.0.dist-info/METADATA": "Version: 0.1.0",
    }
    with zipfile.ZipFile("segtransfer-0.1.0-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    order = JobRequest(write(folder), store=STORE)
    with pack(order, package="segtransfer-0.1.0-py3-none-any.whl") as parcel:
        names = {module.name for module in parcel.modules}
        assert names == {"orchestrator", "tasks", "segtransfer-0.1.0.dist-info"}
        assert (parcel.modules[0] / "cli.py").is_file()
        assert parcel.entrypoint.startswith("python -P -m orchestrator.cli run mine.yaml")
        assert [path.name for path in parcel.folder.iterdir()] == ["mine.yaml"]


def test_a_source_tree_is_sent_without_what_python_compiled(folder: Path) -> None:
    tree = folder / "tree"
    for name in ("orchestrator", "search_spaces", "tasks"):
        (tree / name / "__pycache__").mkdir(parents=True)
        (tree / name / "cli.py").touch()
    (tree / "notes.txt").touch()
    with pack(JobRequest(write(folder), store=STORE), package="tree") as parcel:
        sent = {str(p.relative_to(m.parent)) for m in parcel.modules for p in m.rglob("*")}
    assert sent == {"orchestrator/cli.py", "search_spaces/cli.py", "tasks/cli.py"}


@pytest.mark.parametrize("package", ["nowhere.whl", "mine.yaml", "."])
def test_what_is_no_package_of_ours_is_refused(package: str, folder: Path) -> None:
    assert f"--package {package}" in refused(
        JobRequest(write(folder), store=STORE), package=package
    )


def test_variables_are_handed_on_in_a_file_of_its_owner(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2 'quoted'")
    monkeypatch.setenv("OTHER", "stays")
    order = JobRequest(write(folder), store=STORE)
    with pack(order, env=["MLFLOW_TRACKING_PASSWORD"]) as parcel:
        (module,) = parcel.modules
        assert stat.S_IMODE((module / "variables.json").stat().st_mode) == 0o600
        assert "hunter2" not in parcel.entrypoint + str(parcel.runtime_env())
        assert parcel.runtime_env()["worker_process_setup_hook"] == f"{module.name}.hand_over"
        command = shlex.split(parcel.entrypoint)
        assert command[:6] == ["python", "-P", "-m", module.name, "segtransfer", "run"]
        answer = subprocess.run(
            [sys.executable, *command[1:4], "env"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(module.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert "MLFLOW_TRACKING_PASSWORD=hunter2 'quoted'\n" in answer.stdout
    assert "OTHER" not in answer.stdout


def test_a_job_without_variables_has_no_hook(folder: Path) -> None:
    with pack(JobRequest(write(folder), store=STORE)) as parcel:
        assert set(parcel.runtime_env()) == {"working_dir", "env_vars"}
        assert set(parcel.runtime_env()["env_vars"]) == {"RAY_JOB_STOP_WAIT_TIME_S"}


def test_variables_are_given_by_name_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    order = JobRequest(write(folder), store=STORE)
    assert "AWS_SECRET_ACCESS_KEY" in refused(order, env=["AWS_SECRET_ACCESS_KEY"])
    message = refused(order, env=["PASSWORD=hunter2"])
    assert "give the name alone" in message
    assert "hunter2" not in message
