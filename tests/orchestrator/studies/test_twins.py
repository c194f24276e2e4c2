"""Twins: the gain of dynamic scaling on both, and its difference."""

from typing import Any

import pytest

from segtransfer.errors import InputError
from segtransfer.studies import BaseExperiment
from segtransfer.studies.twins import STUDY
from tests.orchestrator.studies.made_up import base_of, noisy, numbers_of, standings

WITH, WITHOUT = "pspnet-r18", "pspnet-r18-noscale"


def gains(of: dict[str, float], default: float = 1.0) -> Any:
    """PGD leaves 40 everywhere; dynamic scaling as much less as its source is given here."""

    def scores(attack: str, source: str, target: str) -> float:
        return 40 - of.get(source, default) * attack.startswith("ds")

    return scores


def test_both_twins_are_sources_and_targets_for_any_base() -> None:
    experiment = STUDY.experiment(base_of(sources=["fcn-r18"], targets=["fcn-mnv2"]))
    assert experiment.sources == ("fcn-r18", WITH, WITHOUT)
    assert experiment.targets == (WITH, WITHOUT, "fcn-mnv2")


def test_gains_and_their_difference_equal_a_count_by_hand() -> None:
    (kind,) = numbers_of(STUDY, gains({WITH: 2.0, WITHOUT: 5.0})).kinds
    source, target = kind.roles
    assert source.first["raw"].value == pytest.approx(2, abs=1e-4)
    assert source.second["equal-rms"].value == pytest.approx(5, abs=1e-4)
    assert source.difference["raw"].value == pytest.approx(3, abs=1e-4)
    # As targets, both are attacked by the same other models, with the same gain.
    assert target.first["raw"].value == pytest.approx(1, abs=1e-4)
    assert target.difference["raw"].value == pytest.approx(0, abs=1e-4)


def test_twins_are_compared_on_common_partners_without_themselves() -> None:
    def scores(attack: str, source: str, target: str) -> float:
        if {source, target} <= {WITH, WITHOUT}:
            return 40 - 30 * attack.startswith("ds")
        return gains({})(attack, source, target)

    (kind,) = numbers_of(STUDY, scores).kinds
    assert [role.first["raw"].value for role in kind.roles] == pytest.approx([1, 1], abs=1e-4)


def replicated(*, exchanged: bool = False) -> BaseExperiment:
    """Three pairs of twins on each of two backbones."""
    names = [(f"psp-{b}-with{n}", f"psp-{b}-without{n}") for b in ("r18", "mnv2") for n in range(3)]
    models = [{"name": name, "zoo": "pspnet-r18"} for pair in names for name in pair]
    twins = [pair[::-1] if exchanged else pair for pair in names]
    return base_of(
        models=["fcn-r18", "fcn-mnv2", *models],
        sources=["fcn-r18", "fcn-mnv2"],
        targets=["fcn-r18", "fcn-mnv2"],
        study={"twins": twins},
    )


def by_training(first: float, second: float) -> Any:
    """Return the mIoU if dynamic scaling gains so much on sources with and without."""

    def scores(attack: str, source: str, target: str) -> float:
        arm = second if "without" in source else first if "with" in source else 1.0
        return 40 - arm * attack.startswith("ds")

    return scores


def test_exchanged_twins_flip_the_claim() -> None:
    assert standings(STUDY, by_training(2, 5), replicated()) == {"A4": "supports"}
    assert standings(STUDY, by_training(5, 2), replicated()) == {"A4": "contradicts"}
    exchanged = replicated(exchanged=True)
    assert standings(STUDY, by_training(2, 5), exchanged) == {"A4": "contradicts"}


def test_separated_trainings_have_the_exact_p_of_all_arrangements() -> None:
    told = STUDY.paragraph(numbers_of(STUDY, by_training(2, 5), replicated()))
    assert "p = 0.005 and 0.005 over 400 arrangements of the trainings" in told
    assert "3 trainings each" in told


def test_one_pair_of_twins_gives_no_verdict_of_cause() -> None:
    for first, second in ((2.0, 5.0), (5.0, 2.0), (1.0, 1.0)):
        numbers = numbers_of(STUDY, gains({WITH: first, WITHOUT: second}))
        (verdict,) = STUDY.verdicts(numbers)
        assert verdict.standing == "open"
        assert "no verdict of cause: one training per arm" in verdict.reason


def test_a_difference_of_a_single_training_leaves_the_claim_open() -> None:
    def scores(attack: str, source: str, target: str) -> float:
        return 40 - 9.0 * (attack.startswith("ds") and source == "psp-r18-without1")

    assert standings(STUDY, scores, replicated()) == {"A4": "open"}


def test_equal_gains_contradict_the_claim_and_noise_leaves_the_claim_open() -> None:
    assert standings(STUDY, gains({}), replicated()) == {"A4": "contradicts"}

    def scattered(attack: str, source: str, target: str) -> list[float]:
        return noisy(40, 10, seed=sum(map(ord, attack + source)))

    assert standings(STUDY, scattered, replicated()) == {"A4": "open"}


def test_twins_of_another_stride_have_gains_and_no_verdict() -> None:
    base = base_of(study={"stride_twins": [["fcn-r18", "pspnet-r18"]]})
    assert standings(STUDY, gains({}), base) == {"A4": "not tested"}
    told = STUDY.paragraph(numbers_of(STUDY, gains({}), base))
    assert "With fcn-r18 / pspnet-r18 (finer / coarser output stride) as source" in told
    assert "Output stride is not tested" in STUDY.paragraph(numbers_of(STUDY, gains({})))


def test_base_without_twins_or_partners_is_refused() -> None:
    with pytest.raises(InputError, match="Study twins needs pairs of networks"):
        STUDY.experiment(base_of(study={}))
    alone = base_of(models=[WITH, WITHOUT], sources=None, study={"twins": [[WITH, WITHOUT]]})
    with pytest.raises(InputError, match="twins as sources with a common target"):
        STUDY.experiment(alone)
    with pytest.raises(InputError, match="twins as targets with a common source"):
        STUDY.experiment(base_of(sources=[WITH]))
