"""Folders that Ray cannot use: too long in another way, a file, a folder of somebody else."""

import os
from pathlib import Path

import pytest

from segtransfer.errors import InputError
from segtransfer.runtime.executors.ray.connection import SOCKET, SOCKET_BYTES, prepare

LONG = "a-rather-long-folder-of-a-job-on-a-batch-system/job-1234567/tmp"


def used(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The folder that Ray is told to use instead of the variables'."""
    for name in ("RAY_TMPDIR", "TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    opened, options = prepare(None)
    opened.restore()
    return options.get("_temp_dir")


def test_a_short_ray_folder_goes_before_a_long_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert used({"RAY_TMPDIR": "/tmp", "TMPDIR": str(tmp_path / LONG)}, monkeypatch) is None


def test_a_relative_folder_counts_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / LONG
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    chosen = used({"RAY_TMPDIR": "tmp"}, monkeypatch)
    assert chosen is not None
    assert Path(chosen).is_absolute()
    assert len(os.fsencode(f"{chosen}/{SOCKET}")) <= SOCKET_BYTES


def test_a_short_relative_folder_is_made_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's processes work in other folders, and would wait for a socket that is not there."""
    monkeypatch.chdir("/tmp")
    assert used({"RAY_TMPDIR": "ray-of-tests"}, monkeypatch) == "/tmp/ray-of-tests/ray"


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_file_in_the_place_of_the_folder_is_one_sentence(
    below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path("/tmp") / f"file-{os.getpid()}"
    file.write_text("a file")
    try:
        with pytest.raises(InputError, match=f"RAY_TMPDIR.*{file}"):
            used({"RAY_TMPDIR": f"{file}{below}"}, monkeypatch)
    finally:
        file.unlink()
