"""``compare`` and ``segtransfer compare`` on runs of toys, as a user types them."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import segtransfer
from segtransfer.cli import app
from segtransfer.errors import InputError
from segtransfer.reporting.folder import write_report
from segtransfer.results import Results
from segtransfer.tracking.experiments import log_results
from tests.orchestrator.toy_experiments import run_toy

runner = CliRunner()
ATTACKS = [
    {"preset": "noise", "eps": "8/255"},
    {"preset": "pgd", "eps": "8/255", "steps": 3},
    {"preset": "mi", "eps": "8/255", "steps": 3},
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """Two runs in one store, whose noise and PGD have other seeds."""
    folder = tmp_path_factory.mktemp("compared")
    uniform = {**ATTACKS[1], "start": "uniform"}
    return {
        "first": run_toy(folder, name="first", attacks=ATTACKS),
        "second": run_toy(folder, name="second", attacks=[ATTACKS[0], uniform], seed=7),
    }


@pytest.fixture
def store(runs: dict[str, Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return runs["first"].store.location


def test_two_attacks_are_compared_as_a_pair(runs: dict[str, Results], store: str) -> None:
    comparison = segtransfer.compare("first:pgd", "first:mi", store=store)
    pgd, mi = (runs["first"].matrix(name) for name in ("pgd", "mi"))
    pd.testing.assert_frame_equal(comparison.matrix(), mi - pgd, check_names=False)
    assert segtransfer.compare("first:pgd", "first:mi", store=store).identity == (
        comparison.identity
    )


def test_two_runs_are_compared_over_their_common_attacks(
    runs: dict[str, Results], store: str
) -> None:
    comparison = segtransfer.compare("first", "second", store=store)
    assert comparison.attacks == (("noise", "noise"), ("pgd", "pgd"))
    difference = runs["second"].matrix("pgd") - runs["first"].matrix("pgd")
    pd.testing.assert_frame_equal(comparison.matrix("pgd"), difference, check_names=False)


def test_attack_against_a_run_of_several_attacks_is_refused(store: str) -> None:
    with pytest.raises(InputError, match=r"B \(second-.*noise, pgd"):
        segtransfer.compare("first:pgd", "second", store=store)


def test_command_prints_the_matrix_the_verdict_and_the_path_of_the_report(store: str) -> None:
    answer = runner.invoke(
        app, ["compare", "first:pgd", "first:mi", "--store", store, "--no-tracking"]
    )
    assert answer.exit_code == 0, answer.output
    for text in ("A: pgd", "B: mi", "mi (B) against pgd (A)", "Means: white-box", "below 0"):
        assert text in answer.output
    (folder,) = Path(store, "reports").glob("mi-less-pgd-*")
    assert str(folder) in answer.output.replace("\n", "")


def test_the_command_logs_a_comparison_with_a_logged_run_once(
    runs: dict[str, Results], store: str
) -> None:
    from mlflow.tracking import MlflowClient

    command = ["compare", "first:pgd", "first:mi", "--store", store]
    assert runner.invoke(app, command).exit_code == 0
    assert not Path("mlflow.db").exists(), "B was not logged"

    write_report(runs["first"])
    log_results(runs["first"])
    client = MlflowClient(tracking_uri=f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    experiments: dict[str, list[int]] = {}
    for _ in range(2):
        answer = runner.invoke(app, command)
        assert answer.exit_code == 0, answer.output
        for name in ("first", "first comparisons"):
            found = client.get_experiment_by_name(name)
            experiments.setdefault(name, []).append(len(client.search_runs([found.experiment_id])))
    assert experiments["first comparisons"] == [1, 1]
    assert experiments["first"][0] == experiments["first"][1]


def test_incomparable_runs_end_with_code_2_and_a_message(store: str) -> None:
    run_toy(Path(store).parent, name="weak", attacks=[{**ATTACKS[1], "eps": "4/255"}])
    refused = runner.invoke(app, ["compare", "first:pgd", "weak", "--store", store])
    assert refused.exit_code == 2
    assert "eps is linf 8/255 in A's pgd and linf 4/255 in B's pgd" in refused.stderr
    assert "Traceback" not in refused.output
    options = ["--store", store, "--allow", "eps,numerics", "--no-tracking"]
    allowed = runner.invoke(app, ["compare", "first:pgd", "weak", *options])
    assert allowed.exit_code == 0, allowed.output
    assert "Note: eps is linf 8/255" in allowed.output


def test_an_unknown_reference_ends_with_code_2(store: str) -> None:
    answer = runner.invoke(app, ["compare", "first:pgd", "nothing", "--store", store])
    assert answer.exit_code == 2
    assert "matches 'nothing'" in answer.stderr
