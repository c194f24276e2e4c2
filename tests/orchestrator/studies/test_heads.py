"""Heads: pairs by shared parts, contrasts per target, and the verdicts."""

from typing import Any

import pytest

from segtransfer.errors import InputError
from segtransfer.studies.heads import BACKBONE, BOTH, HEAD, ITSELF, KINDS, NEITHER, STUDY
from tests.orchestrator.studies.made_up import base_of, noisy, numbers_of, standings


def shares(source: str, target: str) -> tuple[bool, bool, bool]:
    """Whether two zoo models are the same, have the same head, the same backbone."""
    (head, backbone), (other_head, other_backbone) = (
        name.split("-")[:2] for name in (source, target)
    )
    return source == target, head == other_head, backbone == other_backbone


def scores_of(itself: float, head: float, backbone: float, ds: float = 2.0) -> Any:
    """60 minus the effect of shared parts and of ``ds``, plus a level per target."""
    levels = {"fcn-r18": 3.0, "pspnet-r18": -2.0, "fcn-mnv2": 5.0}

    def scores(attack: str, source: str, target: str) -> float:
        same, same_head, same_backbone = shares(source, target)
        taken = itself * same + head * same_head + backbone * same_backbone
        return 60 + levels.get(target, 0.0) - taken - ds * attack.startswith("ds")

    return scores


def test_every_pair_has_a_single_kind() -> None:
    numbers = numbers_of(STUDY, scores_of(20, 3, 5))
    assert tuple(kind.name for kind in numbers.kinds) == KINDS
    # Four sources, five targets: the twin of pspnet-r18 differs in its weights only.
    counted = {kind.name: kind.pairs for kind in numbers.kinds}
    assert counted == {ITSELF: 4, BOTH: 1, BACKBONE: 5, HEAD: 5, NEITHER: 5}


def test_contrasts_equal_a_count_by_hand_at_any_level_of_a_target() -> None:
    numbers = numbers_of(STUDY, scores_of(20, 3, 5))
    for score in ("raw", "equal-rms"):
        assert numbers.shared_head[score].value == pytest.approx(3, abs=1e-4)
        assert numbers.shared_backbone[score].value == pytest.approx(5, abs=1e-4)
    ds, pgd = (numbers.of(NEITHER).drops[attack]["raw"].value for attack in ("ds", "pgd"))
    assert ds - pgd == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("head", [3, 0, -3])
def test_one_training_per_network_gives_no_verdict_of_cause(head: float) -> None:
    numbers = numbers_of(STUDY, scores_of(20, head, 5))
    (cause,) = (verdict for verdict in STUDY.verdicts(numbers) if verdict.claim == "A4")
    assert cause.standing == "open"
    assert "no verdict of cause: one training per arm" in cause.reason
    assert cause.equal == (head == 0)


def test_transfer_between_unlike_models_as_strong_as_a_white_box_flips_the_limit() -> None:
    assert standings(STUDY, scores_of(60, 3, 5))["A3"] == "supports"
    assert standings(STUDY, scores_of(1, 3, 5))["A3"] == "contradicts"
    told = STUDY.paragraph(numbers_of(STUDY, scores_of(60, 3, 5)))
    assert "read as: transfer is limited below a ratio of 50 %" in told
    assert "by threshold: contradicts at 10 to 20 %, supports at 30 to 90 %" in told


def test_noise_leaves_the_claim_open() -> None:
    def scattered(attack: str, source: str, target: str) -> list[float]:
        return noisy(40, 10, seed=sum(map(ord, attack + source + target)))

    assert standings(STUDY, scattered)["A4"] == "open"


def test_heads_are_read_from_the_config_unless_the_study_names_them() -> None:
    base = base_of(study={"heads": {"fcn-mnv2": "another"}})
    numbers = numbers_of(STUDY, scores_of(20, 3, 5), base)
    assert numbers.heads == {
        "fcn-r18": "FCNHead",
        "pspnet-r18": "PSPHead",
        "pspnet-r18-noscale": "PSPHead",
        "fcn-mnv2": "another",
        "pspnet-mnv2": "PSPHead",
    }


def test_a_model_of_unknown_head_is_named() -> None:
    toy = {"name": "toy", "torch": {"callable": "tests.toys:convolutional"}}
    base = base_of(models=["fcn-r18", toy], sources=None, study={})
    with pytest.raises(InputError, match=r"kind of head of toy is unknown. Set study\.heads"):
        STUDY.experiment(base)


def test_a_base_without_pairs_of_both_kinds_does_not_test_the_claim() -> None:
    base = base_of(models=["fcn-r18", "pspnet-r18"], sources=None, study={})
    found = standings(STUDY, scores_of(20, 3, 5), base)
    assert (found["A3"], found["A4"]) == ("not tested", "not tested")


def test_gain_over_pgd_alone_supports_nothing() -> None:
    assert "A5" not in standings(STUDY, scores_of(20, 3, 5))


def test_easily_is_read_against_the_strongest_white_box_attack() -> None:
    assert standings(STUDY, scores_of(1, 3, 5))["A6"] == "supports"
    assert standings(STUDY, scores_of(60, 3, 5))["A6"] == "contradicts"
