"""The exact test over trainings, by hand."""

import math

import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.statistics.trainings import permutation_test


def test_complete_separation_in_two_architectures_has_two_of_400_arrangements() -> None:
    found = permutation_test({"r18": ([1, 2, 3], [4, 5, 6]), "mnv2": ([10, 11, 12], [20, 21, 22])})
    assert (found.arrangements, found.trainings) == (400, 3)
    assert found.p == 2 / 400
    assert found.difference == pytest.approx((3 + 10) / 2)


def test_opposite_directions_cancel() -> None:
    found = permutation_test({"r18": ([1, 2, 3], [4, 5, 6]), "mnv2": ([4, 5, 6], [1, 2, 3])})
    assert found.difference == pytest.approx(0)
    assert found.p == 1


def test_exchanged_arms_exchange_the_sign_alone() -> None:
    one, other = [0.3, 1.2, 0.7], [0.9, 1.4, 2.0]
    forth, back = permutation_test({"a": (one, other)}), permutation_test({"a": (other, one)})
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.p == back.p


def test_ties_count_as_extreme() -> None:
    """Of the six arrangements of 0, 0 and 0, 1 three have a difference of +1/2, three of -1/2."""
    assert permutation_test({"a": ([0, 0], [0, 1])}).p == 1
    assert permutation_test({"a": ([0.1] * 3, [0.1] * 3)}).p == 1


def test_level_of_levels_between_architectures_does_not_count() -> None:
    low = permutation_test({"a": ([1, 2, 3], [2, 3, 5]), "b": ([1, 1, 4], [2, 2, 2])})
    high = permutation_test({"a": ([1, 2, 3], [2, 3, 5]), "b": ([91, 91, 94], [92, 92, 92])})
    assert low.p == high.p


def test_p_values_of_equal_arms_are_valid() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.normal(0, 1, (500, 2, 2, 3))
    p_values = [permutation_test({"a": tuple(one), "b": tuple(two)}).p for one, two in drawn]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 500)


def test_one_training_per_arm_cannot_reach_5_percent() -> None:
    assert permutation_test({"a": ([1], [2])}).p == 1
    assert permutation_test({"a": ([1], [2]), "b": ([1], [2])}).p == 0.5


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({}, "needs an architecture"),
        ({"r18": ([1.0], [])}, "Architecture r18 has no training with the property"),
        ({"r18": ([], [1.0])}, "Architecture r18 has no training without the property"),
        ({"r18": ([1.0], [math.nan])}, "no finite mean"),
        ({"r18": ([0.0] * 15, [1.0] * 15)}, "155117520 arrangements, more than 1000000"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(arms: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        permutation_test(arms)
