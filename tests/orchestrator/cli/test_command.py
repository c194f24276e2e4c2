"""The command as a user sees it: exit codes, sentences and output."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer.cli import app
from tests.orchestrator.toy_experiments import toy, toy_spec, write_images

runner = CliRunner()


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    content = toy_spec(tmp_path)
    content["runtime"] = {"executor": "inline", "store": "store"}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_run_prints_every_matrix_and_every_location(spec: Path) -> None:
    answer = runner.invoke(app, ["run", str(spec), "--no-tracking"])
    assert answer.exit_code == 0, answer.output
    for text in ("noise", "pgd", "ds-mi", "clean", "any source", "white-box (diagonal)", "Store:"):
        assert text in answer.output
    assert str(spec.parent / "store") in answer.output.replace("\n", "")


def test_run_past_max_hours_stops_and_marks_partial_matrices(spec: Path) -> None:
    stopped = runner.invoke(app, ["run", str(spec), "--no-tracking", "--max-hours", "1e-9"])
    assert stopped.exit_code == 0
    assert "Stopped after 1e-09 h" in stopped.output
    assert "PARTIAL: 0 of" in stopped.output
    whole = runner.invoke(app, ["run", str(spec), "--no-tracking"])
    assert "PARTIAL" not in whole.output
    assert "Stopped" not in whole.output


def test_second_run_computes_nothing(spec: Path) -> None:
    runner.invoke(app, ["run", str(spec), "--no-tracking"])
    answer = runner.invoke(app, ["run", str(spec), "--no-tracking"])
    assert answer.exit_code == 0
    assert "Nothing to compute: all" in answer.output
    assert "Computed" not in answer.output


def test_plan_prints_stored_tasks_and_computes_nothing(spec: Path) -> None:
    before = runner.invoke(app, ["plan", str(spec)])
    assert before.exit_code == 0
    assert not (spec.parent / "store" / "rows").exists()
    runner.invoke(app, ["run", str(spec), "--no-tracking"])
    last = [
        line
        for line in runner.invoke(app, ["plan", str(spec)]).output.splitlines()
        if "all" in line
    ]
    total, stored, todo = last[0].replace("│", " ").split()[1:4]
    assert (stored, todo) == (total, "0")


def test_override_changes_the_spec(spec: Path) -> None:
    answer = runner.invoke(app, ["run", str(spec), "attacks.1.eps=2/255", "--no-tracking"])
    assert "eps 2/255, 3 steps" in answer.output


def test_report_writes_a_missing_figure_again(spec: Path) -> None:
    runner.invoke(app, ["run", str(spec), "--no-tracking"])
    (picture,) = (spec.parent / "store" / "reports").glob("*/matrices.png")
    picture.unlink()
    answer = runner.invoke(app, ["report", str(spec.parent / "store")])
    assert answer.exit_code == 0, answer.output
    assert picture.exists()
    assert not (spec.parent / "mlflow.db").exists()


def test_report_of_a_named_experiment_prints_no_other(spec: Path) -> None:
    for name in ("first", "second"):
        change = [f"name={name}", f"seed={len(name)}", "attacks=[noise]", "--no-tracking"]
        runner.invoke(app, ["run", str(spec), *change])
    one = runner.invoke(app, ["report", "store", "--experiment", "second"]).output
    assert ("first" in one, "second" in one) == (False, True)
    none = runner.invoke(app, ["report", "store", "--experiment", "third"])
    assert none.exit_code == 2
    assert "matches 'third'. The store holds: second-" in none.stderr.replace("\n", " ")


def test_report_logs_runs_missing_in_mlflow(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    down = runner.invoke(app, ["run", str(spec), "attacks=[noise]"])
    assert down.exit_code == 0
    advice = "segtransfer report store --log".replace("store", str(spec.parent / "store"))
    assert advice in down.stderr.replace("\n", "")
    required = runner.invoke(app, ["run", str(spec), "attacks=[noise]", "--require-tracking"])
    assert required.exit_code == 1
    told = runner.invoke(app, ["report", "store", "--log"])
    assert told.exit_code == 1
    assert "Not logged to MLflow" not in told.stderr, "it was told a line before"
    listed = runner.invoke(app, ["report", "store"])
    assert listed.exit_code == 0
    assert "Not logged to MLflow (1):" in listed.stderr
    assert "127.0.0.1:9" in listed.stderr
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    up = runner.invoke(app, ["report", "store", "--log"])
    assert up.exit_code == 0, up.output
    assert "Not logged" not in up.stderr
    assert (spec.parent / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("attacks.0.epz=1", ["override attacks.0.epz=1: ", "did you mean 'eps'"]),
        ("attacks.0.eps=2", ["override attacks.0.eps=2: ", "did you mean 2/255?"]),
        ("atacks=1", ["override atacks=1: ", "did you mean 'attacks'"]),
        ("data.images=7", ["mine.yaml", "data.images", "7", "has 6 labelled images"]),
        ("data.folder=nowhere", ["mine.yaml", "data.folder", "nowhere", "does not exist"]),
        ("sources=[c]", ["mine.yaml", "sources", "'c'", "allowed: a, b"]),
        ("data.classes=[one, two]", ["mine.yaml", "model 'a' predicts 3", "data has 2"]),
        ("models.1.name=a", ["mine.yaml", "two models are named 'a'"]),
    ],
)
def test_wrong_input_exits_with_2_and_one_message(
    spec: Path, change: str, expected: list[str]
) -> None:
    answer = runner.invoke(app, ["run", str(spec), change])
    assert answer.exit_code == 2
    message = answer.stderr.replace("\n", " ")
    assert [text for text in expected if text not in message] == []
    assert "Traceback" not in answer.output
    assert not (spec.parent / "store" / "rows").exists()


@pytest.mark.parametrize("below", ["", "/deeper/store"])
def test_store_path_of_a_file_exits_with_2_and_keeps_the_file(
    below: str, spec: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine")
    answer = runner.invoke(app, ["run", str(spec), "--store", f"{tmp_path}/taken{below}"])
    assert answer.exit_code == 2, answer.output
    told = " ".join(answer.output.split())
    assert (
        "the path is a file or is below a file; give a folder as --store or runtime.store" in told
    )
    assert "Run the same command again to resume" not in told
    assert (tmp_path / "taken").read_text() == "mine"


def test_label_beyond_the_classes_is_named(spec: Path) -> None:
    label = next((spec.parent / "data" / "labels").glob("*.png"))
    Image.new("L", (32, 24), 7).save(label)
    answer = runner.invoke(app, ["run", str(spec)])
    assert answer.exit_code == 2
    message = answer.stderr.replace("\n", "")
    assert [text for text in (label.name, "[7]", "0 to 2") if text not in message] == []


def test_label_of_another_size_is_named(spec: Path) -> None:
    label = next((spec.parent / "data" / "labels").glob("*.png"))
    Image.new("L", (10, 10)).save(label)
    answer = runner.invoke(app, ["run", str(spec)])
    assert answer.exit_code == 2
    assert label.name in answer.stderr.replace("\n", "")
    assert "24 x 32" in answer.stderr


def test_failed_task_is_listed_and_other_results_are_kept(spec: Path) -> None:
    content = yaml.safe_load(spec.read_text())
    write_images(spec.parent / "bright", bright=2)
    content["data"]["folder"] = "bright"
    content["models"][1] = toy("b", "failing", seed=2)
    spec.write_text(yaml.safe_dump(content))
    answer = runner.invoke(app, ["run", str(spec), "--no-tracking"])
    assert answer.exit_code == 1
    assert "this toy fails on bright corners" in answer.stderr
    assert "error: 1" not in answer.stderr
    assert list((spec.parent / "store" / "failures").rglob("*.json"))
    assert list((spec.parent / "store" / "rows").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("verb", "expected"),
    [("models", "fcn-r18"), ("attacks", "ds-mi"), ("doctor", "workers import segtransfer from")],
)
def test_listing_verbs_print_entries(verb: str, expected: str) -> None:
    answer = runner.invoke(app, [verb], terminal_width=200)
    assert answer.exit_code == 0, answer.output
    assert expected in answer.output.replace("\n", "")


def test_version_option_prints_installed_version() -> None:
    answer = runner.invoke(app, ["--version"])
    assert answer.exit_code == 0
    assert answer.output == f"segtransfer {version('segtransfer')}\n"


def test_python_m_segtransfer_runs_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "segtransfer"]
    shown = subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (shown.returncode, shown.stdout) == (0, f"segtransfer {version('segtransfer')}\n")
    wrong = subprocess.run([*command, "rum"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "No such command 'rum'" in wrong.stderr


def test_attacks_verb_prints_defaults_and_units() -> None:
    answer = " ".join(runner.invoke(app, ["attacks"], terminal_width=200).output.split())
    for told in ("eps 8/255", "20 steps of a = eps/4", "fractions of the pixel range [0, 1]"):
        assert told in answer


def test_ctrl_c_keeps_finished_results_and_exits_with_130(spec: Path) -> None:
    content = yaml.safe_load(spec.read_text())
    weights = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    content["models"] = [toy("slow", "linear", weights=weights, delay=0.05)]
    spec.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "segtransfer", "run", str(spec), "--no-tracking"]
    child = subprocess.Popen(
        command, cwd=spec.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    rows = spec.parent / "store" / "rows"
    deadline = time.monotonic() + 60
    while not list(rows.rglob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert "Run the same command again to resume" in stderr
    assert "Traceback" not in stderr
    done = len(list(rows.rglob("*.parquet")))
    answer = runner.invoke(app, ["run", str(spec), "--no-tracking"])
    assert f"{done} of them already in the store" in answer.output
