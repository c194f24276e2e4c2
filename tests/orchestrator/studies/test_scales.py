"""Scales: the matrices, the weight of their diagonal in every score, and dynamic scaling."""

from typing import Any

import pandas as pd
import pytest

from segtransfer.errors import InputError
from segtransfer.results import Results
from segtransfer.studies.scales import CONTROLLED, EQUAL_RMS, RESTORED, SCALES, STUDY, Scales
from segtransfer.tasks.attacks.scoring import equal_rms_at, mark_of
from segtransfer.tasks.models import adapters as models
from tests.orchestrator.studies.made_up import (
    base_of,
    classifiers_base,
    noisy,
    numbers_of,
    standings,
)

BASE = base_of(sources=["pspnet-r18"])


def scale_of(name: str) -> float:
    return float(name.split(":")[0].rpartition("-at-")[2])


def tied(attack: str, source: str, target: str) -> float:
    """PGD leaves 20 at its own scale and 30 elsewhere, dynamic scaling 22 everywhere."""
    if attack.startswith("ds"):
        return 22
    return 20 if scale_of(attack) == scale_of(target) else 30


def untied(attack: str, source: str, target: str) -> float:
    return 22 if attack.startswith("ds") else 30 - tied(attack, source, target) + 20


def is_control(attack: str, target: str) -> bool:
    """Whether the AEs keep their energy on the target."""
    return attack.endswith((":smooth", mark_of(equal_rms_at(scale_of(target)))))


def found(scores: Any) -> Scales:
    return numbers_of(STUDY, scores, BASE)


def test_targets_are_networks_at_each_scale_and_attacks_have_a_single_scale() -> None:
    experiment = STUDY.experiment(BASE)
    assert experiment.sources == ("pspnet-r18",)
    assert [m.inference.scale for m in experiment.target_models if m.inference] == list(SCALES)
    assert experiment.targets[0] == "pspnet-r18-at-0.5"
    fixed = [attack.transforms[0] for attack in experiment.attacks]
    assert [(t.low, t.width) for t in fixed] == [*((s, 0) for s in SCALES), (0.5, 1.0)]
    native = next(m for m in experiment.target_models if m.name == "pspnet-r18-at-1")
    network = experiment.source_models[0]
    assert models.describe(native).fingerprint == models.describe(network).fingerprint


def test_attacks_have_the_forms_that_each_score_compares_and_no_other() -> None:
    for attack in STUDY.experiment(BASE).attacks:
        restored = {f"equal-rms@{scale:g}" for scale in SCALES if scale != 1}
        assert set(attack.scores) == {"raw", "equal-rms", "smooth", *restored}
        assert attack.equal_rms == EQUAL_RMS


def test_weight_of_the_diagonal_equals_the_smaller_drop_at_other_scales() -> None:
    numbers = found(tied)
    for score in CONTROLLED:
        row = numbers.pgd[score][1]
        assert [round(i.value) for i in row] == [30, 20, 30, 30, 30]
        assert [round(i.value) for i in numbers.ds[score]] == [22] * 5
        assert numbers.heavy[score].value == pytest.approx(10, abs=1e-4)
        assert numbers.kept[score].value == pytest.approx(100 * 50 / 60, abs=1e-4)
        # At scale 1 PGD takes ten points less elsewhere, dynamic scaling none less: 8 more there.
        assert numbers.flattened[score].value == pytest.approx(10, abs=1e-4)
        assert numbers.gain[score].value == pytest.approx(8, abs=1e-4)


def test_network_at_several_scales_counts_as_one_model() -> None:
    assert found(tied).facts.scope.models == 1
    assert "Verdicts hold for this model, " in STUDY.paragraph(found(tied))


def test_after_resize_reads_the_aes_whose_energy_is_equal_at_the_scale_of_the_target() -> None:
    def elsewhere_wrong(attack: str, source: str, target: str) -> float:
        form = attack.partition(":")[2]
        at = 1.0 if form == "rms" else float(form.partition("@")[2] or 0)
        return tied(attack, source, target) if at == scale_of(target) else 79

    numbers = found(elsewhere_wrong)
    assert numbers.heavy[RESTORED].value == pytest.approx(10, abs=1e-4)
    assert [round(i.value) for i in numbers.ds[RESTORED]] == [22] * 5
    assert [round(i.value) for i in numbers.ds["equal-rms"]] == [79, 79, 22, 79, 79]


def test_drops_on_the_diagonal_in_every_score_support_the_claim() -> None:
    assert standings(STUDY, tied, BASE) == {"A4": "supports"}


def test_own_and_other_scales_exchanged_flip_the_claim() -> None:
    assert standings(STUDY, untied, BASE) == {"A4": "contradicts"}


@pytest.mark.parametrize("without", [25.0, 24.0])
def test_diagonal_from_energy_alone_does_not_support_the_claim(without: float) -> None:
    """The AEs of both controls keep their energy, and leave as much at every scale."""

    def energy(attack: str, source: str, target: str) -> float:
        return without if is_control(attack, target) else tied(attack, source, target)

    numbers = found(energy)
    assert numbers.heavy["raw"].value == pytest.approx(10, abs=1e-4)
    assert abs(numbers.heavy[RESTORED].value) < 1e-4
    assert standings(STUDY, energy, BASE) == {"A4": "open"}


@pytest.mark.parametrize("control", CONTROLLED)
def test_each_score_alone_can_withhold_the_verdict(control: str) -> None:
    """At scale 1, AEs of ``after resize`` are those of ``equal-rms``; elsewhere they are apart."""

    def one_flat(attack: str, source: str, target: str) -> float:
        form = equal_rms_at(scale_of(target)) if control == RESTORED else control
        is_flat = attack.partition(":")[2] == mark_of(form).strip(":")
        return 25.0 if is_flat else tied(attack, source, target)

    assert standings(STUDY, one_flat, BASE) == {"A4": "open"}


def test_pgd_and_dynamic_scaling_exchanged_flip_the_sentence_on_dynamic_scaling() -> None:
    def exchanged(attack: str, source: str, target: str) -> float:
        name, mark, form = attack.partition(":")
        swapped = {"ds": "pgd-at-1", "pgd-at-1": "ds"}
        return tied(swapped.get(name, name) + mark + form, source, target)

    numbers, other = found(tied), found(exchanged)
    for score in CONTROLLED:
        assert other.gain[score].value == pytest.approx(-numbers.gain[score].value)
        assert other.flattened[score].value == pytest.approx(-numbers.flattened[score].value)
    assert {v.claim for v in STUDY.verdicts(other)} == {"A4"}


def test_flat_matrix_contradicts_the_claim() -> None:
    assert standings(STUDY, lambda *_: 25.0, BASE) == {"A4": "contradicts"}


def test_energy_kept_is_the_stored_rms_after_over_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """At eps 8/255 every AE has an RMS of 2.8 levels after the resize."""
    assert "of the RMS" not in STUDY.paragraph(found(tied))  # nothing is stored

    def before(results: Results, attack: str) -> pd.Series:
        halved = "@" in attack and not attack.startswith("ds")
        return pd.Series({"rms": 5.6 if halved else 2.8})

    monkeypatch.setattr(Results, "perturbation", before)
    numbers = found(tied)
    assert numbers.energy["pgd-at-1"] == pytest.approx((50, 50, 100, 50, 50))
    assert numbers.energy["ds"] == pytest.approx((100,) * 5)
    told = STUDY.paragraph(numbers)
    assert "keeps 50, 50, 100, 50, 50 % of the RMS under PGD made at scale 1" in told
    assert "and 100, 100, 100, 100, 100 % under dynamic scaling" in told


def test_paragraph_names_every_score() -> None:
    told = STUDY.paragraph(found(tied))
    for score in CONTROLLED:
        assert f"+10.00 [+10.00, +10.00] ({score})" in told
        assert f"83.3 [83.3, 83.3] % ({score})" in told
    assert "A5" not in told


def test_noise_leaves_the_claim_open() -> None:
    def scattered(attack: str, source: str, target: str) -> list[float]:
        seed = round(100 * scale_of(target)) + (
            0 if "ds" in attack else round(9 * scale_of(attack))
        )
        return noisy(25, 15, seed)

    assert set(standings(STUDY, scattered, BASE).values()) == {"open"}


def test_sliding_networks_and_ensembles_are_refused() -> None:
    window = {"mode": "slide", "crop": [32, 32], "stride": [32, 32]}
    slides = {"zoo": "fcn-r18", "inference": window}
    both = {"name": "both", "ensemble": ["fcn-r18", "pspnet-r18"]}
    for model, name in ((slides, "fcn-r18"), (both, "both")):
        base = base_of(models=[model], sources=[name], study={})
        with pytest.raises(InputError, match=f"model '{name}' is an ensemble or slides windows"):
            STUDY.experiment(base)


def test_classifiers_are_a_control_whose_accuracy_judges_no_claim() -> None:
    numbers = numbers_of(STUDY, tied, classifiers_base())
    assert numbers.heavy["raw"].value == pytest.approx(10, abs=0.1)
    told = STUDY.paragraph(numbers)
    assert "The drop in accuracy under PGD at its own scale" in told
    assert "does not test A4 (classifiers were attacked)" in told
