"""The root of all exceptions, and the sentence of a failure."""

import ast
import builtins
import traceback
from pathlib import Path

import pytest

from segtransfer.cli.exits import ExitCode, describe
from segtransfer.errors import InputError, SegtransferError, ServerError, reason_of
from segtransfer.store.files import StoreError
from tests.architecture.modules import modules, tree


def failure(error: Exception) -> str:
    """Return the traceback that a worker stores of an error."""
    try:
        raise error
    except Exception:
        return traceback.format_exc()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("model 'm' is wrong"), "model 'm' is wrong"),
        (TypeError("no such argument"), "TypeError: no such argument"),
        (KeyError("out"), "KeyError: 'out'"),
    ],
)
def test_reason_of_a_foreign_exception_starts_with_its_class(error: Exception, reason: str) -> None:
    assert reason_of(failure(error)) == reason


def test_a_failure_without_text_has_no_reason() -> None:
    assert reason_of(" \n") == ""


def test_every_exception_of_ours_derives_from_the_root() -> None:
    foreign = {
        node.name
        for path in modules().values()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        if any(_is_builtin_exception(ast.unparse(base)) for base in node.bases)
        if "SegtransferError" not in map(ast.unparse, node.bases)
    }
    # Like Ctrl-C, SIGTERM is no error that a handler of errors may take.
    assert foreign == {"SegtransferError", "Terminated"}


def test_an_assert_narrows_a_type_and_never_guards_data() -> None:
    guards = [
        f"{name}: {ast.unparse(node)}"
        for name, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Assert) and not ast.unparse(node.test).endswith(" is not None")
    ]
    assert guards == []


def _is_builtin_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def test_the_exit_code_follows_from_the_class(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OwnError(InputError):
        """A child says nothing of its exit code."""

    monkeypatch.chdir(tmp_path)  # for the tracebacks
    codes = [
        describe(error, "mine.yaml", "run again")
        for error in (InputError("a"), OwnError("a"), ServerError("a"), StoreError(28, "a"))
    ]
    assert codes == [ExitCode.WRONG_INPUT, ExitCode.WRONG_INPUT, ExitCode.FAILED, ExitCode.FAILED]
    assert describe(SegtransferError("a sentence"), "", "") == ExitCode.FAILED
    assert "unexpected" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "of_a_file"),
    [
        (PermissionError(13, "Permission denied", "data"), True),
        (StoreError(28, "No space left on device"), True),
        (ConnectionRefusedError(111, "Connection refused"), False),
        (TimeoutError("no answer for 30 s"), False),
    ],
)
def test_only_errors_of_files_are_reported_as_such(
    error: Exception,
    of_a_file: bool,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # for the tracebacks
    describe(error, "mine.yaml", "run again")
    said = " ".join(capsys.readouterr().err.split())
    assert ("cannot read or write" in said) is of_a_file
    assert str(error) in said


def test_errors_derive_from_the_errors_of_python() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(ServerError, RuntimeError)
    assert isinstance(StoreError(28, "disk full"), OSError)
    assert StoreError(28, "disk full").errno == 28
