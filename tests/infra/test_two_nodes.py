"""A cluster of two nodes, as people use one: jobs from an empty folder, nodes that die, SIGTERM.

The nodes run in an environment of their own, into which the wheel is installed; the libraries that
it depends on are those of this one.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml

from segtransfer import open_results
from segtransfer.store import Store
from tests.conftest import ROOT
from tests.infra.labs import Lab, copy_sources, open_lab, until
from tests.loaded import FOLDER_NAMES
from tests.orchestrator.toy_experiments import CLASSES, assert_same_bits, write_images

# The quickstart on two of its images, both in one shard: an attack takes two seconds.
QUICKSTART = ("quickstart", "data.images=2", "schedule_groups=1")
NETS = """
import hashlib
import os
import pathlib
import time

import torch


class Slow(torch.nn.Module):
    num_classes = 3

    def __init__(self, hold):
        super().__init__()
        self.hold = hold

    def forward(self, images):
        time.sleep(0.1)
        while os.path.exists(self.hold):
            time.sleep(0.1)
        return images - 0.5


def build(hold):
    # Which secret this process was handed, for the test to look at and not for anybody to read.
    received = hashlib.sha256(os.environ.get("MLFLOW_TRACKING_PASSWORD", "").encode())
    with pathlib.Path(hold).with_name("received").open("a") as file:
        file.write(received.hexdigest() + "\\n")
    return Slow(hold)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with open_lab() as lab:
        lab.start("head")
        yield lab


def own(folder: Path, **changes: Any) -> str:
    """A spec with data and a model that lie beside it; the model waits while ``hold`` exists."""
    folder.mkdir()
    (folder / "nets.py").write_text(NETS)
    write_images(folder / "data")
    torch = {"callable": "nets:build", "arguments": {"hold": str(folder / "hold")}}
    spec = {
        "name": folder.name,
        "data": {"folder": "data", "classes": CLASSES},
        "models": [{"name": "slow", "torch": torch}],
        "attacks": [{"preset": "pgd", "eps": "8/255", "steps": 4}],
        "shard_size": 1,
        **changes,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(spec))
    return "mine.yaml"


class Journal:
    """What the driver's scheduler was told and decided, as far as it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self._path.exists():
            for line in self._path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    yield json.loads(line)

    def attacks(self) -> set[str]:
        """Keys of the attacks."""
        submitted = [line for line in self._lines() if line["event"] == "submit"]
        return {task[0] for line in submitted for task in line["tasks"] if task[6] == "attack"}

    def started(self) -> list[tuple[str, str]]:
        """Slot and key of every call, in order."""
        decided = [line["decisions"] for line in self._lines() if line["event"] == "decide"]
        return [(slot, key) for made in decided for what, slot, key in made if what == "start"]

    def done(self) -> set[str]:
        return {line["key"] for line in self._lines() if line["event"] == "done"}

    def at_work(self, node: str) -> list[str]:
        """What the slots of a node have begun and not ended: one each, in a window of one."""
        begun, done = self.started(), self.done()
        return [key for slot, key in begun if node.startswith(slot[:8]) and key not in done]

    def lost(self, node: str) -> set[str]:
        """What the slots of a node had begun and not ended when the first of them went."""
        begun: set[str] = set()
        for line in self._lines():
            if line["event"] == "remove_slot" and node.startswith(line["slot_id"][:8]):
                return begun
            if line["event"] == "decide":
                starts = [made for made in line["decisions"] if made[0] == "start"]
                begun |= {key for _, slot, key in starts if node.startswith(slot[:8])}
            elif line["event"] == "done":
                begun.discard(line["key"])
        return set()


@pytest.fixture
def five_minutes() -> Iterator[None]:
    """What a first job may take a user, from the command to its matrices; a machine that does
    other work beside these tests may not keep to it."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("still running after five minutes")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.pages
def test_a_node_that_dies_in_an_attack_costs_no_bit(
    lab: Lab, tmp_path: Path, five_minutes: None
) -> None:
    """The quickstart, submitted from an empty folder."""
    (folder := tmp_path / "empty").mkdir()
    worker, head = lab.start("worker"), lab.node_id("head")
    journal = Journal(tmp_path / "journal")
    following = lab.begin(
        folder, "segtransfer", "submit", *QUICKSTART, "--address", lab.address,
        "--store", str(tmp_path / "store"), f"runtime.journal={tmp_path / 'journal'}",
        "runtime.tracking=false", "runtime.window=1",
    )  # fmt: skip

    def attack_on_the_worker() -> list[str]:
        assert following.poll() is None, following.communicate()[0]
        return [key for key in journal.at_work(worker) if key in journal.attacks()]

    def caught() -> bool:
        """Stop the worker inside an attack: the driver has heard of its end, or never will."""
        until("an attack on the worker", attack_on_the_worker)
        time.sleep(0.2)  # into its steps
        lab.stop("worker")
        time.sleep(0.5)  # what was said before the stop is heard
        if attack_on_the_worker():
            return True
        lab.go_on("worker")
        return False

    until("an attack that is stopped in its steps", caught)
    lab.kill("worker")
    output, _ = following.communicate(timeout=600)
    assert following.returncode == 0, output
    # A quick run may end before Ray knows that the node died; the lost slot is named either way.
    lost_slot = rf"slot {worker[:8]}-\d+"
    assert re.search(rf"the node of {lost_slot} died|{lost_slot}: Actor\w+Error", output)
    assert "was restarted" not in output, "the driver is where its job is, on the head"

    lost, started = journal.lost(worker), journal.started()
    assert lost & journal.attacks()
    nodes = {key: [slot[:8] for slot, started_key in started if started_key == key] for key in lost}
    assert nodes == {key: [worker[:8], head[:8]] for key in lost}, "begun there, done again here"
    assert {slot[:8] for slot, _ in started} == {worker[:8], head[:8]}
    (results,) = open_results(tmp_path / "store")
    assert not results.missing
    oracle = lab.run(
        folder, "segtransfer", "run", *QUICKSTART, "--executor", "inline",
        "--store", str(tmp_path / "oracle"), "--no-tracking",
    )  # fmt: skip
    assert oracle.returncode == 0, oracle.stdout
    assert_same_bits(results, open_results(tmp_path / "oracle")[0])


@pytest.mark.slow
def test_source_tree_as_package_runs_on_both_nodes(lab: Lab, tmp_path: Path) -> None:
    """Not the package that is installed there: the tree's quickstart has another name."""
    tree = copy_sources(tmp_path / "tree")
    recipe = tree / "tasks" / "recipes" / "quickstart.yaml"
    recipe.write_text(recipe.read_text().replace("name: quickstart", "name: of-the-tree"))
    nodes = {lab.start("worker")[:8], lab.node_id("head")[:8]}
    journal = Journal(tmp_path / "journal")
    answer = lab.run(
        tree, "segtransfer", "submit", *QUICKSTART, "--package", ".", "--address", lab.address,
        "--store", str(tmp_path / "store"), f"runtime.journal={tmp_path / 'journal'}",
        "runtime.tracking=false",
    )  # fmt: skip
    lab.kill("worker")
    assert answer.returncode == 0, answer.stdout
    (results,) = open_results(tmp_path / "store")
    assert results.name == "of-the-tree"
    assert not results.missing
    assert {slot[:8] for slot, _ in journal.started()} == nodes


@pytest.mark.slow
def test_job_beside_files_named_as_our_folders_loads_none_of_them(lab: Lab, tmp_path: Path) -> None:
    """Each file ends the process that imports it; a worker's model looks at ``sys.modules`` too."""
    folder = tmp_path / "beside"
    spec = own(folder, attacks=["fgsm"])
    for name in FOLDER_NAMES:
        (folder / f"{name}.py").write_text("raise SystemExit('a stranger was imported')\n")
    look = f"        assert not {set(FOLDER_NAMES)} & sys.modules.keys()\n"
    nets = NETS.replace("        return images", f"{look}        return images")
    nets = f"import sys\n{nets}"
    (folder / "nets.py").write_text(nets)
    answer = lab.run(
        folder, "segtransfer", "submit", spec, "--working-dir", ".", "--address", lab.address,
        "--store", str(tmp_path / "store"), "runtime.tracking=false",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    assert not open_results(tmp_path / "store")[0].missing


@pytest.mark.slow
def test_the_exit_code_of_a_job_is_that_of_its_command(lab: Lab, tmp_path: Path) -> None:
    """What only the nodes can find wrong is told by them, and comes back as code 2."""
    answer = lab.run(
        tmp_path, "segtransfer", "submit", "quickstart", "data.images=70", "--address", lab.address,
        "--store", str(tmp_path / "store"),
    )  # fmt: skip
    assert answer.returncode == 2, answer.stdout
    assert "only 32" in answer.stdout
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_without_the_token_a_sentence_says_what_is_missing(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    command = ("segtransfer", "job", "status", "raysubmit_1", "--address", lab.address)
    for wrong in ({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}, {"RAY_AUTH_MODE": "disabled"}):
        answer = lab.run(tmp_path, *command, **wrong)
        assert answer.returncode == 2, answer.stdout
        assert "RAY_AUTH_TOKEN_PATH" in answer.stdout
        assert "Traceback" not in answer.stdout


@pytest.mark.slow
def test_rays_own_command_runs_a_folder(lab: Lab, tmp_path: Path) -> None:
    """``ray job submit --working-dir . -- segtransfer run X``."""
    folder = tmp_path / "rays"
    spec = own(folder)
    answer = lab.run(
        folder, "python", "-m", "ray.scripts.scripts", "job", "submit", "--address", lab.address,
        "--working-dir", ".", "--",
        "segtransfer", "run", spec, "--store", str(tmp_path / "store"), "--no-tracking",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    assert "Computed" in answer.stdout
    assert not open_results(tmp_path / "store")[0].missing


@pytest.mark.slow
def test_one_file_copied_to_the_head_runs_from_the_home_folder(lab: Lab, tmp_path: Path) -> None:
    """``ray submit CLUSTER infra/submit.py -- run X``: Ray copies the file, and runs it there."""
    own(tmp_path / "shim", attacks=["fgsm"])
    for name in ("mine.yaml", "nets.py"):
        shutil.copy(tmp_path / "shim" / name, lab.home)
    shutil.copytree(tmp_path / "shim" / "data", lab.home / "data")
    shutil.copy(ROOT / "infra" / "submit.py", lab.home)
    for name in ("tasks", "segtransfer"):  # somebody's own folders: they hide nothing
        (lab.home / name).mkdir()
    answer = lab.run(
        lab.home, "python", "submit.py", "run", "mine.yaml", "--store", str(tmp_path / "store"),
        "--no-tracking",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    assert "Computed" in answer.stdout
    assert not open_results(tmp_path / "store")[0].missing
    wrong = lab.run(lab.home, "python", "submit.py", "run", "nowhere.yaml")
    assert wrong.returncode == 2, wrong.stdout


@pytest.mark.slow
def test_a_stopped_job_keeps_what_it_did_and_mlflow_says_killed(lab: Lab, tmp_path: Path) -> None:
    """Submitted with a secret, its terminal lost, stopped, and run to its end by a second job."""
    folder, store, secret = tmp_path / "long", tmp_path / "store", "hunter2-sesame"
    spec = own(folder)
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    more = {"MLFLOW_TRACKING_URI": database, "MLFLOW_TRACKING_PASSWORD": secret}
    command = (
        "segtransfer", "submit", spec, "--working-dir", ".", "--store", str(store),
        "--address", lab.address, "--env", "MLFLOW_TRACKING_URI",
        "--env", "MLFLOW_TRACKING_PASSWORD", "--package", str(lab.wheel),
    )  # fmt: skip
    following = lab.begin(folder, *command, **more)
    rows = store / "rows"
    until("the middle of the run", lambda: len(list(rows.rglob("*.parquet"))) > 2)
    (folder / "hold").touch()
    os.killpg(following.pid, signal.SIGHUP)
    output, _ = following.communicate()
    (job,) = set(re.findall(r"raysubmit_\w+", output))

    stopped = lab.run(folder, "segtransfer", "job", "stop", job, "--address", lab.address)
    assert stopped.returncode == 0, stopped.stdout
    assert f"{job}: stopped" in stopped.stdout
    done = len(Store(str(store)).keys())
    assert "KILLED" in statuses(tmp_path / "mlflow.db")
    followed = lab.run(folder, "segtransfer", "job", "follow", job, "--address", lab.address)
    assert followed.returncode == 143
    assert "PARTIAL" in followed.stdout

    (folder / "hold").unlink()
    again = lab.run(folder, *command, **more)
    assert again.returncode == 0, again.stdout
    assert f"{done} of them already in the store" in again.stdout
    assert statuses(tmp_path / "mlflow.db") == {"FINISHED"}
    shown = stopped.stdout + followed.stdout + again.stdout + output
    assert secret not in shown
    received = (folder / "received").read_text().split()
    assert set(received) == {hashlib.sha256(secret.encode()).hexdigest()}
    logs = list(lab.logs())
    assert any(job in path.name for path in logs), "what Ray wrote of this job is among them"
    assert holding(secret, logs) == []
    assert holding(secret, [*store.rglob("*"), tmp_path / "mlflow.db"]) == []


def statuses(database: Path) -> set[str]:
    """The states of all runs in MLflow's database."""
    with sqlite3.connect(database) as connection:
        return {status for (status,) in connection.execute("select status from runs")}


def holding(text: str, paths: Any) -> list[Path]:
    """The files that hold a text."""
    return [path for path in paths if path.is_file() and text.encode() in path.read_bytes()]
