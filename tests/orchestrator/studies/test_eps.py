"""eps: gains at each strength, corrected for their number, and how easily AEs transfer."""

from typing import Any

import pytest

from segtransfer.studies.eps import LEVELS, STUDY
from tests.orchestrator.studies.made_up import RIGHT, base_of, noisy, numbers_of, standings


def scores_of(gain: dict[int, float], ratio: float = 0.8) -> Any:
    """White-box PGD has a drop of 40, on others 40 ``ratio``; dynamic scaling adds its gain."""

    def scores(attack: str, source: str, target: str) -> float:
        preset, _, level = attack.split(":")[0].rpartition("-")
        if preset == "noise":
            return RIGHT - 2
        if source == target:
            return RIGHT - 40
        return RIGHT - 40 * ratio - gain[int(level)] * preset.startswith("ds")

    return scores


def everywhere(gain: float) -> dict[int, float]:
    return dict.fromkeys(LEVELS, gain)


def test_every_attack_is_made_at_every_eps_at_the_same_cost() -> None:
    attacks = {attack.name: attack for attack in STUDY.experiment(base_of()).attacks}
    assert len(attacks) == 4 * 5
    assert attacks["ds-mi-16"].eps == pytest.approx(16 / 255)
    assert attacks["mi-2"].budget == attacks["ds-8"].budget
    assert attacks["noise-4"].steps == 0


def test_gains_and_ratios_equal_a_count_by_hand() -> None:
    numbers = numbers_of(STUDY, scores_of({2: 1, 4: 2, 8: 4, 16: 0}, ratio=0.5))
    (raw, _) = (g for g in numbers.gains if (g.attack, g.group) == ("ds", "cross_backbone"))
    assert [i.value for i in raw.values] == pytest.approx([1, 2, 4, 0], abs=1e-4)
    assert raw.beyond == (True, True, True, False)
    assert [scored["raw"].value for scored in numbers.ratios] == pytest.approx(
        [52.5, 55, 60, 50], abs=1e-3
    )


def test_pgd_and_dynamic_scaling_exchanged_flip_the_claim() -> None:
    assert standings(STUDY, scores_of(everywhere(3.0)))["A5"] == "supports"
    assert standings(STUDY, scores_of(everywhere(-3.0)))["A5"] == "contradicts"
    assert standings(STUDY, scores_of(everywhere(0.0)))["A5"] == "open"


def test_gains_of_both_signs_leave_the_claim_open() -> None:
    assert standings(STUDY, scores_of({2: 3, 4: 0, 8: 0, 16: -3}))["A5"] == "open"


def test_single_eps_beyond_noise_leaves_the_claim_open_with_the_spread_of_gains() -> None:
    told = STUDY.paragraph(numbers_of(STUDY, scores_of({2: 0, 4: 3, 8: 0, 16: 0})))
    start = "leaves A5 open (at eps 2, 4, 8, 16 of 255 the drop under DS minus PGD is "
    assert start + "0.0 [0.0, 0.0] to 3.0 [3.0, 3.0] points; compared with PGD only;" in told


def test_gain_of_a_single_score_does_not_count() -> None:
    def raw_alone(attack: str, source: str, target: str) -> float:
        return scores_of(everywhere(0.0 if attack.endswith(":rms") else 3.0))(
            attack, source, target
        )

    assert standings(STUDY, raw_alone)["A5"] == "open"


def test_easily_means_at_least_half_of_the_strongest_white_box_drop() -> None:
    assert standings(STUDY, scores_of(everywhere(0.0), ratio=0.8))["A6"] == "supports"
    assert standings(STUDY, scores_of(everywhere(0.0), ratio=0.2))["A6"] == "contradicts"
    mixed = scores_of({2: 0, 4: 0, 8: 30, 16: 30}, ratio=0.2)
    assert standings(STUDY, mixed)["A6"] == "open"


def test_base_without_white_box_pairs_does_not_test_ease() -> None:
    base = base_of(sources=["fcn-r18"], targets=["fcn-mnv2"])
    assert standings(STUDY, scores_of(everywhere(1.0)), base)["A6"] == "not tested"


def test_gain_within_noise_does_not_count() -> None:
    def scattered(attack: str, source: str, target: str) -> list[float]:
        return noisy(50, 10, seed=sum(map(ord, attack + source + target)))

    assert standings(STUDY, scattered)["A5"] == "open"
