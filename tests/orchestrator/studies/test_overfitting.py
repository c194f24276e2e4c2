"""Overfitting: O by hand, the best step picked on other images, and which claims follow."""

from typing import Any

import numpy as np
import pytest

from segtransfer.studies.overfitting import KEPT_STEPS, STUDY, Curve, first_half
from segtransfer.tasks.randomness import schedule_group
from tests.orchestrator.studies.made_up import (
    IMAGES,
    base_of,
    noisy,
    numbers_of,
    results_of,
    standings,
)

LAST = KEPT_STEPS[-1]


def step_of(attack: str) -> int:
    return int(attack.split(":")[1])


def falling(attack: str, source: str, target: str) -> float:
    """mIoU falls with every step, on the source itself 20 points below others."""
    return 40 + 20 / step_of(attack) - 20 * (source == target)


def turning(attack: str, source: str, target: str) -> float:
    """As ``falling``, but on others mIoU is least after ten steps and rises from there by four."""
    step = step_of(attack)
    if source == target or step <= 10:
        return falling(attack, source, target)
    return 42 + 4 * (step - 10) / (LAST - 10)


def curve(
    scores: Any, attack: str = "pgd", score: str = "raw", group: str = "cross_backbone"
) -> Curve:
    (found,) = (c for c in numbers_of(STUDY, scores).of(attack, group) if c.score == score)
    return found


def test_attack_runs_once_and_keeps_steps_raw_and_at_equal_energy() -> None:
    experiment = STUDY.experiment(base_of())
    assert [attack.name for attack in experiment.attacks] == ["pgd", "ds"]
    for attack in experiment.attacks:
        assert attack.steps_at == KEPT_STEPS
        assert attack.scores == ("raw", "equal-rms")
        assert attack.step_size == pytest.approx(2 / 255)


def test_kept_steps_end_with_the_last_step_of_the_base() -> None:
    base = base_of(attacks=[{"preset": "pgd", "steps": 15}])
    assert STUDY.experiment(base).attacks[0].steps_at == (1, 2, 3, 5, 7, 10, 15)


def test_overfitting_index_is_the_last_step_minus_the_best_step() -> None:
    found = curve(turning)
    assert found.overfit.value == pytest.approx(4, abs=1e-4)
    assert found.best == (10, 10)
    assert [i.value for i in found.values] == pytest.approx(
        [turning(f"pgd:{step}", "a", "b") for step in KEPT_STEPS], abs=1e-4
    )
    # From ten steps to a hundred the source itself goes from 22 to 20.2.
    assert found.source.value == pytest.approx(-1.8, abs=1e-4)


def test_score_falling_to_the_last_step_has_an_index_of_zero() -> None:
    found = curve(falling)
    assert (found.overfit.low, found.overfit.value, found.overfit.high) == (0, 0, 0)
    assert found.best == (LAST, LAST)


def test_best_step_of_a_half_is_scored_on_the_other_half() -> None:
    first = first_half(results_of(STUDY.experiment(base_of()), falling))
    assert 0.3 < first.mean() < 0.7

    def halves(attack: str, source: str, target: str) -> list[float]:
        """The first half is least at 5 steps, the second at 20; each is at 50 elsewhere."""
        low = {5: first, 20: ~first}.get(step_of(attack), np.zeros(IMAGES, bool))
        return list(np.where(low, 40.0, 50.0))

    found = curve(halves)
    assert found.best == (5, 20)
    # What looks like ten points on the same images is none on others.
    assert found.overfit.value == pytest.approx(0, abs=1e-4)


def test_images_of_a_schedule_group_are_in_the_same_half() -> None:
    results = results_of(STUDY.experiment(base_of()), falling)
    count = results.manifest.spec["schedule_groups"]
    first = first_half(results)
    groups = np.array([schedule_group(name, count) for name in results.image_ids])
    assert {first[groups == group].mean() for group in groups} == {0, 1}
    alone = results_of(STUDY.experiment(base_of(schedule_groups=1)), falling)
    assert first_half(alone).sum() == IMAGES / 2


def test_turn_with_a_recovering_source_is_no_overfitting() -> None:
    def all_alike(attack: str, source: str, target: str) -> float:
        return turning(attack, "one", "other") - 20 * (source == target)

    assert curve(all_alike).overfit.low > 0
    assert standings(STUDY, all_alike)["A2"] == "open"


def test_curve_without_a_turn_supports_a2_and_with_a_turn_contradicts() -> None:
    assert standings(STUDY, falling) == {"A1": "not tested", "A2": "supports", "A3": "supports"}
    assert standings(STUDY, turning) == {
        "A1": "not tested",
        "A2": "contradicts",
        "A3": "open",
    }


def test_source_and_target_exchanged_flip_the_verdict_on_transfer() -> None:
    def exchanged(attack: str, source: str, target: str) -> float:
        return falling(attack, source, "other" if source == target else source)

    assert standings(STUDY, exchanged)["A3"] == "contradicts"


def test_turn_on_a_single_group_supports_a2() -> None:
    def partly(attack: str, source: str, target: str) -> float:
        same = source.split("-")[1] == target.split("-")[1]
        return (falling if same else turning)(attack, source, target)

    assert standings(STUDY, partly)["A2"] == "supports"


def test_turn_of_a_single_score_leaves_the_claim_open() -> None:
    def raw_alone(attack: str, source: str, target: str) -> float:
        return (falling if attack.endswith(":rms") else turning)(attack, source, target)

    assert standings(STUDY, raw_alone)["A2"] == "open"


def test_noise_leaves_the_claim_open() -> None:
    def scattered(attack: str, source: str, target: str) -> list[float]:
        value = 30.0 if source == target else 45.0
        return noisy(value, 8, seed=step_of(attack) + 1000 * attack.endswith(":rms"))

    assert standings(STUDY, scattered)["A2"] == "open"


def test_short_attack_leaves_the_claims_open() -> None:
    base = base_of(attacks=[{"preset": "pgd", "steps": 10}])
    found = standings(STUDY, falling, base)
    assert found == {"A1": "not tested", "A2": "open", "A3": "open"}


def test_paragraph_has_the_numbers() -> None:
    told = STUDY.paragraph(numbers_of(STUDY, turning))
    assert told.startswith("On 40 images of nothing, eps 8/255, 100 steps of a fixed size: ")
    assert "still falling" not in told
    assert "O = +4.00 [+4.00, +4.00] (raw) and +4.00 [+4.00, +4.00] (equal-rms)" in told
    assert "does not test A1 (no classifier was attacked), contradicts A2" in told
    assert "one video" in told
