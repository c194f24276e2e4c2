"""Jitter: wide ranges of scales against small ones, shifts, mirror images and paddings."""

import pytest

from segtransfer.studies.jitter import JITTERS, STUDY
from tests.orchestrator.studies.made_up import (
    base_of,
    gains_over_pgd,
    noisy,
    numbers_of,
    standings,
)


def test_ranges_reach_as_far_up_as_down_and_the_widest_is_the_default() -> None:
    attacks = {attack.name: attack for attack in STUDY.experiment(base_of()).attacks}
    for percent in JITTERS:
        (scaling,) = attacks[f"scales-{percent}"].transforms
        assert (scaling.low, scaling.low + scaling.width) == pytest.approx(
            (1 - percent / 100, 1 + percent / 100)
        )
    (shift,) = attacks["shift"].transforms
    assert shift.kind == "shift"
    assert all(attack.momentum is None for attack in attacks.values())
    assert len({attack.budget for attack in attacks.values()}) == 1


def test_gain_of_wide_ranges_alone_supports_the_claim() -> None:
    assert standings(STUDY, gains_over_pgd(scales_50=9, scales_25=9))["A4"] == "supports"


def test_equal_gains_of_all_jitter_contradict_the_claim() -> None:
    numbers = numbers_of(STUDY, gains_over_pgd())
    assert numbers.over_best["raw"].value == pytest.approx(0, abs=1e-4)
    assert standings(STUDY, gains_over_pgd())["A4"] == "contradicts"
    assert "equality within 0.5 points is shown" in STUDY.paragraph(numbers)


@pytest.mark.parametrize("control", ["scales_2", "scales_10", "rdi", "shift", "flip"])
def test_a_single_control_that_gains_as_much_as_wide_ranges_contradicts_the_claim(
    control: str,
) -> None:
    assert standings(STUDY, gains_over_pgd(scales_50=9, **{control: 9}))["A4"] == "contradicts"


def test_a_wide_range_that_gains_as_much_does_not_count_as_a_control() -> None:
    assert standings(STUDY, gains_over_pgd(scales_50=9, scales_25=12))["A4"] == "supports"


def test_jitter_that_differs_by_noise_leaves_the_claim_open() -> None:
    def scattered(attack: str, source: str, target: str) -> list[float]:
        return noisy(50, 10, seed=sum(map(ord, attack + source + target)))

    assert standings(STUDY, scattered)["A4"] == "open"
