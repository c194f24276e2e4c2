"""The verdict function: every outcome, false verdicts under a null, and a planted effect."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from segtransfer.statistics import NO_VERDICT, Design, Interval
from segtransfer.statistics.design import factor_of
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.trainings import Permutation, permutation_test
from segtransfer.studies.verdicts import Reading, Scope, Verdict, judge

SCOPE = Scope(models=5, trainings=3, videos=2, groups=10, images=48, freedom=9.0)
ABOVE, BELOW, ACROSS = Interval(2, 1, 3), Interval(-2, -3, -1), Interval(1, -1, 3)
NEAR, UNKNOWN = Interval(0.1, -0.2, 0.4), Interval(1, math.nan, math.nan, math.nan)
PLAIN = Reading("A5", "words", equality=0.5)
EFFECT = replace(PLAIN, effect=True)
CAUSE = replace(EFFECT, cause=True)
EXPERIMENTS = 1000
MOST_FALSE = 0.05 + 2 * math.sqrt(0.05 * 0.95 / EXPERIMENTS)
SIZES = [1, 8, 3, 6, 5, 7, 2, 8, 4, 4]  # 48 images in uneven schedule groups


def standing(reading: Reading, *intervals: Interval, scope: Scope = SCOPE) -> str:
    return judge(reading, {str(i): value for i, value in enumerate(intervals)}, scope).standing


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([ABOVE, ABOVE], "supports"),
        ([BELOW, BELOW], "contradicts"),
        ([ABOVE, BELOW], "open"),
        ([ABOVE, ACROSS], "open"),
        ([ABOVE, UNKNOWN], "open"),
        ([NEAR, NEAR], "open"),
        ([], "open"),
    ],
)
def test_claim_needs_all_intervals_on_a_side(intervals: list[Interval], expected: str) -> None:
    assert standing(PLAIN, *intervals) == expected
    turned = [Interval(-i.value, -i.high, -i.low, i.p) for i in intervals]
    mirrored = {"supports": "contradicts", "contradicts": "supports"}.get(expected, expected)
    assert standing(PLAIN, *turned) == mirrored
    assert standing(replace(PLAIN, below=True), *turned) == expected


def test_absence_of_an_effect_contradicts_a_claim_of_an_effect() -> None:
    assert standing(EFFECT, NEAR, NEAR) == "contradicts"
    assert standing(EFFECT, NEAR, ACROSS) == "open"
    assert standing(replace(EFFECT, either=True), BELOW, BELOW) == "supports"


def test_equality_shown_is_told_from_equality_not_shown_with_the_detectable_distance() -> None:
    shown, wide = (judge(PLAIN, {"raw": interval}, SCOPE) for interval in (NEAR, ACROSS))
    assert shown.equal
    assert "equality within 0.5 points is shown" in shown.reason
    assert not wide.equal
    assert "equality within 0.5 points is not shown" in wide.reason
    ratio = 1 + stats.t.ppf(0.8, 9) / stats.t.ppf(0.975, 9)
    assert wide.detectable["raw"] == pytest.approx(2 * ratio)
    assert f"smallest detectable distance {2 * ratio:.2f}" in wide.reason


def test_intervals_are_corrected_for_their_number() -> None:
    """An interval that excludes 0 narrowly is no finding among four such intervals."""
    narrow = Interval(2, 0.01, 3.99)
    assert standing(PLAIN, narrow) == "supports"
    assert standing(PLAIN, *[narrow] * 4) == "open"
    assert judge(PLAIN, {"raw": narrow}, SCOPE, looks=2).standing == "open"


def test_fewer_than_sixteen_images_give_no_verdict() -> None:
    few, enough = (judge(PLAIN, {"raw": ABOVE}, replace(SCOPE, images=n)) for n in (15, 16))
    assert (few.standing, enough.standing) == ("open", "supports")
    assert few.reason.endswith("no verdict below 16 images, whose intervals are too narrow")


def test_threshold_is_named_as_ours_and_decides() -> None:
    reading = Reading("A6", "words", 50, unit="%")
    assert standing(reading, Interval(60, 55, 65)) == "supports"
    assert standing(reading, Interval(40, 35, 45)) == "contradicts"
    found = judge(replace(reading, spared="too weak"), {"raw": Interval(40, 35, 45)}, SCOPE)
    assert found.standing == "open"
    assert found.reason.endswith("; too weak")
    assert "our threshold is 50 %" in found.reason


def test_single_schedule_group_gives_no_verdict() -> None:
    scope = replace(SCOPE, groups=1)
    assert NO_VERDICT in judge(PLAIN, {"raw": ABOVE}, scope).reason
    assert standing(PLAIN, ABOVE, scope=scope) == "open"
    cause = judge(CAUSE, {"raw": ABOVE}, scope, [SEPARATED])
    assert cause.standing == "open"
    assert "no verdict of cause: one schedule group" in cause.reason


SEPARATED = Permutation(3.0, 2 / 400, 400, 3)


@pytest.mark.parametrize(
    ("tests", "trainings", "expected"),
    [
        ([SEPARATED], 3, "supports"),
        ([replace(SEPARATED, difference=-3.0)], 3, "open"),
        ([replace(SEPARATED, p=0.2)], 3, "open"),
        ([SEPARATED], 1, "open"),
        (None, 3, "open"),
    ],
)
def test_cause_needs_a_test_over_trainings(
    tests: list[Permutation] | None, trainings: int, expected: str
) -> None:
    scope = replace(SCOPE, trainings=trainings)
    assert judge(CAUSE, {"raw": ABOVE}, scope, tests).standing == expected


def test_scope_is_told_in_words() -> None:
    alone = Scope(models=5, trainings=1, videos=2, groups=10, images=48, freedom=9.0)
    assert alone.words == "these 5 models, one training each, 2 videos, 10 schedule groups"
    assert "3 trainings each, videos unknown, one schedule group" in (
        replace(alone, trainings=3, videos=None, groups=1).words
    )


def experiments(effect: float = 0.0, seed: int = 0) -> list[Verdict]:
    """Verdicts on the difference of two attacks, raw and at equal energy, in 48 images."""
    generator, groups = np.random.default_rng(seed), np.repeat(np.arange(len(SIZES)), SIZES)
    factor = factor_of(groups.tolist(), 500)
    scope = replace(SCOPE, freedom=factor.freedom)
    shape = (EXPERIMENTS, 2)
    common = generator.normal(0, 1, (len(groups), EXPERIMENTS, 1))  # of both scores
    draws = generator.normal(0, 1, (len(SIZES), *shape))[groups]
    differences = effect + common + draws + generator.normal(0, 1, (len(groups), *shape))
    sums = factor.sums(differences.reshape(len(groups), -1)).reshape(-1, *shape)
    means = sums / factor.sums(np.ones((len(groups), 1)))[:, :, None]
    design = Design((factor,))
    return [
        judge(
            EFFECT,
            {
                name: interval_of(design, [means[:, number, score]])
                for score, name in enumerate(("raw", "equal-rms"))
            },
            scope,
        )
        for number in range(EXPERIMENTS)
    ]


def is_false(verdict: Verdict) -> bool:
    """Return whether a verdict claims a difference; shown equality is true under the null."""
    return verdict.standing == "supports" or (
        verdict.standing == "contradicts" and not verdict.equal
    )


def test_the_same_attack_twice_gives_at_most_5_percent_of_false_verdicts() -> None:
    assert np.mean([is_false(verdict) for verdict in experiments()]) <= MOST_FALSE


def test_an_effect_of_twice_the_detectable_size_is_found() -> None:
    sizes = [size for verdict in experiments() for size in verdict.detectable.values()]
    for sign, expected in ((2, "supports"), (-2, "contradicts")):
        found = experiments(sign * float(np.mean(sizes)), seed=1)
        assert np.mean([verdict.standing == expected for verdict in found]) >= 0.9


def trained_twice(effect: float, seed: int, spread: float = 1.0) -> list[Verdict]:
    """Verdicts of cause on three trainings per arm in two architectures; training seeds differ."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(EXPERIMENTS):
        means = generator.normal(0, spread, (2, 2, 3)) + effect * np.array([0, 1])[:, None]
        test = permutation_test({"r18": tuple(means[0]), "mnv2": tuple(means[1])})
        # Ten schedule groups of many images: image noise is small beside the trainings'.
        groups = test.difference + generator.normal(0, 0.3, 10)
        half = float(stats.t.ppf(0.975, 9) * groups.std(ddof=1) / 10**0.5)
        centre = float(groups.mean())
        interval = Interval(centre, centre - half, centre + half)
        found.append(judge(CAUSE, {"raw": interval}, SCOPE, [test]))
    return found


def test_the_same_net_trained_twice_gives_at_most_5_percent_of_false_causes() -> None:
    found = trained_twice(0.0, seed=2)
    assert np.mean([is_false(verdict) for verdict in found]) <= MOST_FALSE


def test_a_large_effect_of_training_is_found() -> None:
    """The effect is twice the detectable difference of a t test over twelve trainings."""
    detectable = float(stats.t.ppf([0.975, 0.8], 8).sum()) * (2 / 6) ** 0.5
    for sign, expected in ((2, "supports"), (-2, "contradicts")):
        found = trained_twice(sign * detectable, seed=3)
        assert np.mean([verdict.standing == expected for verdict in found]) >= 0.9
