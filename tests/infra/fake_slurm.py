"""A Slurm of two nodes on one machine: ``sbatch`` and ``srun`` over namespaces of Linux.

Each node has its own network address, processes, host name and ``/tmp``, so that Ray runs on it as
on a machine of its own. Its process 1 is the node's daemon: it runs the tasks that are put into the
node's folder. All else is shared, as a file system of a cluster is.
"""

import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.infra.labs import until

NODES = {"node1": "10.77.0.1", "node2": "10.77.0.2"}
MEMBER = ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--mount-proc"]
CLUSTER = ["unshare", "--map-root-user", *MEMBER[1:], "--kill-child"]
PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Nodes, and the cable that joins them. The arguments: the shared folder.
BOOT = f"""
set -e
ip link add node1 type veth peer name node2
for node in {" ".join(NODES)}; do
  {" ".join(MEMBER)} bash "$1/daemon.sh" "$1" $node &
  until [ -e "$1/$node/up" ]; do sleep 0.05; kill -0 $!; done
  ip link set $node netns $!
  echo $! > "$1/$node/pid"
done
{
    "".join(
        f'''
nsenter --target $(cat "$1/{node}/pid") --net ip address add {address}/24 dev {node}
nsenter --target $(cat "$1/{node}/pid") --net ip link set {node} up
nsenter --target $(cat "$1/{node}/pid") --net ip route add default dev {node}
'''
        for node, address in NODES.items()
    )
}
touch "$1/up"
wait
"""
DAEMON = """
set -e
shared=$1 node=$2 tmp=$1/$2/tmp
here=$tmp/${shared#/tmp/}
mkdir -p "$here"
mount --bind "$shared" "$here"
mount --rbind "$tmp" /tmp
hostname $node
ip link set lo up
touch "$shared/$node/up"
while true; do
  for task in "$shared/$node"/*.task; do
    if [ -e "$task" ]; then
      mv "$task" "$task.run"
      ( code=0; bash "$task.run" || code=$?; echo $code > "$task.code.new"
        mv "$task.code.new" "$task.code" ) &
    fi
  done
  sleep 0.1
done
"""
# One task on each node of the job. The highest exit code counts.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
step=$$ code=0
for node in $SLURM_JOB_NODELIST; do
  { export -p; printf 'cd %q; SLURMD_NODENAME=%q exec >> %q 2>&1; ' "$PWD" $node "$SLURM_LOG"
    printf 'exec '; printf '%q ' "$@"; } > "{shared}/$node/$step.new"
  mv "{shared}/$node/$step.new" "{shared}/$node/$step.task"
done
for node in $SLURM_JOB_NODELIST; do
  until [ -e "{shared}/$node/$step.task.code" ]; do sleep 0.1; done
  got=$(cat "{shared}/$node/$step.task.code")
  (( got > code )) && code=$got
done
exit $code
"""
SCONTROL = '#!/bin/bash\necho "$@" >> "{shared}/scontrol"\n'


def can_make_nodes() -> bool:
    """Return whether this process may make namespaces with a network between them."""
    try:
        command = [*CLUSTER, "ip", "link", "add", "node1", "type", "veth", "peer", "name", "node2"]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


class Job:
    """A job: its log, and its script as a task of the first node."""

    def __init__(self, slurm: "Slurm", task: Path, log: Path) -> None:
        self._slurm, self._task, self._log = slurm, task, log
        self._code = Path(f"{task}.code")

    def log(self) -> str:
        """Return the text that the job printed in all its starts."""
        return self._log.read_text()

    def signal_batch(self, number: int) -> None:
        """Send a signal to the script alone, as the option ``--signal=B:...`` asks."""
        pid = self._task.with_suffix(".pid").read_text().strip()
        self._slurm.put("node1", f"kill -{number} {pid}", f"signal-{self._task.stem}")

    def ended(self) -> bool:
        """Return whether the script has ended."""
        return self._code.exists()

    def wait(self) -> int:
        """Return the exit code of the script."""
        until(f"the end of {self._task}", self.ended)
        return int(self._code.read_text())


class Slurm:
    """Two nodes that stay up.

    Args:
        shared: A new folder below ``/tmp`` that the nodes share.
    """

    def __init__(self, shared: Path) -> None:
        self.shared, self.home = shared, shared / "home"
        (shared / "bin").mkdir()
        for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
            path = shared / "bin" / name
            path.write_text(text.replace("{shared}", str(shared)))
            path.chmod(0o755)
        for node in NODES:
            (shared / node).mkdir()
        (shared / "daemon.sh").write_text(DAEMON)
        boot = [*CLUSTER, "bash", "-c", BOOT, "boot", str(shared)]
        self._cluster = subprocess.Popen(boot, env={"PATH": PATH})
        until("the nodes are up", (shared / "up").exists, timeout=60)

    def put(self, node: str, text: str, name: str) -> Path:
        """Give a node a task and return the task's path."""
        task = self.shared / node / f"{name}.task"
        new = task.with_suffix(".new")
        new.write_text(text)
        return new.rename(task)

    def sbatch(self, folder: Path, *arguments: str, job: int = 7, **more: str) -> Job:
        """Start a job as ``sbatch`` does, and again if it was started before.

        Args:
            folder: The folder from which the job is submitted.
            arguments: Options of the form ``--name=value``, the script and its arguments.
            job: The id of the job.
            more: Further variables of the job.
        """
        place = next(n for n, argument in enumerate(arguments) if not argument.startswith("--"))
        script = Path(arguments[place]).read_text()
        options = parsed([*re.findall(r"^#SBATCH (\S+)", script, re.MULTILINE), *arguments[:place]])
        restarts = len(list((self.shared / "node1").glob(f"job-{job}-*.code")))
        spooled = self.shared / "node1" / f"job-{job}-{restarts}.sbatch"  # Slurm runs a copy
        spooled.write_text(script)
        log = folder / f"slurm-{job}.out"
        environment = {
            "PATH": f"{self.shared}/bin:{PATH}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "RAY_USAGE_STATS_ENABLED": "0",
            "SLURM_CPUS_ON_NODE": "1",
            "SLURM_JOB_ID": str(job),
            "SLURM_JOB_NODELIST": " ".join(list(NODES)[: int(options["nodes"])]),
            "SLURM_JOB_NUM_NODES": options["nodes"],
            "SLURM_LOG": str(log),
            **more,
        }
        words = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        command = shlex.join([*words, "bash", str(spooled), *arguments[place + 1 :]])
        pid = spooled.with_suffix(".pid")
        text = f"cd {folder}\necho $$ > {pid}\nexec {command} >> {log} 2>&1\n"
        return Job(self, self.put("node1", text, spooled.stem), log)

    def close(self) -> None:
        """End the nodes with all their processes."""
        self._cluster.send_signal(signal.SIGKILL)
        self._cluster.wait()


def parsed(options: list[str]) -> dict[str, str]:
    """Return the values of options ``--name=value`` by name; the last value counts."""
    return dict(option.removeprefix("--").partition("=")[::2] for option in options)


@contextmanager
def open_slurm() -> Iterator[Slurm]:
    """Open a Slurm in a folder with a short path, which is removed at the end."""
    shared = Path(tempfile.mkdtemp(prefix="st-slurm-", dir="/tmp"))
    slurm = Slurm(shared)
    try:
        yield slurm
    finally:
        slurm.close()
        shutil.rmtree(shared, ignore_errors=True)
