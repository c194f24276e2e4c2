"""What a job gets: its command, its folder, the package; and what is refused before it is sent."""

import os
import shlex
import shutil
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
from tests.infra.labs import copy_sources
from tests.tasks.foreign import on_path, write_module

STORE = "s3://bucket/lab"
SPEC: dict[str, Any] = {
    "data": {"sample": "camvid", "images": 2},
    "models": ["fcn-r18", "pspnet-r18"],
    "attacks": ["pgd"],
}

PARTS = """
from segtransfer.extend import Preset, TransformSpec, View

SHORT = Preset("as pgd", "ours", {"steps": 1})


class Still(TransformSpec):
    def view(self, images, context):
        return View(images)


def loss(logits, labels, context):
    return logits.sum((1, 2, 3))
"""


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


def refused(request: JobRequest, **options: Any) -> str:
    with pytest.raises(InputError) as caught, pack(request, **options):
        pass
    return str(caught.value)


def test_a_job_gets_the_spec_alone(folder: Path) -> None:
    (folder / "secret.txt").write_text("not to be sent")
    request = JobRequest(write(folder), ("attacks.*.eps=8/255", "attacks=[pgd, mi]"), STORE)
    with pack(request) as bundle:
        assert [path.name for path in bundle.folder.iterdir()] == ["mine.yaml"]
        assert (bundle.folder / "mine.yaml").read_text() == (folder / "mine.yaml").read_text()
        assert bundle.modules == ()
        command = shlex.split(bundle.entrypoint)
    assert command == ["segtransfer", "run", "mine.yaml", *request.overrides, "--store", STORE]
    assert not bundle.folder.exists()


def test_command_is_quoted_for_a_shell(folder: Path) -> None:
    overrides = ("""data.classes=["it's", "$HOME", "*; exit 1"]""", "attacks.*.eps=8/255")
    with pack(JobRequest(write(folder), overrides, STORE)) as bundle:
        shown = bundle.entrypoint.replace("segtransfer", "printf '%s\\n'", 1)
        answer = subprocess.run(shown, shell=True, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["run", "mine.yaml", *overrides, "--store", STORE]


def test_a_recipe_needs_no_file(folder: Path) -> None:
    with pack(JobRequest("quickstart", store=STORE)) as bundle:
        assert list(bundle.folder.iterdir()) == []
        assert bundle.entrypoint == f"segtransfer run quickstart --store {STORE}"


def test_search_is_submitted_as_a_search(folder: Path) -> None:
    request = JobRequest(
        "quickstart", ("search.trials=3",), "/shared/lab", search=True, resume=True
    )
    with pack(request) as bundle:
        assert bundle.entrypoint == (
            "segtransfer search quickstart search.trials=3 --store /shared/lab --resume"
        )


def test_wrong_spec_is_refused_before_submission(folder: Path) -> None:
    assert "did you mean 'eps'" in refused(JobRequest(write(folder), ("attacks.0.epz=1",), STORE))
    assert "neither a file nor a recipe" in refused(JobRequest("nowhere.yaml", (), STORE))


def test_store_in_the_working_folder_of_the_job_is_refused(folder: Path) -> None:
    spec = write(folder)
    assert "which Ray deletes" in refused(JobRequest(spec))
    assert "which Ray deletes" in refused(JobRequest(spec, store="lab"))
    assert "runtime.log" in refused(JobRequest(spec, ("runtime.log=events.json",), STORE))
    assert "leave the credentials out" in refused(JobRequest(spec, store="s3://me:pw@bucket/lab"))
    for request in (
        JobRequest(spec, store="/shared/lab"),
        JobRequest(spec, ("runtime.store=/shared/lab", "runtime.log=/shared/log")),
        JobRequest(write(folder, runtime={"store": "/shared/lab"})),
    ):
        with pack(request):
            pass


def test_local_files_of_a_spec_need_a_working_folder(folder: Path) -> None:
    data = {"folder": "streets", "classes": ["road", "sky"]}
    request = JobRequest(write(folder, data=data), store=STORE)
    assert "streets" in (message := refused(request))
    assert "--working-dir ." in message
    assert "does not exist" in refused(request, working_dir=".")
    (folder / "streets").mkdir()
    with pack(request, ".") as bundle:
        assert bundle.folder == folder
        assert bundle.entrypoint == f"segtransfer run mine.yaml --store {STORE}"
    outside = JobRequest(write(folder, data=data | {"folder": "../streets"}), store=STORE)
    (folder.parent / "streets").mkdir()
    assert "outside" in refused(outside, working_dir=".")


def test_absolute_paths_are_not_checked_locally(folder: Path) -> None:
    data = {"folder": "/shared/streets", "classes": ["road", "sky"]}
    with pack(JobRequest(write(folder, data=data), store=STORE)) as bundle:
        assert bundle.entrypoint == f"segtransfer run mine.yaml --store {STORE}"


def test_users_code_needs_a_working_folder(folder: Path) -> None:
    model = {"name": "mine", "torch": {"callable": "nets.small:build"}}
    request = JobRequest(write(folder, models=[model, "fcn-r18"]), store=STORE)
    with pack(request):
        pass  # no module of that name is here: the nodes may have it
    (folder / "nets").mkdir()
    assert "needs nets" in refused(request)
    with pack(request, "."):
        pass
    (folder / "sub").mkdir()
    (folder / "sub" / "mine.yaml").write_text((folder / "mine.yaml").read_text())
    inside = JobRequest("sub/mine.yaml", store=STORE)
    assert "the module nets" in refused(inside, working_dir="sub")
    with pack(inside, ".") as bundle:
        assert bundle.entrypoint == f"segtransfer run sub/mine.yaml --store {STORE}"
    plain = JobRequest(write(folder), store=STORE)
    assert "is not in the working folder" in refused(plain, working_dir="sub")


@pytest.mark.parametrize(
    "attack",
    [
        {"preset": "pgd", "loss": "bundled_parts:loss"},
        {"preset": "pgd", "transforms": [{"bundled_parts:Still": {}}]},
        {"preset": "bundled_parts:SHORT"},
    ],
    ids=str,
)
def test_users_parts_of_an_attack_need_a_working_folder(
    attack: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(folder, "bundled_parts", PARTS)
    request = JobRequest(write(folder, attacks=[attack]), store=STORE)
    with on_path(monkeypatch, folder):
        assert "needs bundled_parts" in refused(request)
        with pack(request, "."):
            pass


@pytest.mark.parametrize("name", ["segtransfer.py", "segtransfer/__init__.py"])
@pytest.mark.parametrize("package", [None, str(ROOT)])
def test_working_folder_that_hides_the_package_is_refused(
    folder: Path, name: str, package: str | None
) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    request = JobRequest(write(folder), store=STORE)
    assert f"holds '{name}'" in refused(request, working_dir=".", package=package)


def test_working_folder_with_names_that_hide_nothing_is_sent(folder: Path) -> None:
    for name in ("tasks", "orchestrator", "search_spaces", "segtransfer"):
        (folder / name).mkdir()
    (folder / "tasks.py").touch()
    with pack(JobRequest(write(folder), store=STORE), ".") as bundle:
        assert bundle.folder == folder
        assert bundle.entrypoint == f"segtransfer run mine.yaml --store {STORE}"


def test_module_called_tasks_needs_a_working_folder_like_any_other(folder: Path) -> None:
    model = {"name": "mine", "torch": {"callable": "tasks:build"}}
    (folder / "tasks.py").touch()
    assert "needs tasks" in refused(JobRequest(write(folder, models=[model]), store=STORE))


def test_source_tree_as_working_folder_carries_no_package() -> None:
    with pack(JobRequest("quickstart", store=STORE), str(ROOT)) as bundle:
        assert bundle.folder == ROOT
        assert bundle.modules == ()
        assert bundle.entrypoint == f"segtransfer run quickstart --store {STORE}"


def test_wheel_as_package_is_sent_as_folders(folder: Path) -> None:
    files = {
        "segtransfer/__main__.py": "",
        "segtransfer/tasks/__init__.py": "",
        "segtransfer-0.1.0.dist-info/METADATA": "Version: 0.1.0",
    }
    with zipfile.ZipFile("segtransfer-0.1.0-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    request = JobRequest(write(folder), store=STORE)
    with pack(request, package="segtransfer-0.1.0-py3-none-any.whl") as bundle:
        names = [module.name for module in bundle.modules]
        assert names == ["segtransfer", "segtransfer-0.1.0.dist-info"]
        top = bundle.modules[0].parent
        assert {str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()} == files.keys()
        assert bundle.entrypoint.startswith("python -P -m segtransfer run mine.yaml")
        assert [path.name for path in bundle.folder.iterdir()] == ["mine.yaml"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source tree with a module of its own, compiled files, and the rest of an earlier build."""
    tree = copy_sources(tmp_path_factory.mktemp("sources") / "tree")
    (tree / "orchestrator/cli/of_this_tree.py").touch()
    stale = tree / "build/lib/segtransfer/stale.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    (tree / "tasks/__pycache__").mkdir()
    (tree / "tasks/__pycache__/old.pyc").touch()
    return tree


def test_source_tree_as_package_is_sent_as_the_content_of_its_wheel(
    folder: Path, tree: Path
) -> None:
    before = sorted(tree.rglob("*"))
    with pack(JobRequest(write(folder), store=STORE), package=str(tree)) as bundle:
        package, metadata = bundle.modules
        assert (package.name, metadata.suffix) == ("segtransfer", ".dist-info")
        assert (package / "cli/of_this_tree.py").is_file()
        assert (package / "tasks/models/zoo/zoo.json").is_file()
        assert (package / "search_spaces/recipes").is_dir()
        assert not list(package.rglob("stale.py"))
        assert not list(package.rglob("*.pyc"))
        assert bundle.entrypoint.startswith("python -P -m segtransfer run mine.yaml")
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "segtransfer", "--version"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(package.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout.startswith("segtransfer ")
    assert sorted(tree.rglob("*")) == before


def test_source_tree_without_a_wheel_is_refused_in_a_sentence(
    folder: Path, tree: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tree, broken)
    (broken / "pyproject.toml").write_text("[project")
    message = refused(JobRequest(write(folder), store=STORE), package=str(broken))
    assert f"--package {broken}: pip cannot build a wheel of this source tree" in message
    assert "\n" not in message


@pytest.mark.parametrize("package", ["nowhere.whl", "mine.yaml", "."])
def test_package_other_than_segtransfer_is_refused(package: str, folder: Path) -> None:
    assert f"--package {package}" in refused(
        JobRequest(write(folder), store=STORE), package=package
    )


def test_variables_are_in_a_file_readable_by_its_owner_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2 'quoted'")
    monkeypatch.setenv("OTHER", "stays")
    request = JobRequest(write(folder), store=STORE)
    with pack(request, env=["MLFLOW_TRACKING_PASSWORD"]) as bundle:
        (module,) = bundle.modules
        assert stat.S_IMODE((module / "variables.json").stat().st_mode) == 0o600
        assert "hunter2" not in bundle.entrypoint + str(bundle.runtime_env())
        assert bundle.runtime_env()["worker_process_setup_hook"] == f"{module.name}.hand_over"
        command = shlex.split(bundle.entrypoint)
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
    with pack(JobRequest(write(folder), store=STORE)) as bundle:
        assert set(bundle.runtime_env()) == {"working_dir", "env_vars"}
        assert set(bundle.runtime_env()["env_vars"]) == {"RAY_JOB_STOP_WAIT_TIME_S"}


def test_variable_with_a_value_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    request = JobRequest(write(folder), store=STORE)
    assert "AWS_SECRET_ACCESS_KEY" in refused(request, env=["AWS_SECRET_ACCESS_KEY"])
    message = refused(request, env=["PASSWORD=hunter2"])
    assert "give the name alone" in message
    assert "hunter2" not in message


def test_a_base_given_by_its_absolute_path_exists_on_the_cluster(
    folder: Path, tmp_path: Path
) -> None:
    team = tmp_path / "shared/team.yaml"
    team.parent.mkdir()
    team.write_text(yaml.safe_dump(SPEC))
    (folder / "mine.yaml").write_text(yaml.safe_dump({"base": str(team)}))
    with pack(JobRequest("mine.yaml", store=STORE)) as bundle:
        assert "mine.yaml" in bundle.entrypoint
    (folder / "mine.yaml").write_text(yaml.safe_dump({"base": "../shared/team.yaml"}))
    with pytest.raises(InputError, match=r"mine.yaml needs .*team.yaml, and only the spec is"):
        pack(JobRequest("mine.yaml", store=STORE)).__enter__()
