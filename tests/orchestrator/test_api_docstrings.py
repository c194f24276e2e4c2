"""Docstrings of the public API: sections for every function, and examples that are right."""

import ast
import doctest
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segtransfer

FUNCTIONS = {
    name: getattr(segtransfer, name)
    for name in segtransfer.__all__
    if inspect.isfunction(getattr(segtransfer, name))
}
# Functions without Ray, in seconds, with a name that the example assigns and a check of its value.
RUN_HERE: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "attack": ("aes", lambda aes: aes.shape == (1, 3, 64, 64) and 0 < aes.max() <= 8),
    "evaluate": ("percent", lambda percent: 0 <= percent <= 100),
    "load_model": ("classes", lambda classes: classes == 11),
    "open_store": ("table", lambda table: len(table) == 0),
    "plan": ("left", lambda left: left > 0),
}


def examples_of(function: Callable[..., Any]) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.getdoc(function) or "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_docstring_has_every_section_and_argument(name: str) -> None:
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    for section in ("Args", "Returns", "Raises", "Examples"):
        assert re.search(rf"^{section}:$", text, re.MULTILINE), section
    for argument in inspect.signature(FUNCTIONS[name]).parameters:
        assert re.search(rf"^    {argument}: \S", text, re.MULTILINE), argument


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_example_calls_the_function_by_its_signature(name: str) -> None:
    calls = [
        node
        for example in examples_of(FUNCTIONS[name])
        for node in ast.walk(ast.parse(example.source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]
    assert calls
    for call in calls:
        keywords = {str(keyword.arg): keyword.value for keyword in call.keywords}
        inspect.signature(FUNCTIONS[name]).bind(*call.args, **keywords)


@pytest.mark.parametrize("name", RUN_HERE)
def test_function_example_runs(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"np": np, **FUNCTIONS}
    for example in examples_of(FUNCTIONS[name]):
        exec(example.source, names)
    assigned, is_right = RUN_HERE[name]
    assert is_right(names[assigned])


@pytest.mark.parametrize("name", [n for n in segtransfer.__all__ if n != "__version__"])
def test_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(segtransfer, name)
    assert "__doc__" in vars(value) if inspect.isclass(value) else value.__doc__
