"""Which tests are quick follows from what they use."""

from pathlib import Path

import pytest

from tests.quick import LONGER, ROOT, heavy_imports


@pytest.mark.parametrize(
    ("file", "used"),
    [
        ("tests/tasks/test_schema.py", set()),
        ("tests/orchestrator/jobs/test_client.py", {"ray"}),
        ("tests/test_gitignore.py", {"subprocess"}),
        ("tests/orchestrator/searches/test_context.py", {"ray"}),  # by a helper
        ("tests/orchestrator/tracking/test_experiments.py", {"mlflow"}),
    ],
)
def test_heavy_libraries_are_seen_in_a_file_and_in_its_helpers(file: str, used: set[str]) -> None:
    assert heavy_imports(ROOT / file) == used


def test_names_of_longer_tests_are_those_of_tests() -> None:
    for name in LONGER.read_text().split():
        path, _, function = name.partition("::")
        assert f"def {function}(" in Path(ROOT, path).read_text(), name


def test_this_test_is_quick(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("quick")
