"""Comparisons in MLflow: what is logged, where, once, with links to what was compared."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

import segtransfer
from segtransfer.comparison import Comparison, compare_results
from segtransfer.comparison.references import find_run
from segtransfer.errors import InputError
from segtransfer.reporting.comparison import write_comparison
from segtransfer.reporting.folder import write_report
from segtransfer.results import Results
from segtransfer.tracking.comparisons import log_comparison
from segtransfer.tracking.experiments import log_results
from segtransfer.tracking.places import tracking_uri
from segtransfer.tracking.runs import read_run
from tests.orchestrator.comparison.runs import run_of
from tests.orchestrator.toy_experiments import run_toy

BASE, MORE = [10, 20, 30, 40], [14, 25, 35, 46]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One MLflow for all: a fresh database takes seconds."""
    folder = tmp_path_factory.mktemp("comparisons")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture(scope="module")
def logged(folder: Path) -> Results:
    """Toys whose own runs are in MLflow."""
    results = run_toy(folder, name="toys")
    write_report(results)
    log_results(results)
    return results


def log(comparison: Comparison) -> list[Run]:
    """The runs of a comparison that is logged twice."""
    write_comparison(comparison)
    for _ in range(2):
        log_comparison(comparison)
    return runs_of(f"{comparison.b.name} comparisons")


def runs_of(name: str) -> list[Run]:
    client = MlflowClient(tracking_uri=tracking_uri())
    experiment = client.get_experiment_by_name(name)
    return list(client.search_runs([experiment.experiment_id]))


def test_comparison_of_two_attacks_logged_twice_is_a_run_of_its_own(
    folder: Path,
) -> None:
    a = run_of(folder, {"pgd": BASE}, name="of-a")
    b = run_of(folder, {"mi": MORE}, name="of-b")
    comparison = compare_results(a, b, [("pgd", "mi")], metric="aacc")
    (run,) = log(comparison)
    metrics = run.data.metrics
    for source in "abc":
        for target in "abc":
            assert metrics[f"difference/{source}/{target}"] == -5
    for group in ("diagonal", "same_backbone", "cross_backbone"):
        assert metrics[f"mean_difference/{group}"] == -5
    assert run.data.params == {
        "a": f"of-a-{a.identity[:8]}",
        "b": f"of-b-{b.identity[:8]}",
        "metric": "aacc",
        "attack_a": "pgd",
        "attack_b": "mi",
    }
    assert run.data.tags["segtransfer.kind"] == "comparison"
    assert run.data.tags["segtransfer.verdict"] == comparison.verdict("mi")
    assert "| **−5.00** [" in run.data.tags["mlflow.note.content"]
    assert run.info.status == "FINISHED"
    client = MlflowClient(tracking_uri=tracking_uri())
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert files == {"difference-mi.png", "differences.json"}
    for name in metrics:
        assert len(client.get_metric_history(run.info.run_id, name)) == 1


def test_comparison_of_two_runs_has_a_child_per_attack(folder: Path) -> None:
    a = run_of(folder, {"noise": BASE, "pgd": BASE}, name="before")
    b = run_of(folder, {"noise": BASE, "pgd": MORE}, name="after")
    runs = log(compare_results(a, b, [("noise", "noise"), ("pgd", "pgd")], metric="aacc"))
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert set(children) == {"noise", "pgd"}
    for child in children.values():
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics["pgd/mean_difference/cross_backbone"] == -5
    assert parent.data.metrics["noise/mean_difference/targets"] == 0
    assert children["noise"].data.metrics["difference/a/c"] == 0  # as every source's
    client = MlflowClient(tracking_uri=tracking_uri())
    files = {item.path for item in client.list_artifacts(parent.info.run_id, "report")}
    assert "report/differences.png" in files


def test_comparison_links_to_the_logged_runs(logged: Results) -> None:
    (run,) = log(compare_results(logged, logged, [("pgd", "ds-mi")]))
    attacks = {r.data.tags.get("segtransfer.attack"): r for r in runs_of("toys")}
    for side, attack in (("a", "pgd"), ("b", "ds-mi")):
        of_attack = attacks[attack].info
        assert run.data.tags[f"segtransfer.{side}.run"] == of_attack.run_id
        link = f"#/experiments/{of_attack.experiment_id}/runs/{of_attack.run_id}"
        assert run.data.tags[f"segtransfer.{side}.link"] == link
        assert f"]({link})" in run.data.tags["mlflow.note.content"]


def test_run_logged_later_is_linked_by_logging_the_comparison_again(
    folder: Path,
) -> None:
    results = run_toy(folder / "late", name="late", attacks=["fgsm"])
    comparison = compare_results(results, results, [("fgsm", "fgsm")])
    (before,) = log(comparison)
    assert "segtransfer.a.run" not in before.data.tags
    write_report(results)
    log_results(results)
    (after,) = log(comparison)
    assert after.info.run_id == before.info.run_id
    assert "segtransfer.a.run" in after.data.tags


def test_an_mlflow_run_names_its_experiment_and_its_attack(logged: Results) -> None:
    for run in runs_of("toys"):
        found = read_run(run.info.run_id)
        assert (found.store, found.identity) == (logged.store.location, logged.identity)
        named = find_run(run.info.run_id, logged.store, read_run)
        assert named.identity == logged.identity
        assert named.attack == run.data.tags.get("segtransfer.attack")
        other = find_run(f"{run.info.run_id}:noise", logged.store, read_run)
        assert other.attack == "noise"


def test_two_mlflow_runs_are_compared(logged: Results) -> None:
    ids = {r.data.tags.get("segtransfer.attack"): r.info.run_id for r in runs_of("toys")}
    comparison = segtransfer.compare(ids["noise"], ids["pgd"])
    assert comparison.attacks == (("noise", "pgd"),)


def test_unknown_mlflow_run_is_refused(logged: Results) -> None:
    with pytest.raises(InputError, match=r"MLflow at sqlite.* has no run 0000"):
        read_run("0" * 32)


def test_mlflow_run_of_a_comparison_is_refused(folder: Path) -> None:
    run = run_of(folder, {"pgd": BASE}, name="itself")
    (comparison,) = log(compare_results(run, run, [("pgd", "pgd")]))
    with pytest.raises(InputError, match="shows no experiment of a store"):
        read_run(comparison.info.run_id)


def test_mlflow_run_of_a_deleted_store_is_refused(logged: Results, folder: Path) -> None:
    gone = run_toy(folder / "gone", name="gone", attacks=["noise"])
    write_report(gone)
    log_results(gone)
    Path(gone.store.location).rename(folder / "moved")
    for run in runs_of("gone"):
        with pytest.raises(InputError, match="no longer holds"):
            find_run(run.info.run_id, logged.store, read_run)
