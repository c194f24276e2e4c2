"""A space knows the attack's spec, and nothing of Ray, Optuna or the orchestration."""

import ast
import sys
from pathlib import Path

import pytest

from segtransfer import search_spaces

SOURCES = sorted(Path(search_spaces.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_space_imports_the_tasks_and_little_else(path: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    allowed = {"search_spaces", "tasks", "pydantic", "pydantic_core", "yaml"}
    assert names - set(sys.stdlib_module_names) <= allowed
