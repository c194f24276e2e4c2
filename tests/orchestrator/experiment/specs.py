"""A small valid experiment as a dict, and the message of a wrong one."""

import copy
from typing import Any

import pytest

from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment

GOOD: dict[str, Any] = {
    "data": "camvid",
    "models": ["fcn-r18", "pspnet-r18"],
    "attacks": ["pgd", {"preset": "ds-mi", "steps": 5}],
}


def good(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(GOOD) | changes


def message(source: Any, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        read_experiment(source, overrides)
    return str(caught.value)
