"""Fixtures of the orchestrator's tests."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

PATIENCE = 90  # seconds that any one test may take


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    """A hang is a failure that says where."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still running after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session", params=["inline", "ray"])
def executor(request: pytest.FixtureRequest) -> str:
    """Every executor in turn; Ray comes with the session's cluster."""
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return request.param
