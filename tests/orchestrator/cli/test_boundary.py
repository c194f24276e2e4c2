"""The boundary of the command: every error ends as a sentence or in silence, with an exit code."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from segtransfer import api
from segtransfer.cli import app, tracebacks
from segtransfer.cli.console import Terminal
from segtransfer.errors import InputError

runner = CliRunner()
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracebacks, "shown", False)
    return tmp_path


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    """Return the answer of ``compare`` if the comparison raises an error."""

    def fail(*_: object, **__: object) -> None:
        try:
            {}["what the library lacks"]
        except KeyError as cause:
            raise error from cause

    monkeypatch.setattr(api, "compare", fail)
    return runner.invoke(app, ["compare", "a", "b", *options])


def kept(answer: Result) -> str:
    """Return the content of the traceback file named in an answer."""
    (path,) = re.findall(r"Full error: (\S+)", answer.stderr)
    return Path(path).read_text()


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyError("cells"), 1, "error: unexpected KeyError: 'cells'"),
        (AssertionError(), 1, "error: unexpected AssertionError"),
        (MemoryError(), 1, "error: unexpected MemoryError"),
        (RecursionError("too deep"), 1, "error: too deep"),
        (ZeroDivisionError("by zero"), 1, "error: unexpected ZeroDivisionError: by zero"),
        (RuntimeError("no trial"), 1, "error: no trial"),
        (
            RuntimeError('Traceback (most recent call last):\n  File "x"\nKeyError: 1'),
            1,
            "KeyError",
        ),
        (OSError(errno.ENOSPC, "No space left", "/data/row"), 1, "No space left: '/data/row'"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "Broken pipe"),  # of a socket
        (InputError("eps is wrong"), 2, "error: eps is wrong"),
    ],
)
def test_error_prints_a_sentence_and_writes_traceback_and_cause_to_a_file(
    error: BaseException, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = failing(error, monkeypatch)
    assert answer.exit_code == code
    assert sentence in answer.stderr
    assert "Traceback" not in answer.output
    content = kept(answer)
    assert "KeyError: 'what the library lacks'" in content
    assert type(error).__name__ in content


@pytest.mark.parametrize(
    "options", [["--debug", "compare", "a", "b"], ["compare", "a", "b", "--debug"]]
)
def test_debug_before_or_after_the_verb_prints_the_traceback(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(RuntimeError("sentence"), monkeypatch)
    answer = runner.invoke(app, options)
    assert "KeyError: 'what the library lacks'" in answer.stderr
    assert "Traceback" not in failing(RuntimeError("sentence"), monkeypatch).output


def test_wrong_input_writes_no_traceback_file(folder: Path) -> None:
    answer = runner.invoke(app, ["run", "nothing.yaml"])
    assert answer.exit_code == 2
    assert not list(folder.iterdir())


def test_credentials_are_removed_from_message_and_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"postgresql://me:{SECRET}@db:5432/studies?sslpassword={SECRET}"
    answer = failing(RuntimeError(f"cannot open {url}"), monkeypatch)
    assert "postgresql://db:5432/studies" in answer.stderr
    assert SECRET not in answer.output + kept(answer)


def test_unexpected_error_of_a_verb_prints_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtransfer.reporting.models.print_models", lambda _: {}["x"])
    answer = runner.invoke(app, ["models"])
    assert answer.exit_code == 1
    assert "unexpected KeyError: 'x'" in answer.stderr
    assert "print_models" in kept(answer)


def test_unwritable_working_folder_puts_the_file_in_the_temporary_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / tracebacks.FOLDER).write_text("a file in the way")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(tracebacks.tempfile, "gettempdir", lambda: str(elsewhere))
    assert "KeyError" in kept(failing(KeyError("x"), monkeypatch))
    assert len(list(elsewhere.iterdir())) == 1
    monkeypatch.setattr(tracebacks.tempfile, "gettempdir", lambda: str(folder / "nowhere" / "x"))
    assert "Add --debug to print the traceback" in failing(KeyError("x"), monkeypatch).stderr


def command(*arguments: str, stdout: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "segtransfer", *arguments],
        stdout=stdout, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [["models"], ["--help"], ["--version"]])
def test_closed_pipe_exits_silently_with_141(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    answer = command(*arguments, stdout=writing)
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (141, "")


@pytest.mark.parametrize("arguments", [["models"], ["--help"], ["--version"]])
def test_full_disk_of_standard_output_prints_one_sentence(arguments: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    answer = command(*arguments, stdout=full)
    os.close(full)
    assert answer.returncode == 1
    assert answer.stderr == ("error: cannot write to standard output: No space left on device\n")


def test_terminal_with_narrow_encoding_gets_replacement_characters() -> None:
    for setting in (
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ):
        answer = command("models", stdout=subprocess.PIPE, **setting)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert "fcn-r18" in answer.stdout


def test_escape_sequences_are_removed_from_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ["\x1b[31mred", "\x1b]0;title\x07shown", "bell\x07", "\x9b2Jcleared", "ro\rad"]
    Terminal(width=200).print(*names, markup=False)
    assert capsys.readouterr().out == "red shown bell cleared road\n"


def test_wrong_option_is_named_without_the_spec() -> None:
    answer = runner.invoke(app, ["submit", "quickstart", "--resume", "--store", "s3://b/lab"])
    assert answer.exit_code == 2
    assert answer.stderr.startswith("error: --resume is an option of searches; add --search")
