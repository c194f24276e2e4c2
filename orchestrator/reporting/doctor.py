"""The parts of this installation, and a check of each."""

import os
from importlib.util import find_spec

import torch
from rich.console import Console

from segtransfer.experiment.provenance import versions
from segtransfer.experiment.shadowing import describe_shadow, own_file
from segtransfer.tasks.models.checkpoint import sha256_of
from segtransfer.tasks.models.zoo import ZOO
from segtransfer.tasks.urls import without_credentials


def print_health(console: Console) -> bool:
    """Print one line per fact and per check; return whether all checks passed."""
    checks = [_is_not_shadowed(), *_packages(), *_weights()]
    facts = [*versions().items(), ("device", _device()), ("cores", str(os.cpu_count())), _ray()]
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "sqlite file in this folder")
    facts.append(("mlflow", without_credentials(tracking)))
    for name, value in facts:
        console.print(f"      {name:<22} {value}", highlight=False)
    for good, sentence in checks:
        mark = "[green]ok[/green]  " if good else "[red]BAD[/red] "
        console.print(f"{mark}  {sentence}", highlight=False)
    return all(good for good, _ in checks)


def _is_not_shadowed() -> tuple[bool, str]:
    sentence = describe_shadow()
    return (
        not sentence,
        sentence or f"the package that workers import is segtransfer's ({own_file().parent})",
    )


def _packages() -> list[tuple[bool, str]]:
    return [
        (find_spec(name) is not None, f"{name} can be imported")
        for name in ("ray", "mlflow", "optuna", "pyarrow", "mmseg", "mmcv", "mmengine")
    ]


def _weights() -> list[tuple[bool, str]]:
    lines = []
    for model in ZOO.values():
        if not model.weights.is_file():
            lines.append((False, f"weights of {model.name} are missing; install again"))
        elif sha256_of(model.weights) != model.sha256:
            lines.append((False, f"weights of {model.name} are not those that shipped"))
        else:
            lines.append((True, f"weights of {model.name}: sha256 {model.sha256[:12]}…"))
    return lines


def _device() -> str:
    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return "cpu"


def _ray() -> tuple[str, str]:
    address = os.environ.get("RAY_ADDRESS")
    return "ray cluster", address or "started on this machine by each run"
