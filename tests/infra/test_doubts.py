"""The table of doubts: each row compares a verdict with the verdict without a precaution."""

import runpy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segtransfer.studies import STUDIES
from segtransfer.tasks.randomness import schedule_group
from tests.conftest import ROOT
from tests.orchestrator.studies.made_up import IMAGES, RIGHT, base_of, gains_over_pgd, results_of

GROUPS = np.array([schedule_group(f"image-{i}", 10) for i in range(IMAGES)])


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "infra/studies/doubts.py"))


def judged(script: dict[str, Any], study: str, scores: Any) -> Any:
    base = base_of(attacks=[{"preset": "pgd", "eps": "8/255", "budget": 40}])
    found = results_of(STUDIES[study].experiment(base), scores)
    means = {name: {"rms": 5.0, "forward_equivalents": 40.0} for name in found.attacks}
    packed = script["EVIDENCE"]["Packed"](**vars(replace(found)), means=means)
    return script["Judged"](study, packed, base)


def by_group(gain: float, spread: float) -> Any:
    """Dynamic scaling beats its rivals by a gain that differs between schedule groups alone."""
    shift = np.random.default_rng(3).normal(0, spread, 10)[GROUPS]

    def scores(attack: str, source: str, target: str) -> list[float]:
        ours = attack.startswith("ds-mi")
        value = RIGHT - 20 - 10 * (not attack.startswith("pgd")) - 20 * (source == target)
        return list(value - ours * (gain + shift - shift.mean()))

    return scores


def test_images_of_a_group_taken_as_independent_give_a_verdict_that_groups_do_not(
    script: dict[str, Any],
) -> None:
    row = script["images_as_replicates"](judged(script, "rivals", by_group(2.5, 3)))
    assert row.verdict == "A5 open; without the precaution supports"
    share = float(row.number.split("is ")[1].split()[0])
    assert 0.3 < share < 0.8


def test_gain_of_every_group_keeps_its_verdict(script: dict[str, Any]) -> None:
    row = script["images_as_replicates"](judged(script, "rivals", by_group(4, 0.5)))
    assert row.verdict == "A5 supports; without the precaution supports"


def test_best_of_six_within_chance_is_a_finding_without_the_correction(
    script: dict[str, Any],
) -> None:
    rivals = judged(script, "rivals", by_group(2, 1.5))
    p = max(interval.p for interval in rivals.numbers().over_best.values())
    assert 0.05 / 6 < p < 0.05
    row = script["multiplicity"](rivals, judged(script, "jitter", gains_over_pgd(scales_50=9)))
    assert row.verdict == (
        "A5 open; without the precaution supports; A4 supports; without the precaution supports"
    )


def test_twins_of_a_single_training_give_a_verdict_over_images_alone(
    script: dict[str, Any],
) -> None:
    def scores(attack: str, source: str, target: str) -> float:
        more = 8 if source.endswith("noscale") else 2
        return RIGHT - 20 - more * attack.startswith("ds") - 20 * (source == target)

    row = script["trainings_as_one"](judged(script, "twins", scores))
    assert row.verdict == "A4 open; without the precaution supports"
    assert "differ by +6.00 [+6.00, +6.00] points; 2 arrangements" in row.number


def test_energy_row_tells_a_gain_of_one_score(script: dict[str, Any]) -> None:
    def raw_alone(attack: str, source: str, target: str) -> float:
        ahead = attack == "ds-mi"
        return gains_over_pgd(ds_mi=2 + 5 * ahead)(attack, source, target)

    row = script["energy"](judged(script, "rivals", raw_alone))
    assert row.verdict == "A5 both scores open; raw alone supports and equal-rms alone open"


def test_selection_row_compares_on_the_half_that_did_not_choose(script: dict[str, Any]) -> None:
    row = script["selection"](judged(script, "rivals", gains_over_pgd(ds_mi=9, rdi_mi=6)))
    assert row.number.count("+3.00 [+3.00, +3.00] against rdi-mi") == 2
    assert row.verdict == "none: the sign agrees on both halves"


def test_threshold_row_has_the_curve(script: dict[str, Any]) -> None:
    row = script["thresholds"](judged(script, "rivals", gains_over_pgd(ds_mi=5)))
    assert row.verdict.startswith("A6 supports at 10 to ")
    assert "contradicts" in row.verdict


def test_pairs_of_networks_are_counted(script: dict[str, Any]) -> None:
    row = script["small_nets"](judged(script, "rivals", gains_over_pgd(ds_mi=9, rdi_mi=6)))
    pairs = int(row.number.split(" of ")[1].split()[0])
    assert f"above 0 on {pairs} of {pairs} pairs" in row.number


def test_table_has_the_rows_whose_files_are_there(script: dict[str, Any], tmp_path: Any) -> None:
    assert list(script["rows"](tmp_path)) == []
    rivals = judged(script, "rivals", by_group(2, 2))
    script["EVIDENCE"]["pack"](tmp_path / "rivals.parquet", rivals.results, rivals.base)
    found = script["table"](list(script["rows"](tmp_path)))
    assert found.startswith("| doubt | number | verdict |")
    assert found.count("\n") == 1 + 7


@pytest.mark.pages
def test_page_has_the_table_of_the_committed_counts(script: dict[str, Any]) -> None:
    made = script["table"](list(script["rows"](script["EVIDENCE"]["FOLDER"])))
    assert made in (ROOT / "tasks/studies/README.md").read_text()
