"""Ablation: every variant against default dynamic scaling and PGD, corrected for their number."""

from typing import Any

import pytest

from segtransfer.studies.ablation import STUDY, VARIANTS
from tests.orchestrator.studies.made_up import RIGHT, base_of, noisy, numbers_of, standings


def scores_of(ds: float, variants: dict[str, float] | None = None) -> Any:
    """PGD takes 20 points; the default ``ds`` more, and variants as much more as given here."""

    def scores(attack: str, source: str, target: str) -> float:
        name = attack.split(":")[0]
        more = {"pgd": 0.0, "ds": ds, **(variants or {})}.get(name, ds)
        return RIGHT - 20 - more - 30 * (source == target)

    return scores


def test_variants_change_a_single_axis_at_equal_cost() -> None:
    base = base_of(attacks=[{"preset": "pgd", "eps": "8/255", "steps": 20}])
    pgd, default, *variants = STUDY.experiment(base).attacks
    assert (pgd.name, default.name) == ("pgd", "ds")
    assert [attack.name for attack in variants] == list(VARIANTS)
    fields = ("transforms", "label_version", "step_size", "momentum", "smoothing")
    for attack in variants:
        assert attack.budget == default.budget == pgd.budget
        changed = [f for f in fields if getattr(attack, f) != getattr(default, f)]
        assert len(changed) == 1, attack.name


def test_variants_are_compared_with_the_default_and_with_pgd() -> None:
    numbers = numbers_of(STUDY, scores_of(2, {"native": 5, "labels": -1}))
    found = {variant.name: variant for variant in numbers.variants}
    assert numbers.default["raw"].value == pytest.approx(2, abs=1e-4)
    assert found["native"].over_ds["raw"].value == pytest.approx(3, abs=1e-4)
    assert found["labels"].over_pgd["equal-rms"].value == pytest.approx(-1, abs=1e-4)
    assert (found["native"].beyond_ds, found["native"].beyond_pgd) == (1, 1)
    assert (found["labels"].beyond_ds, found["labels"].beyond_pgd) == (-1, -1)
    assert (found["back"].beyond_ds, found["back"].beyond_pgd) == (0, 1)
    told = STUDY.paragraph(numbers)
    assert "Drops larger than the default's beyond noise (difference, raw): native +3.00" in told
    assert "Drops smaller than the default's beyond noise (difference, raw): labels −3.00" in told


def test_gain_over_pgd_alone_supports_nothing() -> None:
    assert [standings(STUDY, scores_of(ds)) for ds in (2, -2)] == [{"A5": "not tested"}] * 2


def test_variants_with_noisy_differences_are_within_noise() -> None:
    def scattered(attack: str, source: str, target: str) -> list[float]:
        return noisy(50, 5, seed=sum(map(ord, attack + source + target)))

    numbers = numbers_of(STUDY, scattered)
    assert {variant.beyond_ds for variant in numbers.variants} == {0}
