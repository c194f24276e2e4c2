"""Names of files: any name becomes one part of a path, and different names stay different."""

from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtransfer.tasks.data.names import file_name


@given(st.text(min_size=1))
def test_file_name_is_a_single_reversible_part_of_a_path(name: str) -> None:
    found = file_name(name)
    assert unquote(found, errors="surrogatepass") == name
    for kind in (PurePosixPath, PureWindowsPath):
        assert kind("folder", f"{found}.png").parent == kind("folder")
    assert not found.startswith(".")


@pytest.mark.parametrize("name", ["0001TP_008550", "image-1", "fcn-r18", "a.b", "ä b", "x=1"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert file_name(name) == name


def test_file_name_stays_inside_its_folder() -> None:
    assert file_name("../up") == "%2E.%2Fup"
    assert file_name("..") == "%2E."
    assert file_name("C:\\x") == "C%3A%5Cx"
