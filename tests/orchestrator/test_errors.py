"""The sentence of a failure."""

import traceback

import pytest

from segtransfer.errors import InputError, reason_of


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
def test_the_class_opens_the_reason_of_a_foreign_exception_alone(
    error: Exception, reason: str
) -> None:
    assert reason_of(failure(error)) == reason


def test_a_failure_without_text_has_no_reason() -> None:
    assert reason_of(" \n") == ""
