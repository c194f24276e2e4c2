"""The numerics of an experiment reach every model, on every executor, and are told."""

from pathlib import Path
from typing import Any

import pytest

from segtransfer.results import Results
from tests.orchestrator.toy_experiments import run_toy


def numerics_of_evaluations(results: Results) -> list[Any]:
    rows = [results.store.row(key) for *_, key, _ in results.manifest.rows]
    return [row.report["numerics"] for row in rows if row is not None]


@pytest.mark.parametrize(
    "executor", ["inline", pytest.param("ray", marks=pytest.mark.slow)], indirect=True
)
def test_report_of_every_evaluation_has_the_models_options(executor: str, tmp_path: Path) -> None:
    changes = {"attacks": ["noise"], "runtime": {"executor": executor}}
    results = run_toy(tmp_path, numerics={"channels_last": True, "bf16": True}, **changes)
    assert not results.failures
    told = numerics_of_evaluations(results)
    assert len(told) == len(results.manifest.rows)
    for numerics in told:
        assert (numerics["channels_last"], numerics["bf16"], numerics["fold"]) == (
            True,
            True,
            False,
        )
        assert set(numerics["equal_signs"]) == {"channels_last", "bf16"}


def test_results_of_other_numerics_are_never_taken_from_the_store(tmp_path: Path) -> None:
    reference = run_toy(tmp_path, attacks=["noise"])
    fast = run_toy(tmp_path, attacks=["noise"], numerics="fast")
    assert fast.computed == reference.computed > 0
    assert run_toy(tmp_path, attacks=["noise"], numerics="fast").computed == 0
