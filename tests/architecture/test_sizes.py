"""A file has one subject, a function fits a screen."""

import ast

from tests.architecture.modules import modules, tree

MOST_LINES = {"file": 400, "class": 300, "function": 50}
MOST_PARAMETERS = 9  # of a public function; a private helper has six at most


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


def test_no_private_helper_takes_more_than_six_parameters() -> None:
    many = [
        f"{module}.{node.name}"
        for module, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_")
        if len([a for a in (*node.args.args, *node.args.kwonlyargs) if a.arg != "self"]) > 6
    ]
    assert many == []
