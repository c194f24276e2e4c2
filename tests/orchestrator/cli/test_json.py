"""``--json``: a value on standard output for other programs, without other text."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli import app
from segtransfer.cli.json_output import print_json
from tests.orchestrator.toy_experiments import blob_of, damage, run_toy, toy_spec

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    run_toy(folder, name="toys")
    return folder


def value_of(*arguments: str, code: int = 0) -> Any:
    answer = runner.invoke(app, [*arguments, "--json"])
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout)


def test_plan_has_counts_per_attack_and_seconds_per_fleet(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump(toy_spec(folder, name="toys", seed=1)))
    value = value_of("plan", str(path), "--slots", "1,8")
    assert value["sources"] == value["targets"] == ["a", "b"]
    assert value["tasks"]["clean scores"]["missing"] == 0
    assert value["tasks"]["pgd"]["missing"] == value["tasks"]["pgd"]["tasks"]
    one, eight = value["fleets"][1:]
    assert (one["devices"], eight["devices"]) == (1, 8)
    assert one["makespan_seconds"] > eight["makespan_seconds"] > 0
    stored = value_of("plan", str(path), "seed=0")
    assert stored["fleets"] == []


def test_comparison_has_a_verdict_and_every_row(folder: Path) -> None:
    value = value_of("compare", "pgd", "ds-mi", "--store", str(folder / "store"))
    (pair,) = value["attacks"]
    assert (pair["a"], pair["b"]) == ("pgd", "ds-mi")
    assert pair["verdict"]
    (results,) = open_results(folder / "store")
    cells = [row for row in value["rows"] if row["kind"] == "cell"]
    assert len(cells) == len(results.sources) * len(results.targets)
    assert not list((folder / "store").glob("reports/*less*"))


def test_maintenance_without_yes_has_a_report_and_removes_nothing(
    folder: Path, tmp_path: Path
) -> None:
    results = run_toy(tmp_path, attacks=["noise"])
    store = results.store.location
    assert value_of("store", "verify", store)["findings"] == []
    damage(blob_of(results.store, results.manifest.rows[0][4]))
    (finding,) = value_of("store", "verify", store, code=1)["findings"]
    assert finding["kind"] == "damaged"
    assert value_of("store", "repair", store)["removed"] == 0
    assert value_of("store", "repair", store, "--yes")["removed"] > 0
    assert value_of("store", "gc", store)["freed_bytes"] == 0
    merged = value_of("store", "merge", store, str(folder / "store"))
    assert merged[str(folder / "store")]["rows"] > 0
    assert value_of("store", "compact", store)["rows"] > 0


def test_error_leaves_standard_output_empty(tmp_path: Path) -> None:
    answer = runner.invoke(app, ["store", "verify", str(tmp_path / "nowhere"), "--json"])
    assert answer.exit_code == 2
    assert answer.stdout == ""


def test_numbers_outside_json_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": np.float64("inf"), "c": {2, 1}, "d": np.int64(3)})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": None, "c": [1, 2], "d": 3}
