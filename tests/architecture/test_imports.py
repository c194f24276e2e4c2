"""Imports run one way, each heavy library enters at one place, and light modules stay light."""

import pkgutil
import subprocess
import sys
from fnmatch import fnmatch

import pytest

from tests.architecture.modules import imported, modules
from tests.conftest import ROOT

# Each group imports itself and earlier groups only; a module belongs to its longest prefix here.
ORDER = (
    "errors shown",
    "tasks",
    "search_spaces",
    "experiment",
    "store",
    "experiment.manifest experiment.manifest_reading experiment.plan",
    "results",
    "statistics",
    "breakdowns",
    "runtime.metrics runtime.scheduler",
    "runtime.executors.base runtime.executors.slot_sizing",
    "runtime",
    "forecast",
    "comparison",
    "studies",
    "searches",
    "jobs",
    "export",
    "leaderboard",
    "reporting",
    "tracking",
    "api",
    "extend",
    "cli",
)

# Library -> modules that may import it, as patterns of paths.
ALLOWED = {
    "ray": [
        "orchestrator/runtime/executors/ray/*.py",
        "orchestrator/searches/tune.py",
        "orchestrator/jobs/client.py",
    ],
    "optuna": ["orchestrator/searches/*.py", "orchestrator/reporting/search*.py"],
    "mlflow": ["orchestrator/tracking/*.py"],
    "mmseg": ["tasks/*/mmseg*.py"],
    "transformers": ["tasks/models/huggingface*.py"],
    "huggingface_hub": ["tasks/models/huggingface*.py"],
    "altair": ["orchestrator/reporting/html/charts.py", "orchestrator/reporting/html/spectrum.py"],
    "jinja2": ["orchestrator/reporting/html/*.py"],
}

LIGHT = {
    "segtransfer": ("torch", "pandas", "ray", "mlflow", "pydantic", "numpy"),
    "segtransfer.errors": ("torch", "pandas", "ray", "mlflow", "pydantic", "numpy"),
    "segtransfer.runtime.scheduler": ("torch", "pandas", "ray", "mlflow", "pydantic", "numpy"),
    "segtransfer.extend": ("ray", "mlflow", "optuna", "segtransfer.runtime", "segtransfer.store"),
    "segtransfer.tasks.attack": ("ray", "mlflow", "optuna", "segtransfer.experiment"),
    "segtransfer.store": ("ray", "mlflow", "optuna", "segtransfer.runtime"),
    "segtransfer.runtime.driver": ("ray", "mlflow", "optuna", "segtransfer.reporting"),
    "segtransfer.runtime.runner": ("ray", "mlflow", "optuna", "segtransfer.reporting"),
    "segtransfer.cli": ("torch", "ray", "mlflow", "optuna", "pandas"),
}


def group_of(module: str) -> int:
    """Return the position in ``ORDER`` of the longest prefix of a module's name."""
    best = (0, -1)
    for position, prefixes in enumerate(ORDER):
        for prefix in prefixes.split():
            full = f"segtransfer.{prefix}"
            if module == full or module.startswith(f"{full}."):
                best = max(best, (len(full), position))
    return best[1]


def test_every_module_belongs_to_a_group() -> None:
    roots = {"segtransfer", "segtransfer.__main__"}
    assert [m for m in modules() if group_of(m) < 0 and m not in roots] == []


def test_imports_run_one_way() -> None:
    back = [
        f"{module} -> {name}"
        for module, path in modules().items()
        for name in imported(path)
        if name in modules()
        and module not in ("segtransfer", "segtransfer.__main__")
        and group_of(name) > group_of(module)
    ]
    assert back == []


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    arrows = {m: {n for n in imported(p) if n in modules()} - {m} for m, p in modules().items()}
    arrows.pop("segtransfer")
    reach: dict[str, set[str]] = {}
    for start in arrows:
        seen, open_ends = set[str](), [start]
        while open_ends:
            for name in arrows.get(open_ends.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    open_ends.append(name)
        reach[start] = seen
    assert sorted(m for m in reach if m in reach[m]) == []


@pytest.mark.parametrize("library", ALLOWED)
def test_a_library_is_imported_only_where_the_design_says(library: str) -> None:
    importers = [
        str(path.relative_to(ROOT))
        for path in modules().values()
        if any(name.split(".")[0] == library for name in imported(path))
    ]
    strays = [path for path in importers if not any(fnmatch(path, p) for p in ALLOWED[library])]
    assert strays == []
    assert importers, f"nothing imports {library}: this test looks in the wrong place"


def test_nothing_needs_torchvision() -> None:
    names = {name.split(".")[0] for path in modules().values() for name in imported(path)}
    assert "torch" in names
    assert "torchvision" not in names


def test_the_scheduler_imports_no_clock() -> None:
    paths = [p for m, p in modules().items() if m.startswith("segtransfer.runtime.scheduler")]
    names = {name for path in paths for name in imported(path)}
    assert "segtransfer.experiment.task" in names
    assert not {name.split(".")[0] for name in names} & {"time", "datetime"}


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(LIGHT[module])


def test_no_public_name_equals_a_submodule_which_would_replace_it() -> None:
    import segtransfer

    submodules = {module.name for module in pkgutil.iter_modules(segtransfer.__path__)}
    assert submodules.isdisjoint(segtransfer.__all__)


def test_every_public_name_loads() -> None:
    import segtransfer

    assert all(getattr(segtransfer, name) is not None for name in segtransfer.__all__)
    assert set(segtransfer.__all__) <= set(dir(segtransfer))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = segtransfer.nothing
