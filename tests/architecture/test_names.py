"""One meaning per name: no class and no module constant stands for two things."""

import ast
from collections import defaultdict

from tests.architecture.modules import modules, tree

# What every module of one kind defines under one name, which is the name's meaning.
SHARED = {"log", "ADAPTER_VERSION", "STUDY"}


def test_no_class_name_is_defined_twice() -> None:
    places = defaultdict(list)
    for module, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(module)
            elif isinstance(node, ast.Assign) and _is_type_alias(node.targets[0], node.value):
                places[ast.unparse(node.targets[0]).lstrip("_")].append(module)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_constant_name_is_defined_twice() -> None:
    places = defaultdict(list)
    for module, path in modules().items():
        for node in tree(path).body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            for target in targets:
                if isinstance(target, ast.Name) and target.id.isupper():
                    places[target.id.lstrip("_")].append(module)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in SHARED} == {}


def _is_type_alias(target: ast.expr, value: ast.expr) -> bool:
    """Tell whether an assignment names a type: ``Kind = Literal[...]``."""
    named = isinstance(target, ast.Name) and target.id[:1].isupper() and not target.id.isupper()
    return named and isinstance(value, ast.Subscript | ast.Call | ast.BinOp)
