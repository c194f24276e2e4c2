"""Rivals: dynamic scaling with momentum against the best other transform, at equal cost."""

import pytest

from segtransfer.reporting.studies.equal_cost import draw_equal_cost
from segtransfer.studies.rivals import RIVALS, STUDY
from tests.orchestrator.studies.made_up import (
    base_of,
    gains_over_pgd,
    noisy,
    numbers_of,
    standings,
)


def test_every_attack_has_the_cost_and_eps_of_the_base() -> None:
    base = base_of(attacks=[{"preset": "pgd", "eps": "8/255", "steps": 40}])
    attacks = {attack.name: attack for attack in STUDY.experiment(base).attacks}
    assert list(attacks) == ["pgd", "ds-mi", *RIVALS, "ds"]
    assert {attack.eps for attack in attacks.values()} == {8 / 255}
    for attack in attacks.values():
        assert attack.steps_taken * attack.step_cost == pytest.approx(40, rel=0.02), attack.name
    momenta = {name for name, attack in attacks.items() if attack.momentum is not None}
    assert momenta == {"ds-mi", *RIVALS}


def test_differences_to_the_best_rival_equal_a_count_by_hand() -> None:
    numbers = numbers_of(STUDY, gains_over_pgd(ds_mi=9, rdi_mi=6, sia_mi=5))
    assert numbers.best("raw").name == "rdi-mi"
    assert numbers.over_best["raw"].value == pytest.approx(3, abs=1e-4)
    assert numbers.baseline.behind["equal-rms"].value == pytest.approx(9, abs=1e-4)
    told = STUDY.paragraph(numbers)
    assert "the drop under ds-mi minus the drop under the best of 6 (rdi-mi) is +3.00" in told


def test_best_rival_may_differ_by_score() -> None:
    def scores(attack: str, source: str, target: str) -> float:
        best = "di-mi:rms" if attack.endswith(":rms") else "flip-mi"
        return gains_over_pgd(ds_mi=9)(attack, source, target) - 4 * (attack == best)

    numbers = numbers_of(STUDY, scores)
    assert [numbers.best(score).name for score in ("raw", "equal-rms")] == ["flip-mi", "di-mi"]
    assert "the best of 6 (flip-mi, di-mi)" in STUDY.paragraph(numbers)


def test_dynamic_scaling_and_its_best_rival_exchanged_flip_the_claim() -> None:
    assert standings(STUDY, gains_over_pgd(ds_mi=9, rdi_mi=6))["A5"] == "supports"
    assert standings(STUDY, gains_over_pgd(ds_mi=6, rdi_mi=9))["A5"] == "contradicts"
    assert standings(STUDY, gains_over_pgd(ds_mi=6, rdi_mi=6))["A5"] == "open"


def test_a_gain_over_pgd_alone_does_not_support_the_claim() -> None:
    """Dynamic scaling beats PGD by 15 points, but a rival by nothing."""
    assert standings(STUDY, gains_over_pgd(ds_mi=15, mi=15))["A5"] == "open"


def test_rivals_that_differ_by_noise_leave_the_claim_open() -> None:
    def scattered(attack: str, source: str, target: str) -> list[float]:
        return noisy(50, 10, seed=sum(map(ord, attack + source + target)))

    assert standings(STUDY, scattered)["A5"] == "open"


def test_figure_has_every_attack_once_per_panel() -> None:
    figure = draw_equal_cost(numbers_of(STUDY, gains_over_pgd(ds_mi=9)), "Question?\nfacts")
    left, right = ([t.get_text() for t in axes.get_yticklabels()] for axes in figure.axes)
    assert len(left) == len(set(left)) == 9
    assert len(right) == 8
    assert left[0].startswith("ds-mi")
    assert not any(label.startswith("ds-mi") for label in right)
