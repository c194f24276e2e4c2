"""Private parts of libraries: each is used in one file of ours, and a canary says what it must do.

A private part that an update of its library removes or changes fails here, under its name.
"""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import ray._private.services
import ray._private.state
import ray._private.worker
import torch
from ray.tune.search.optuna import OptunaSearch

from tests.architecture.modules import modules, tree
from tests.conftest import ROOT


def _lists_resources_by_node() -> bool:
    return "resources" in inspect.getsource(ray._private.state.available_resources_per_node)


def _reads_an_address() -> bool:
    read = ray._private.services.canonicalize_bootstrap_address
    with pytest.raises(ValueError, match=":"):
        read("10.0.0.1")
    return bool(read("10.0.0.1:6379") == "10.0.0.1:6379")


def _is_an_option_of_init(name: str) -> Callable[[], bool]:
    return lambda: f'kwargs.pop("{name}", None)' in inspect.getsource(ray._private.worker)


def _maps_trial_ids_to_trials() -> bool:
    return bool(OptunaSearch()._ot_trials == {})


def _is_the_study() -> bool:
    search = OptunaSearch(lambda trial: {}, metric="transfer", mode="max")
    suggested = search.suggest("x")
    study = search._ot_study
    return (
        isinstance(study, optuna.Study)
        and suggested == {}
        and search._ot_trials["x"].study is study
    )


def _is_the_storage() -> bool:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage)
    same = study._storage is storage
    return same and study._storage.get_trial(study.ask()._trial_id).number == 0


def _are_told_by_the_processor() -> bool:
    told = torch.cpu._is_amx_tile_supported(), torch.cpu._is_avx512_bf16_supported()
    return all(isinstance(answer, bool) for answer in told)


NODES, CONNECTION, DRIVER = (
    f"orchestrator/runtime/executors/ray/{name}.py" for name in ("nodes", "connection", "driver")
)
# The private part -> the file that uses it, and its canary.
PRIVATE: dict[str, tuple[str, Callable[[], bool]]] = {
    "ray._private.state.available_resources_per_node": (NODES, _lists_resources_by_node),
    "ray._private.services.canonicalize_bootstrap_address": (CONNECTION, _reads_an_address),
    "_temp_dir": (CONNECTION, _is_an_option_of_init("_temp_dir")),
    "_system_config": (DRIVER, _is_an_option_of_init("_system_config")),
    "self._ot_trials": ("orchestrator/searches/tune.py", _maps_trial_ids_to_trials),
    "self._ot_study": ("orchestrator/searches/tune.py", _is_the_study),
    "study._storage": ("orchestrator/searches/tune.py", _is_the_storage),
    "trial._trial_id": ("orchestrator/searches/optuna_study.py", _is_the_storage),
    "torch.cpu._is_amx_tile_supported": (
        "tasks/models/applied_numerics.py",
        _are_told_by_the_processor,
    ),
    "torch.cpu._is_avx512_bf16_supported": (
        "tasks/models/applied_numerics.py",
        _are_told_by_the_processor,
    ),
}


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_part_is_there_and_does_what_it_must(name: str) -> None:
    assert PRIVATE[name][1]()


def test_each_private_part_is_used_in_its_one_file_and_there_is_no_other() -> None:
    used = {
        (name, str(path.relative_to(ROOT)))
        for path in modules().values()
        for name in _private_names(path)
    }
    assert used == {(name, file) for name, (file, _) in PRIVATE.items()}


def _private_names(path: Path) -> Iterator[str]:
    """Yield private modules, attributes of foreign objects, and options of Ray, as written."""
    own = {"self", "cls", "super()"}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and "._" in str(node.module):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            if ast.unparse(node.value) not in own or node.attr in ("_ot_trials", "_ot_study"):
                yield ast.unparse(node).removeprefix("segtransfer.")
        elif isinstance(node, ast.Constant) and node.value in ("_temp_dir", "_system_config"):
            yield str(node.value)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
