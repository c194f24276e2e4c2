"""Intervals of few images in uneven groups contain the truth in 93 to 97 % of experiments."""

import math
import runpy

import pytest

from tests.conftest import ROOT

TRIALS = 500
ERRORS = 2 * math.sqrt(0.05 * 0.95 / TRIALS)


@pytest.mark.parametrize("layout", ["12, uneven", "16, uneven"])
@pytest.mark.parametrize("rare", [False, True])
def test_uneven_groups_have_their_coverage(layout: str, rare: bool) -> None:
    script = runpy.run_path(str(ROOT / "infra/studies/coverage.py"))
    sizes, spread = script["GROUPS"][layout], script["SPREADS"]["both vary"]
    found = script["coverage"](sizes, spread, rare, trials=TRIALS, resamples=200)
    assert 0.93 - ERRORS <= found <= 0.97 + ERRORS
