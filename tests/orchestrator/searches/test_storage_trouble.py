"""Optuna's storage in trouble: any error is a single line with the storage."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError

from segtransfer.errors import InputError, ServerError
from segtransfer.searches.context import SearchContext
from segtransfer.searches.optuna_study import open_storage, open_study, storage_in_use
from segtransfer.store import Store
from tests.orchestrator.searches.searches import STEP_SIZE, grey_context, space, step


@pytest.fixture
def context(tmp_path: Path) -> SearchContext:
    return grey_context(tmp_path, search={"space": space(STEP_SIZE, step(16))})[0]


def stored_in(context: SearchContext, storage: str) -> SearchContext:
    settings = context.search.search.model_copy(update={"storage": storage})
    return replace(context, search=context.search.model_copy(update={"search": settings}))


def opening(context: SearchContext, storage: str) -> str:
    """The sentence of a study that cannot be opened."""
    changed = stored_in(context, storage)
    with pytest.raises(InputError) as caught:
        open_study(changed, open_storage(changed, Store(context.store)), resume=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"hello\n", b"\xff\xfe\x00" * 99, b"[1]\n{}\n", b"{}\n{}\n"])
def test_invalid_journal_is_refused_by_its_path(
    content: bytes, context: SearchContext, tmp_path: Path
) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(content)
    assert opening(context, str(path)).startswith(f"search.storage {path} cannot be used: ")


def test_folder_in_place_of_a_journal_is_refused_by_its_path(
    context: SearchContext, tmp_path: Path
) -> None:
    assert "Is a directory" in opening(context, str(tmp_path))


def test_file_without_a_database_is_refused_by_its_path(
    context: SearchContext, tmp_path: Path
) -> None:
    (tmp_path / "study.db").write_text("hello" * 1000)
    assert "file is not a database" in opening(context, f"sqlite:///{tmp_path}/study.db")


def test_missing_driver_is_named_with_an_action(context: SearchContext) -> None:
    sentence = opening(context, "mysql+pymysql://host/studies")
    assert "No module named 'pymysql' (install it)" in sentence


@pytest.mark.parametrize("passed_on", [False, True])
def test_storage_failing_later_is_a_server_error(passed_on: bool, context: SearchContext) -> None:
    error: Exception = StorageInternalError("commit")
    error.__cause__ = sqlite3.OperationalError("database is locked")
    if passed_on:
        outer = RuntimeError("Tune failed")
        outer.__cause__, error = error, outer
    with (
        pytest.raises(ServerError, match=r"failed during the search: database is locked"),
        storage_in_use(context),
    ):
        raise error


def test_other_errors_of_a_search_pass_unchanged(context: SearchContext) -> None:
    with pytest.raises(KeyError), storage_in_use(context):
        raise KeyError("x")
