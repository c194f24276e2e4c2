"""eps: a verdict at each strength, over the best rival, and how easily AEs transfer."""

from typing import Any

import pytest

from segtransfer.studies.eps import LEVELS, STUDY
from tests.orchestrator.studies.made_up import RIGHT, base_of, noisy, numbers_of


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


def by_eps(scores: Any, claim: str, base: Any = None) -> list[str]:
    """Where a claim stands at each eps, weakest first."""
    found = STUDY.verdicts(numbers_of(STUDY, scores, base))
    return [verdict.standing for verdict in found if verdict.claim == claim]


def everywhere(gain: float) -> dict[int, float]:
    return dict.fromkeys(LEVELS, gain)


def test_every_attack_is_made_at_every_eps_at_the_same_cost() -> None:
    attacks = {attack.name: attack for attack in STUDY.experiment(base_of()).attacks}
    assert len(attacks) == 4 * 4
    assert attacks["ds-mi-16"].eps == pytest.approx(16 / 255)
    assert attacks["rdi-mi-2"].budget == attacks["ds-mi-8"].budget
    assert attacks["noise-4"].steps == 0


def test_gains_and_ratios_equal_a_count_by_hand() -> None:
    numbers = numbers_of(STUDY, scores_of({2: 1, 4: 2, 8: 4, 16: 0}, ratio=0.5))
    for other in ("rdi-mi", "pgd"):
        found = [at.gains[other]["raw"].value for at in numbers.strengths]
        assert found == pytest.approx([1, 2, 4, 0], abs=1e-4)
    assert [at.ratio["raw"].value for at in numbers.strengths] == pytest.approx(
        [52.5, 55, 60, 50], abs=1e-3
    )


def test_rival_and_dynamic_scaling_exchanged_flip_the_claim_at_every_eps() -> None:
    assert by_eps(scores_of(everywhere(3.0)), "A5") == ["supports"] * 4
    assert by_eps(scores_of(everywhere(-3.0)), "A5") == ["contradicts"] * 4
    assert by_eps(scores_of(everywhere(0.0)), "A5") == ["open"] * 4


def test_every_eps_has_a_verdict_of_its_own() -> None:
    found = by_eps(scores_of({2: 3, 4: 0, 8: 0, 16: -3}), "A5")
    assert found == ["supports", "open", "open", "contradicts"]


def test_gain_over_pgd_alone_supports_nothing() -> None:
    def ahead_of_pgd(attack: str, source: str, target: str) -> float:
        return RIGHT - 20 - 15 * (not attack.startswith("pgd")) - 20 * (source == target)

    assert by_eps(ahead_of_pgd, "A5") == ["open"] * 4


def test_paragraph_names_the_eps_of_each_verdict_and_both_baselines() -> None:
    told = STUDY.paragraph(numbers_of(STUDY, scores_of({2: 0, 4: 3, 8: 0, 16: 0})))
    start = "supports A5 at 4/255 (the drop under DS-MI minus RDI-MI is +3.00 [+3.00, +3.00] (raw)"
    assert start in told
    assert "leaves A5 at 2/255 open" in told
    assert "under DS-MI minus the drop under PGD, in points, is +0.00" in told


def test_gain_of_a_single_score_does_not_count() -> None:
    def raw_alone(attack: str, source: str, target: str) -> float:
        return scores_of(everywhere(0.0 if attack.endswith(":rms") else 3.0))(
            attack, source, target
        )

    assert by_eps(raw_alone, "A5") == ["open"] * 4


def test_easily_means_at_least_half_of_the_strongest_white_box_drop() -> None:
    assert by_eps(scores_of(everywhere(0.0), ratio=0.8), "A6") == ["supports"] * 4
    weak = by_eps(scores_of(everywhere(0.0), ratio=0.2), "A6")
    assert weak == ["open", "open", "contradicts", "contradicts"], "below the authors' eps: open"
    mixed = by_eps(scores_of({2: 0, 4: 0, 8: 30, 16: 30}, ratio=0.2), "A6")
    assert mixed == ["open", "open", "supports", "supports"]


def test_base_without_white_box_pairs_does_not_test_ease() -> None:
    base = base_of(sources=["fcn-r18"], targets=["fcn-mnv2"])
    assert by_eps(scores_of(everywhere(1.0)), "A6", base) == ["not tested"] * 4


def test_gain_within_noise_does_not_count() -> None:
    def scattered(attack: str, source: str, target: str) -> list[float]:
        return noisy(50, 10, seed=sum(map(ord, attack + source + target)))

    assert by_eps(scattered, "A5") == ["open"] * 4
