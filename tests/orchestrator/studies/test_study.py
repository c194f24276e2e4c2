"""Sentences on the standing of claims, and the reading of ease."""

from segtransfer.statistics import Interval
from segtransfer.studies.study import Facts, ease, held_for, plain, signed, summary
from segtransfer.studies.verdicts import Scope, Verdict

ABOVE, BELOW = Interval(2, 1, 3), Interval(-2, -3, -1)


def facts(eps: float) -> Facts:
    return Facts("nothing", 40, "effort", eps, (), Scope(5, 1, 2, 10, 40, 9.0))


def ratio(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high)


def test_ease_needs_both_scores_on_one_side() -> None:
    at = facts(8 / 255)
    assert ease({"raw": ratio(51, 60), "equal-rms": ratio(70, 80)}, at).standing == "supports"
    assert ease({"raw": ratio(10, 20), "equal-rms": ratio(30, 49)}, at).standing == "contradicts"
    mixed = ease({"raw": ratio(12, 18), "equal-rms": ratio(62, 68)}, at)
    assert mixed.standing == "open"
    assert "15.0 [12.0, 18.0] to 65.0 [62.0, 68.0] %" in mixed.reason
    assert "by threshold: supports at 10 %, open at 20 to 60 %, contradicts at 70 to 90 %" in (
        mixed.reason
    )
    assert ease({}, at).standing == "not tested"


def test_below_the_authors_eps_nothing_contradicts_their_claim() -> None:
    weak = {"raw": ratio(10, 20)}
    found = ease(weak, facts(4 / 255))
    assert found.standing == "open"
    assert "eps 4/255 is below the authors' eps of 0.03" in found.reason
    assert ease(weak, facts(8 / 255)).standing == "contradicts"
    assert ease({"raw": ratio(60, 70)}, facts(4 / 255)).standing == "supports"


def test_a_paragraph_names_the_samples_of_its_verdicts() -> None:
    assert held_for(facts(8 / 255).scope) == (
        "Verdicts hold for these 5 models, one training each, 2 videos, 10 schedule groups, and "
        "claim no population."
    )


def test_a_summary_names_every_claim_and_why() -> None:
    told = summary(
        [
            Verdict("A1", "not tested", "no classifier"),
            Verdict("A2", "supports", "two"),
            Verdict("A3", "open", "three"),
            Verdict("A4", "contradicts", "four"),
        ]
    )
    assert told == (
        "This does not test A1 (no classifier), supports A2 (two), leaves A3 open (three) and "
        "contradicts A4 (four)."
    )


def test_differences_carry_their_sign_and_interval() -> None:
    assert signed(ABOVE) == "+2.00 [+1.00, +3.00]"
    assert signed({"raw": BELOW, "equal-rms": ABOVE}) == (
        "−2.00 [−3.00, −1.00] (raw) and +2.00 [+1.00, +3.00] (equal-rms)"
    )


def test_plain_value_has_the_minus_of_differences_and_no_minus_zero() -> None:
    assert plain(Interval(-0.44, -14.8, 14.1)) == "−0.4 [−14.8, 14.1]"
    assert plain(Interval(-0.01, -0.02, 0.3)) == "0.0 [0.0, 0.3]"
