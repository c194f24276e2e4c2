"""Opening a place without a store is an error, not an empty answer."""

from pathlib import Path

import pytest

from segtransfer import open_results
from segtransfer.errors import InputError


@pytest.mark.parametrize("name", ["nowhere", "empty", "other"])
def test_open_results_without_a_store_is_an_error_with_the_location(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("no store")
    with pytest.raises(InputError, match=f"{name} holds no store"):
        open_results(tmp_path / name)
