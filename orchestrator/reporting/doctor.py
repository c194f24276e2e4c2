"""The parts of this installation, and a check of each, in this process and on Ray's workers."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from rich.console import Console
from rich.markup import escape

from segtransfer.errors import InputError
from segtransfer.experiment.provenance import versions
from segtransfer.experiment.shadowing import describe_shadow, own_file
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.zoo import ZOO
from segtransfer.tasks.urls import without_credentials

if TYPE_CHECKING:
    from segtransfer.runtime.executors.ray.inspection import Surroundings

PACKAGES = ("ray", "mlflow", "optuna", "pyarrow", "mmseg", "mmcv", "mmengine")
EXTRAS = {
    "transformers": "models of Hugging Face need pip install 'segtransfer[huggingface]'",
    "psycopg": "a search on PostgreSQL needs pip install 'segtransfer[postgresql]'",
    "psycopg2": "an MLflow on PostgreSQL needs pip install psycopg2-binary",
}
GB = 2**30
LEAST_MEMORY, LEAST_SHARED_MEMORY, LEAST_DISK = 2 * GB, GB // 2, 2 * GB
JOIN_TIMEOUT = 10.0  # seconds for the cluster of RAY_ADDRESS
MARKS = {"ok": "[green]ok[/green]  ", "note": "[yellow]note[/yellow]", "bad": "[red]BAD[/red] "}


@dataclass(frozen=True)
class Check:
    """The outcome of a check (passed, worth a note, or bad), and a sentence with the action."""

    outcome: Literal["ok", "note", "bad"]
    sentence: str


def print_health(console: Console, server_trouble: Callable[[str], str]) -> bool:
    """Print one line per fact and per check; return whether no check is bad.

    Args:
        console: The terminal.
        server_trouble: A function from the URL of an MLflow server to a predicate with an
            action, or '' if the server answers.

    Returns:
        False if a check is bad, for example if a required package is missing; notes leave the
        result True.
    """
    facts = [*versions().items(), ("device", _device()), ("cores", str(os.cpu_count())), _ray()]
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "sqlite file in this folder")
    facts.append(("mlflow", without_credentials(tracking)))
    for name, value in facts:
        console.print(f"      {name:<22} {escape(value)}", highlight=False)
    good = True
    for check in _checks(server_trouble):
        good &= check.outcome != "bad"
        console.print(f"{MARKS[check.outcome]}  {escape(check.sentence)}", highlight=False)
    return good


def _checks(server_trouble: Callable[[str], str]) -> Iterator[Check]:
    shadow = describe_shadow()
    root = own_file().parent
    yield _check(not shadow, f"workers import segtransfer from {root}", shadow)
    for name in PACKAGES:
        yield _check(
            find_spec(name) is not None,
            f"{name} can be imported",
            f"{name} is not installed; install segtransfer again",
        )
    for name, need in EXTRAS.items():
        missing = f"{name} is not installed: {need}"
        yield _check(find_spec(name) is not None, f"{name} can be imported", missing, "note")
    yield from _server(server_trouble)
    yield from _weights()
    yield _token()
    yield from _disks()
    if not shadow:
        yield from _workers()


def _check(
    passed: bool, sentence: str, otherwise: str, outcome: Literal["note", "bad"] = "bad"
) -> Check:
    return Check("ok", sentence) if passed else Check(outcome, otherwise)


def _server(server_trouble: Callable[[str], str]) -> Iterator[Check]:
    """Check the MLflow server of ``MLFLOW_TRACKING_URI``, if that is an http(s) URL."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith(("http://", "https://")) and find_spec("mlflow") is not None:
        trouble, server = server_trouble(uri), f"MLflow at {without_credentials(uri)}"
        yield _check(not trouble, f"{server} answers", f"{server} {trouble}")


def _weights() -> Iterator[Check]:
    for model in ZOO.values():
        if not model.weights.is_file():
            yield Check("bad", f"weights of {model.name} are missing; install segtransfer again")
        elif sha256_of(model.weights) != model.sha256:
            hint = "install segtransfer again"
            yield Check("bad", f"weights of {model.name} differ from the shipped weights; {hint}")
        else:
            yield Check("ok", f"weights of {model.name}: sha256 {model.sha256[:12]}…")


def _token() -> Check:
    """Check the file of the token that Ray's nodes share."""
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Check("ok", "Ray's token is in RAY_AUTH_TOKEN")
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    if path.is_file() and os.access(path, os.R_OK):
        return Check("ok", f"Ray's token is in {path}")
    if given:
        return Check(
            "bad", f"RAY_AUTH_TOKEN_PATH names {path}, which cannot be read; correct the path"
        )
    if os.environ.get("RAY_ADDRESS"):
        hint = "if the cluster needs a token, copy the head node's file or set RAY_AUTH_TOKEN_PATH"
        return Check("note", f"Ray has no token in {path}; {hint}")
    return Check("ok", "Ray creates a token with the first cluster of this machine")


def _disks() -> Iterator[Check]:
    """Check that the store's and the temporary folder can be written, and have space."""
    for name, path, variable in (
        ("working folder", Path.cwd(), "runtime.store"),
        ("temporary folder", Path(tempfile.gettempdir()), "TMPDIR"),
    ):
        free = shutil.disk_usage(path).free
        if not os.access(path, os.W_OK):
            yield Check("bad", f"{name} {path} cannot be written; set {variable} to another folder")
            continue
        some = f"{name} {path}: {_gigabytes(free)} of disk space are free"
        hint = f"{some}; delete files, or set {variable} to a folder on another disk"
        yield _check(free >= LEAST_DISK, some, hint, "note")


def _workers() -> Iterator[Check]:
    """Start or join a cluster and check a worker on each of its nodes."""
    from segtransfer.runtime.executors.ray.driver import join_cluster
    from segtransfer.runtime.executors.ray.inspection import look_around, look_from_workers

    try:
        connection = join_cluster("segtransfer-doctor", timeout=JOIN_TIMEOUT)
    except (InputError, OSError, RuntimeError) as error:
        yield Check("bad", f"cannot check any worker: {without_credentials(str(error))}")
        return
    try:
        here = look_around(os.getcwd())
        for node, there in look_from_workers(os.getcwd()).items():
            yield from _compared(f"a worker on {node}", here, there)
    finally:
        if connection is not None:
            connection.close()


def _compared(who: str, here: "Surroundings", there: "Surroundings | str") -> Iterator[Check]:
    if isinstance(there, str):
        hint = "install segtransfer on the node with this Python and these versions"
        yield Check("bad", f"{who} fails ({there}); {hint}")
        return
    different = [
        f"{name} {there.versions.get(name, 'missing')} "
        f"instead of {here.versions.get(name, 'missing')}"
        for name in sorted(here.versions.keys() | there.versions.keys())
        if here.versions.get(name) != there.versions.get(name)
    ]
    if here.python != there.python:
        different.insert(0, f"Python {there.python} instead of {here.python}")
    if here.code != there.code:
        different.append(f"different code of segtransfer ({there.root})")
    same = f"{who} has the same versions and code ({there.root})"
    hint = f"{who} has {', '.join(different)}; install the same versions on the node"
    yield _check(not different, same, hint)
    folder = os.getcwd()
    seen = f"{who} imports your modules from {folder}"
    hint = (
        f"{who} cannot import your modules from {folder}, so losses and models of your own fail; "
        "share the folder with the node under the same path"
    )
    yield _check(there.modules is not None and there.modules == here.modules, seen, hint, "note")
    yield from _memory(who, there)


def _memory(who: str, there: "Surroundings") -> Iterator[Check]:
    if there.memory is not None:
        free = f"{who} has {_gigabytes(there.memory)} of free memory"
        hint = f"{free}; lower runtime.fleet.slots, because each slot takes about 1.5 GB"
        yield _check(there.memory >= LEAST_MEMORY, free, hint, "note")
    if there.shared_memory is not None:
        free = f"{who} has {_gigabytes(there.shared_memory)} of /dev/shm"
        hint = f"{free}; start the container with --shm-size=2g, or Ray uses the disk"
        yield _check(there.shared_memory >= LEAST_SHARED_MEMORY, free, hint, "note")


def _gigabytes(size: int) -> str:
    return f"{size / GB:.1f} GB"


def _device() -> str:
    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return "cpu"


def _ray() -> tuple[str, str]:
    address = os.environ.get("RAY_ADDRESS")
    return "ray cluster", address or "started on this machine by each run"
