"""Imports run one way, and each heavy library enters at one place."""

import ast
import pkgutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    p for top in ("tasks", "orchestrator", "search_spaces") for p in (ROOT / top).rglob("*.py")
)

# Package -> where it may be imported, as patterns of paths.
ALLOWED = {
    "ray": [
        "orchestrator/executors/ray*.py",
        "orchestrator/search/tune.py",
        "orchestrator/jobs/client.py",
    ],
    "optuna": ["orchestrator/search/*.py", "orchestrator/report/found.py"],
    "search_spaces": ["search_spaces/*.py", "orchestrator/search/*.py"],
    "mlflow": ["orchestrator/tracking/*.py"],
    "mmseg": ["tasks/*/mmseg.py"],
    "transformers": ["tasks/models/huggingface.py"],
    "huggingface_hub": ["tasks/models/huggingface.py"],
    "altair": ["orchestrator/report/page/charts.py"],
    "vl_convert": ["orchestrator/report/page/charts.py"],
    "jinja2": ["orchestrator/report/page/__init__.py"],
    "orchestrator": ["orchestrator/*"],
}


def imported(path: Path) -> Iterator[str]:
    """The absolute names of all modules a file imports, at any depth of its code."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = list(package[: len(package) + 1 - node.level]) if node.level else []
            yield ".".join(parts + ([node.module] if node.module else []))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                yield str(first.value)


def importers(package: str) -> list[str]:
    return [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(name.split(".")[0] == package for name in imported(path))
    ]


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_is_imported_only_where_the_design_says(package: str) -> None:
    found = importers(package)
    strays = [path for path in found if not any(fnmatch(path, p) for p in ALLOWED[package])]
    assert not strays
    assert found, f"nothing imports {package}: this test looks in the wrong place"


def test_tasks_import_nothing_of_the_orchestration() -> None:
    forbidden = {"orchestrator", "ray", "mlflow", "search_spaces", "infra"}
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tasks"):
            assert not {name.split(".")[0] for name in imported(path)} & forbidden, path


def test_search_spaces_know_of_attacks_alone() -> None:
    names = {n for path in (ROOT / "search_spaces").glob("*.py") for n in imported(path)}
    ours = {name for name in names if name.split(".")[0] in ("tasks", "orchestrator", "infra")}
    assert ours
    allowed = ("tasks.attacks", "tasks.schema", "tasks.errors", "tasks.yaml_files")
    assert all(name.startswith(allowed) for name in ours)


def test_nothing_needs_torchvision() -> None:
    assert importers("torchvision") == []


def test_the_scheduler_knows_no_clock_and_no_tensor() -> None:
    files = sorted((ROOT / "orchestrator/scheduler").glob("*.py"))
    names = {name for path in files for name in imported(path)}
    assert "orchestrator.plan" in names
    assert not {name.split(".")[0] for name in names} & {"torch", "time", "datetime", "numpy"}


def test_no_public_function_is_named_as_a_module_which_would_replace_it() -> None:
    import segtransfer as orchestrator

    modules = {module.name for module in pkgutil.iter_modules(orchestrator.__path__)}
    assert modules.isdisjoint(orchestrator.__all__)
