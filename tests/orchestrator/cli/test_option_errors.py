"""Errors of wrong options and overrides: the message names the option or override."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer.cli.command import app


def error_of(*arguments: str) -> str:
    """Return the message of a command that ends with exit code 2, in one line."""
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 2, answer.output
    return " ".join(answer.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max-hours", "0"], "error: --max-hours 0: give more than 0"),
        (["--executor", "dask"], "--executor dask: unknown executor 'dask'; allowed: inline, ray"),
        (["runtime.max_hours=-1"], "error: override runtime.max_hours=-1: give more than 0"),
        (["rutime.x=1"], "error: override rutime.x=1: unknown key 'rutime'; did you mean"),
        (["data={images: x}"], "override data={images: x}: field 'data.images': 'x' is not a"),
        (["attacks.*.eps=2"], "error: override attacks.*.eps=2: eps is a fraction"),
        (["models=[]"], "models is empty; give at least one"),
        (["base=x"], "write a YAML file with the line 'base: x'"),
        (["runtime.executor=inline", "--fleet", "a"], "fleets need Ray"),
        (["--max-hours", "x"], "Invalid value for '--max-hours': give a number"),
    ],
)
def test_wrong_option_or_override_is_named(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in error_of("run", "quickstart", *arguments)


def test_unknown_choice_has_no_words_of_pydantic() -> None:
    message = error_of("schema", "foo")
    assert "Invalid value for 'KIND': 'foo' is not one of 'experiment'" in message


def test_folder_as_a_spec_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert "'folder' is a folder; give a YAML file" in error_of("plan", "folder")
    assert "file is a file; give a folder" in error_of("init", "file")
