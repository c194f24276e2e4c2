"""Verdicts: the standing of a claim follows from its intervals."""

import pytest

from segtransfer.statistics import Interval
from segtransfer.studies.study import (
    Verdict,
    direction,
    ease,
    matters,
    over_pgd,
    signed,
    standing,
    summary,
)

ABOVE, BELOW, ACROSS = Interval(2, 1, 3), Interval(-2, -3, -1), Interval(1, -1, 3)
NEAR, UNKNOWN = Interval(0.1, -0.2, 0.4), Interval(1, float("nan"), float("nan"), float("nan"))


@pytest.mark.parametrize(
    ("intervals", "sign", "where"),
    [
        ([ABOVE, ABOVE], 1, "supports"),
        ([BELOW], -1, "contradicts"),
        ([ABOVE, BELOW], 0, "leaves open"),
        ([ABOVE, ACROSS], 0, "leaves open"),
        ([UNKNOWN], 0, "leaves open"),
        ([], 0, "leaves open"),
    ],
)
def test_claim_has_the_common_sign_of_its_intervals(
    intervals: list[Interval], sign: int, where: str
) -> None:
    assert direction(intervals) == sign
    assert standing(direction(intervals)) == where


def test_negligible_effect_contradicts_a_claim_of_an_effect() -> None:
    assert matters([NEAR, NEAR]) == "contradicts"
    assert matters([NEAR, ACROSS]) == "leaves open"
    assert matters([ABOVE, ABOVE]) == "supports"
    assert matters([UNKNOWN]) == matters([]) == "leaves open"


def test_ease_needs_every_ratio_on_one_side() -> None:
    def ratio(low: float, high: float) -> Interval:
        return Interval((low + high) / 2, low, high)

    assert ease([{"raw": ratio(51, 60), "eps*sign": ratio(70, 80)}]).standing == "supports"
    assert ease([{"raw": ratio(10, 20)}, {"raw": ratio(30, 49)}]).standing == "contradicts"
    assert ease([{"raw": ratio(10, 20)}, {"raw": ratio(60, 70)}]).standing == "leaves open"
    assert ease([{}, {}]).standing == "not tested"
    assert (
        "15.0 [10.0, 20.0] to 65.0 [60.0, 70.0] %"
        in ease([{"raw": ratio(60, 70)}, {"raw": ratio(10, 20)}]).reason
    )


def test_below_the_authors_eps_nothing_contradicts_their_claim() -> None:
    weak = [{"raw": Interval(15, 10, 20)}]
    found = ease(weak, 4 / 255)
    assert found.standing == "open at this eps"
    assert "eps 4/255 is below the authors' eps of 0.03" in found.reason
    assert "leaves A6 open at this eps (" in summary([found])
    assert ease(weak, 8 / 255).standing == "contradicts"
    assert ease([{"raw": Interval(65, 60, 70)}], 4 / 255).standing == "supports"


def test_verdict_over_pgd_names_pgd() -> None:
    assert over_pgd("A5", "supports", "more").reason == "more; compared with PGD only"


def test_a_summary_names_every_claim_and_why() -> None:
    told = summary(
        [
            Verdict("A1", "not tested", "no classifier"),
            Verdict("A2", "supports", "two"),
            Verdict("A3", "leaves open", "three"),
            Verdict("A4", "contradicts", "four"),
        ]
    )
    assert told == (
        "This does not test A1 (no classifier), supports A2 (two), leaves A3 open (three) and "
        "contradicts A4 (four)."
    )


def test_differences_carry_their_sign_and_interval() -> None:
    assert signed(ABOVE) == "+2.00 [+1.00, +3.00]"
    assert signed({"raw": BELOW, "eps*sign": ABOVE}) == (
        "−2.00 [−3.00, −1.00] (raw) and +2.00 [+1.00, +3.00] (eps*sign)"
    )
