"""The sbatch file: its three uses, its signals, and a run on two nodes of a fake Slurm."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from segtransfer import open_results
from tests.infra.fake_slurm import Slurm, can_make_nodes, open_slurm
from tests.infra.labs import make_environment, make_wheel, until
from tests.infra.validators import INFRA
from tests.orchestrator.toy_experiments import CLASSES, write_images

SCRIPT = INFRA / "slurm/run.sbatch"
# In the place of segtransfer: its arguments and surroundings; on SIGTERM it exits as a run does.
COMMAND = """#!/bin/bash
echo "arguments: $*"
echo "ray: ${RAY_ADDRESS-none} $RAY_OVERRIDE_RESOURCES"
trap 'echo report; exit 143' TERM
for word in "$@"; do [ "$word" != wait ] || while true; do sleep 0.1; done; done
"""
SRUN = """#!/bin/bash
echo "srun: $*"
while [[ $1 == --* ]]; do shift; done
[ "$1" != rm ] || exec "$@"
[ -e broken ] || { while [ "$1" != -- ]; do shift; done; shift; exec "$@"; }
"""
NETS = """
import time, torch

class Slow(torch.nn.Module):
    num_classes = 3

    def forward(self, images):
        time.sleep(0.1)
        return images - 0.5

def build():
    return Slow()
"""


class Machine:
    """A folder with stubs of the commands that the script calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        activate = folder / "home/segtransfer/.venv/bin/activate"
        activate.parent.mkdir(parents=True)
        activate.touch()
        say = '#!/bin/bash\necho "$0: $*" >> called\n'
        stubs = {"segtransfer": COMMAND, "srun": SRUN, "scontrol": say, "ray": say}
        for name, text in stubs.items():
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)

    def begin(self, *arguments: str, **more: str) -> "subprocess.Popen[str]":
        """Start the script as Slurm does."""
        environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "SLURM_CPUS_ON_NODE": "3",
            "SLURM_JOB_ID": f"{os.getpid()}",
            "SLURM_JOB_NUM_NODES": "1",
            **more,
        }
        return subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **more: str) -> tuple[int, str]:
        """Return the exit code and the output of the script."""
        process = self.begin(*arguments, **more)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def called(self) -> str:
        """Return the calls of ``scontrol`` and ``ray``."""
        path = self.folder / "called"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_one_node_runs_the_spec_on_the_cores_of_the_job(machine: Machine) -> None:
    code, output = machine.run("mine.yaml", "--store", "/shared/my store")
    assert code == 0, output
    assert "arguments: run mine.yaml --store /shared/my store" in output
    assert 'ray: none {"CPU": 3}' in output
    assert "srun" not in output
    assert not Path(f"/tmp/st-{os.getpid()}").exists()


def test_task_of_an_array_runs_its_line(machine: Machine) -> None:
    (machine.folder / "specs.txt").write_text("one.yaml\ntwo.yaml seed=1\n")
    code, output = machine.run("specs.txt", "--store", "s", SLURM_ARRAY_TASK_ID="2")
    assert code == 0, output
    assert "arguments: run two.yaml seed=1 --store s" in output


def test_array_without_such_a_line_fails_with_a_sentence(machine: Machine) -> None:
    (machine.folder / "specs.txt").write_text("one.yaml\n")
    code, output = machine.run("specs.txt", SLURM_ARRAY_TASK_ID="2")
    assert code == 2
    assert "specs.txt has no line 2" in output


def test_several_nodes_are_one_cluster_under_a_token(machine: Machine) -> None:
    code, output = machine.run("mine.yaml", SLURM_JOB_NUM_NODES="4")
    assert code == 0, output
    assert "ray symmetric-run --address" in output
    assert "--min-nodes 4 -- " in output
    assert ":6379 " in output.partition("ray: ")[2], "the run joins the cluster of its job"
    assert "get-auth-token --generate" in machine.called()


def test_cluster_that_did_not_start_is_a_failure(machine: Machine) -> None:
    """``ray symmetric-run`` then exits with 0."""
    (machine.folder / "broken").touch()
    code, output = machine.run("mine.yaml", SLURM_JOB_NUM_NODES="2")
    assert code == 1, output


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_signal_ends_the_run_with_its_report(machine: Machine, number: int, requeued: bool) -> None:
    process = machine.begin("mine.yaml", "wait")
    pid = Path(f"/tmp/st-{os.getpid()}/pid")
    until("the run", lambda: pid.exists() and pid.read_text(), timeout=30)
    time.sleep(0.5)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "report" in output
    assert (f"requeue {os.getpid()}" in machine.called()) == requeued


def test_run_that_ends_before_its_time_is_up_is_not_started_again(machine: Machine) -> None:
    code, output = machine.run("mine.yaml")
    assert code == 0, output
    assert "requeue" not in machine.called()


def test_header_asks_for_the_signal_and_for_the_second_start() -> None:
    lines = SCRIPT.read_text().splitlines()
    options = [line.split()[1] for line in lines if line.startswith("#SBATCH ")]
    assert {"--requeue", "--open-mode=append", "--signal=B:USR1@300"} <= set(options)
    assert "--ntasks-per-node=1" in options


# -- a run on two nodes ---------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """Two nodes with an environment in the home folder that they share."""
    if not can_make_nodes():
        pytest.skip("no namespaces with a network can be made here")
    with open_slurm() as slurm:
        commands = make_environment(slurm.home / "segtransfer/.venv", make_wheel(tmp_path))
        ray = f"#!{commands}/python\nfrom ray.scripts.scripts import main\nmain()\n"
        (commands / "ray").write_text(ray)
        (commands / "ray").chmod(0o755)
        yield slurm


@pytest.mark.slow
def test_job_on_two_nodes_is_stopped_requeued_and_ends_with_its_matrix(slurm: Slurm) -> None:
    """From the sbatch file to a matrix, with the end of the job's time in between."""
    folder, store = slurm.shared / "work", slurm.shared / "store"
    folder.mkdir()
    (folder / "nets.py").write_text(NETS)
    write_images(folder / "data")
    models = [{"name": "slow", "torch": {"callable": "nets:build"}}]
    spec = {
        "name": "mine",
        "data": {"folder": "data", "classes": CLASSES},
        "models": models,
        "attacks": [{"preset": "pgd", "eps": "8/255", "steps": 40}],
        "shard_size": 1,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(spec))
    journal = folder / "journal"
    command = (
        "--nodes=2", str(SCRIPT), "mine.yaml", "--store", str(store), "--no-tracking",
        f"runtime.journal={journal}",
    )  # fmt: skip
    job = slurm.sbatch(folder, *command)
    until("two results", lambda: len(list(store.glob("rows/*/*"))) >= 2 or job.ended())
    job.signal_batch(signal.SIGUSR1)
    assert job.wait() == 143, job.log()
    assert "PARTIAL" in job.log()
    assert (slurm.shared / "scontrol").read_text() == "requeue 7\n"
    done = len(list(store.glob("rows/*/*")))

    again = slurm.sbatch(folder, *command)
    assert again.wait() == 0, again.log()
    assert f"{done} of them already in the store" in again.log()
    (results,) = open_results(store)
    assert not results.missing
    assert results.matrix("pgd").shape == (1, 1)
    slots = set(re.findall(r'"([0-9a-f]{8})-\d+"', journal.read_text()))
    assert len(slots) == 4, "the slots of two nodes in either start"
