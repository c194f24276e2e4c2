"""Colours of cells: fitted to an experiment, and dark for a strong attack."""

import math
from itertools import pairwise

import pytest

from segtransfer.reporting.shading import MISSING_COLOUR, Shading, shades, shading_of
from segtransfer.results import Results
from tests.orchestrator.reporting.html.made_up import made_up

ATTACKS = [{"preset": "noise", "eps": "8/255"}, {"preset": "pgd", "eps": "8/255", "steps": 10}]


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up(ATTACKS, pictures=False)


@pytest.mark.parametrize("metric", ["miou", "drop", "ratio", "fooling", "aacc"])
def test_scale_of_a_metric_spans_all_matrices_of_the_experiment(
    results: Results, metric: str
) -> None:
    scale = shading_of(results, metric)
    assert scale.low % 10 == scale.high % 10 == 0
    for attack in results.attacks:
        values = results.matrix(attack, metric).to_numpy().clip(0, 100)
        assert (scale.low <= values).all()
        assert (values <= scale.high).all()


@pytest.mark.parametrize("metric", ["miou", "drop", "ratio", "fooling"])
def test_white_box_attack_is_darker_than_noise_under_every_metric(
    results: Results, metric: str
) -> None:
    scale = shading_of(results, metric)
    order = [colour for colour, _ in shades()]
    strong = scale.of(results.matrix("pgd", metric).loc["net-0", "net-0"])[0]
    weak = scale.of(results.matrix("noise", metric).loc["net-0", "net-0"])[0]
    assert order.index(strong) < order.index(weak)


def test_values_beyond_the_scale_have_the_colours_of_its_ends() -> None:
    scale = Shading(20.0, 40.0)
    dark, light = shades()[0], shades()[-1]
    assert (scale.of(0.0), scale.of(100.0)) == (dark, light)
    assert Shading(20.0, 40.0, low_is_strong=False).of(0.0) == light
    places = [shades().index(scale.of(value)) for value in (20.0, 25.0, 30.0, 35.0, 40.0)]
    assert all(a < b for a, b in pairwise(places))


def test_missing_value_is_grey() -> None:
    assert Shading(0.0, 100.0).of(math.nan)[0] == MISSING_COLOUR
