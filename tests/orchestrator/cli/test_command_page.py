"""The page on the command line: its exit codes are those of the code, and its specs are valid."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.cli.exits import ExitCode
from segtransfer.experiment.reading import read_experiment
from tests.conftest import ROOT
from tests.orchestrator.toy_experiments import run_toy

PAGE = (ROOT / "docs/reference/command-line.md").read_text()
runner = CliRunner()


def test_exit_code_table_lists_every_code() -> None:
    page = (ROOT / "docs/reference/exit-codes.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([a-z ]+?) \|", page, re.MULTILINE)
    assert rows == [(str(code.value), code.name.lower().replace("_", " ")) for code in ExitCode]


def test_spec_with_a_base_is_valid(tmp_path: Path) -> None:
    spec = re.search(r"```yaml\n(base: .*?)```", PAGE, re.DOTALL)
    assert spec is not None
    (tmp_path / "team.yaml").write_text("base: quickstart\nnumerics: fast\n")
    (tmp_path / "mine.yaml").write_text(spec[1])
    read = read_experiment(str(tmp_path / "mine.yaml"))
    assert (read.data.images, len(read.models), read.name) == (50, 2, "mine")
    assert read.numerics == read_experiment("quickstart").numerics


@pytest.mark.parametrize("place", ["before", "behind"])
def test_quiet_option_prints_errors_only(place: str, tmp_path: Path) -> None:
    store = run_toy(tmp_path, attacks=["noise"]).store.location
    verb = ["store", "verify", store]
    answer = runner.invoke(app, ["-q", *verb] if place == "before" else [*verb, "--quiet"])
    assert (answer.exit_code, answer.output) == (0, "")
    loud = runner.invoke(app, verb)
    assert "all are sound" in loud.output
    wrong = runner.invoke(app, ["-q", "store", "verify", str(tmp_path / "nowhere")])
    assert wrong.exit_code == ExitCode.WRONG_INPUT
    assert "error:" in wrong.output


def test_argument_after_two_dashes_is_no_option(tmp_path: Path) -> None:
    answer = runner.invoke(app, ["plan", "--", "-q"])
    assert answer.exit_code == ExitCode.WRONG_INPUT
    assert "'-q' is neither a file nor a recipe" in " ".join(answer.output.split())


def test_shell_completion_lists_the_verbs() -> None:
    command = [str(Path(sys.executable).with_name("segtransfer"))]
    asked = {
        "_SEGTRANSFER_COMPLETE": "complete_bash",
        "COMP_WORDS": "segtransfer st",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True)
    assert set(done.stdout.split()) == {"study", "store"}


def test_short_options_after_the_verb_may_be_joined(tmp_path: Path) -> None:
    answer = runner.invoke(app, ["store", "verify", str(tmp_path / "nowhere"), "-vq"])
    assert answer.exit_code == 2
    assert "no store at" in answer.output
