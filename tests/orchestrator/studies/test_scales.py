"""Scales: the matrix, the weight of its diagonal, and flattening by dynamic scaling."""

from typing import Any

import pytest

from segtransfer.errors import InputError
from segtransfer.studies.scales import SCALES, STUDY, Scales
from segtransfer.tasks.models import adapters as models
from tests.orchestrator.studies.made_up import base_of, noisy, numbers_of, standings

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


def test_weight_of_the_diagonal_equals_the_smaller_drop_at_other_scales() -> None:
    numbers = found(tied)
    assert [[round(i.value) for i in row] for row in numbers.pgd][1] == [30, 20, 30, 30, 30]
    assert [round(i.value) for i in numbers.ds] == [22] * 5
    assert numbers.heavy["raw"].value == pytest.approx(10, abs=1e-4)
    # At scale 1 PGD takes ten points less elsewhere, dynamic scaling none less: eight more there.
    assert numbers.flattened["raw"].value == pytest.approx(10, abs=1e-4)
    assert numbers.gain["raw"].value == pytest.approx(8, abs=1e-4)


def test_diagonal_flattened_by_dynamic_scaling_supports_both_claims() -> None:
    assert standings(STUDY, tied, BASE) == {"A4": "supports", "A5": "supports"}


def test_own_and_other_scales_exchanged_flip_the_claim() -> None:
    assert standings(STUDY, untied, BASE)["A4"] == "contradicts"


def test_pgd_and_dynamic_scaling_exchanged_flip_the_claim() -> None:
    def exchanged(attack: str, source: str, target: str) -> float:
        mark = ":rms" * attack.endswith(":rms")
        swapped = {"ds" + mark: "pgd-at-1" + mark, "pgd-at-1" + mark: "ds" + mark}
        return tied(swapped.get(attack, attack), source, target)

    assert standings(STUDY, exchanged, BASE)["A5"] == "contradicts"


def test_flat_matrix_contradicts_the_claim() -> None:
    assert standings(STUDY, lambda *_: 25.0, BASE) == {"A4": "contradicts", "A5": "open"}


def test_flattening_by_smaller_drops_is_no_gain() -> None:
    def weak(attack: str, source: str, target: str) -> float:
        return 35 if attack.startswith("ds") else tied(attack, source, target)

    assert standings(STUDY, weak, BASE)["A5"] == "open"


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
