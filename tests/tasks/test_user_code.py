"""Functions of the user's own: found, refused in a sentence, and bound to the file as imported."""

import sys
from pathlib import Path

import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.losses import LOSSES
from segtransfer.tasks.user_code import find_function, source_hash


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)
    sys.modules.pop(name, None)


def test_a_function_is_found_and_its_file_hashed(folder: Path) -> None:
    write(folder, "own_one", "def f():\n    return 1\n")
    write(folder, "own_two", "def f():\n    return 2\n")
    assert (find_function("own_one:f")(), find_function("own_two:f")()) == (1, 2)
    assert source_hash("own_one:f") != source_hash("own_two:f")
    assert source_hash("own_one:f") == source_hash("own_one:f")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(:\n", "SyntaxError"),
        ("f = unknown\n", "NameError"),
        ("raise RuntimeError('no licence')\n", "RuntimeError: no licence"),
        ("g = 1\n", "AttributeError"),
    ],
)
def test_any_error_of_a_module_is_a_sentence(text: str, reason: str, folder: Path) -> None:
    write(folder, "own_wrong", text)
    with pytest.raises(InputError, match=rf"own_wrong:f cannot be imported: .*{reason}"):
        find_function("own_wrong:f")


@pytest.mark.parametrize("name", ["nowhere_to_be_found:f", "sys:exit", ".a:f"])
def test_attribute_without_a_file_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be imported"):
        find_function(name)


def test_a_file_edited_since_its_import_is_refused(folder: Path) -> None:
    write(folder, "own_edited", "def f():\n    return 1\n")
    find_function("own_edited:f")
    (folder / "own_edited.py").write_text("def f():\n    return 2\n")
    with pytest.raises(InputError, match="changed since its import; start Python again"):
        find_function("own_edited:f")


def test_a_loss_is_looked_up_once_so_that_an_edit_stops_no_run(folder: Path) -> None:
    write(folder, "own_loss", "def f(logits, labels, context):\n    return 1\n")
    planned = source_hash("own_loss:f")
    loss = LOSSES.find("own_loss:f", planned)
    (folder / "own_loss.py").write_text("def f(logits, labels, context):\n    return 2\n")
    assert LOSSES.find("own_loss:f", planned) is loss


def test_a_loss_of_another_file_than_was_planned_is_refused(folder: Path) -> None:
    write(folder, "own_other", "def f(logits, labels, context):\n    return 1\n")
    with pytest.raises(InputError, match="own_other:f changed since the plan"):
        LOSSES.find("own_other:f", "0" * 64)
