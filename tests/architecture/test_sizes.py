"""A file has one subject, a function fits a screen."""

import ast

from tests.architecture.modules import modules, tree

MOST_LINES = {"file": 400, "class": 300, "function": 50}
MOST_PARAMETERS = {"public": 9, "private": 6}


def lines_of(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def test_no_file_class_or_function_is_too_long() -> None:
    long = []
    for module, path in modules().items():
        if len(path.read_text().splitlines()) > MOST_LINES["file"]:
            long.append(module)
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and lines_of(node) > MOST_LINES["class"]:
                long.append(f"{module}.{node.name}")
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and lines_of(node) > MOST_LINES["function"]:
                long.append(f"{module}.{node.name}")
    assert long == []


def parameters_of(node: ast.FunctionDef) -> int:
    every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return len([argument for argument in every if argument.arg not in ("self", "cls")])


def test_no_function_takes_too_many_parameters() -> None:
    """Verbs of the command have an option per parameter, so they are left out."""
    many = [
        f"{module}.{node.name}"
        for module, path in modules().items()
        if not module.startswith("segtransfer.cli.")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef)
        if parameters_of(node) > MOST_PARAMETERS["private" if node.name[0] == "_" else "public"]
    ]
    assert many == []
