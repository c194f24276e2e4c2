"""The functions of ``segtransfer`` on toys, in this process."""

from pathlib import Path
from typing import Any

import pytest

from segtransfer import InputError, open_results, open_store, plan, run
from tests.orchestrator.toy_experiments import assert_same_bits, toy_spec


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("api")
    runtime = {"executor": "inline", "store": str(folder / "store"), "tracking": False}
    return toy_spec(folder, runtime=runtime)


def test_results_of_run_are_found_by_plan_and_open_results(spec: dict[str, Any]) -> None:
    before = plan(spec, ["seed=3"])
    assert not before.stored
    results = run(spec, ["seed=3"])
    assert results.computed == len(before.tasks)
    assert plan(spec, ["seed=3"]).stored == before.tasks.keys()
    (opened,) = open_results(spec["runtime"]["store"])
    assert_same_bits(opened, results)
    store = open_store(Path(spec["runtime"]["store"]))
    assert list(store.descriptions()) == [results.identity]


def test_run_of_a_wrong_spec_raises_input_error(spec: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="did you mean 'eps'"):
        run(spec, ["attacks.1.epz=1"])
