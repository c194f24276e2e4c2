"""Pages of the reference that are made from code: they are current, and their tables complete."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT

# Variables in infra by the first word of their names; other words of capitals are constants.
READERS = "AWS|DEBIAN|MLFLOW|MMCV|NVIDIA|OMP|PIP|POSTGRES|RAY|SEGTRANSFER|SLURM|TUNE|XDG"
INFRA_FILES = ("*.sh", "*.yaml", "*.sbatch", "Dockerfile", "submit.py")
READING = {"get", "pop", "setdefault", "getenv"}


@pytest.fixture(scope="module", autouse=True)
def docs_on_the_path() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "docs"))
    yield
    sys.path.remove(str(ROOT / "docs"))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("generate", "pages")]:
        del sys.modules[name]


def page_module(name: str) -> ModuleType:
    return import_module(f"pages.{name}")


def test_generated_pages_are_current() -> None:
    for file, text in import_module("generate").generated().items():
        assert file.read_text() == text, f"{file.name} is not current: run python docs/generate.py"


def test_lines_of_generated_pages_fit_120_characters() -> None:
    wide = [
        line
        for file in import_module("generate").generated()
        for line in file.read_text().splitlines()
        if len(line) > 120 and not line.startswith(("|", "    "))
    ]
    assert wide == []


def test_table_of_units_has_no_class_and_no_field_that_is_gone() -> None:
    from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS
    from segtransfer.tasks.attacks.transforms import TRANSFORMS

    entries = [*TRANSFORMS.values(), *GRADIENTS.values()]
    classes = page_module("spec")._classes() | {spec.__name__: spec for spec in entries}
    units: dict[str, dict[str, str]] = page_module("fields").UNITS
    assert set(units) <= set(classes)
    for name, fields in units.items():
        assert set(fields) <= set(classes[name].model_fields), name


def test_table_of_remedies_has_every_error_and_no_other() -> None:
    errors = page_module("errors")
    assert set(errors.REMEDIES) == {error.__name__ for error in errors.error_classes()}


def variables_of_the_page() -> dict[str, set[str]]:
    """Return the variables of the page by the title of their table."""
    return {group.title: set(group.variables) for group in page_module("environment").GROUPS}


def test_variables_that_the_code_reads_are_on_the_page() -> None:
    found = set[str]()
    for folder in ("orchestrator", "tasks", "search_spaces"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            texts = {
                target.id: node.value.value
                for node in tree.body
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            found |= {texts.get(name, name) for name in read_variables(tree)}
    found -= {"name"}  # of the user, handed to a job; or RAY_TMPDIR and TMPDIR
    tables = variables_of_the_page()
    assert found <= tables["Read by segtransfer"] | tables["Set by segtransfer"]
    assert tables["Read by segtransfer"] - found <= {
        "RAY_API_SERVER_ADDRESS",
        "RAY_TMPDIR",
        "TMPDIR",
    }
    assert tables["Set by segtransfer"] - found <= {"RAY_JOB_STOP_WAIT_TIME_S"}


def read_variables(tree: ast.AST) -> Iterator[str]:
    """Yield the variables that a module reads or sets: their names, or names of constants."""
    for node in ast.walk(tree):
        named: Any = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in READING and "environ" in ast.unparse(node.func.value):
                named = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            named = node.slice
        if isinstance(named, ast.Constant):
            yield named.value
        elif isinstance(named, ast.Name):
            yield named.id


def test_variables_of_the_files_in_infra_are_on_the_page() -> None:
    texts = [
        path.read_text()
        for pattern in INFRA_FILES
        for path in (ROOT / "infra").rglob(pattern)
        if "benchmarks" not in path.parts
    ]
    found = set(re.findall(rf"\b(?:{READERS})_[A-Z][A-Z_0-9]*\b", "\n".join(texts)))
    tables = variables_of_the_page()
    assert found <= set.union(*tables.values())
    assert tables["Read by the files in infra"] <= found


def test_every_rule_but_the_combinations_has_an_oracle_that_exists() -> None:
    from segtransfer.tasks.attacks.presets import PRESETS

    oracles = page_module("oracles").ORACLES
    combinations = {"di-mi", "rdi-mi", "ti-mi", "di-ti-mi", "best-transfer"}
    combinations |= {f"ds-{part}" for part in ("mi", "ti", "ni", "vt", "flip-mi", "si-mi", "tuned")}
    assert set(PRESETS) - set(oracles) == combinations
    assert set(oracles) <= set(PRESETS)
    tests = ROOT / "tests" / "tasks" / "attacks"
    named = {name for oracle in oracles.values() for name in re.findall(r"`(.+?)`", oracle.test)}
    assert len(named) > 10
    assert [name for name in named if not (tests / name).is_file()] == []


def test_rules_compared_on_networks_are_those_of_the_tests() -> None:
    tested = import_module("tests.tasks.attacks.test_oracle_networks").COVERED
    assert tested == page_module("oracles").ON_NETWORKS
