"""Differences of runs whose scores are known by hand: values, signs, means kept apart, verdicts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segtransfer.comparison import Comparison, compare_results
from segtransfer.errors import InputError
from segtransfer.results import Results
from tests.orchestrator.comparison.runs import run_of

BASE = [10, 20, 30, 40]
PAIRS = [(source, target) for source in "abc" for target in "abc"]


def more(*counts: int) -> list[int]:
    return [wrong + extra for wrong, extra in zip(BASE, counts, strict=True)]


def compared(folder: Path, wrong: object, metric: str = "aacc") -> Comparison:
    """PGD that leaves BASE wrong everywhere, and MI: B minus A is in points of aAcc."""
    run = run_of(folder, {"pgd": BASE, "mi": wrong})
    return compare_results(run, run, [("pgd", "mi")], metric=metric)


def means(comparison: Comparison) -> pd.DataFrame:
    return comparison.rows(comparison.attacks[0][1], "mean").set_index("group")


def test_attack_minus_itself_is_exactly_zero(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"pgd": BASE})
    comparison = compare_results(run, run, [("pgd", "pgd")])
    assert (comparison.frame[["difference", "low", "high"]] == 0).all(axis=None)
    assert (comparison.frame["p"] == 1).all()
    assert not comparison.frame["beyond_noise"].any()
    assert comparison.verdict("pgd").count("within noise") == 2  # other and same backbone


def test_equal_extra_errors_in_every_image_are_beyond_noise(
    tmp_path: Path,
) -> None:
    comparison = compared(tmp_path, more(5, 5, 5, 5))
    assert (comparison.matrix() == -5).all(axis=None)
    assert (comparison.frame[["low", "high"]] == -5).all(axis=None)
    assert (comparison.frame["b"] - comparison.frame["a"] == -5).all()
    assert comparison.frame["beyond_noise"].all()
    assert "to models of another backbone B transfers better (aAcc −5.00 [−5.00, −5.00])" in (
        comparison.verdict("mi")
    )


def test_difference_cancelling_over_images_is_within_noise(tmp_path: Path) -> None:
    comparison = compared(tmp_path, more(5, -5, 5, -5))
    assert (comparison.matrix() == 0).all(axis=None)
    assert (comparison.frame["low"] < 0).all()
    assert (comparison.frame["high"] > 0).all()
    assert not comparison.frame["beyond_noise"].any()


def test_swapping_a_and_b_negates_everything_and_turns_the_verdict(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"pgd": BASE, "mi": more(4, 5, 5, 6)})
    one = compare_results(run, run, [("pgd", "mi")])
    other = compare_results(run, run, [("mi", "pgd")])
    assert np.allclose(one.frame["difference"], -other.frame["difference"])
    assert np.allclose(one.frame["low"], -other.frame["high"])
    assert np.allclose(one.frame["high"], -other.frame["low"])
    assert np.allclose(one.frame["p"], other.frame["p"])
    assert (one.frame["beyond_noise"] == other.frame["beyond_noise"]).all()
    assert one.verdict("mi").count("B transfers better") == 2
    assert other.verdict("pgd").count("B transfers worse") == 2


def test_rows_columns_and_means_cover_a_single_group(tmp_path: Path) -> None:
    extra = {pair: n for n, pair in enumerate(PAIRS)}  # a different difference in every cell
    wrong = {pair: more(n, n, n, n) for pair, n in extra.items()}
    comparison = compared(tmp_path, wrong)
    assert means(comparison)["difference"].to_dict() == {
        "diagonal": -np.mean([extra[p, p] for p in "abc"]),
        "same_backbone": -np.mean([extra["a", "b"], extra["b", "a"]]),
        "cross_backbone": -np.mean([extra[p] for p in ("ac", "bc", "ca", "cb") for p in [(*p,)]]),
    }
    rows = comparison.rows("mi", "row").set_index(["group", "source"])["difference"]
    assert rows.to_dict() == {  # rows of the same backbone would be single cells
        ("cross_backbone", "a"): -extra["a", "c"],
        ("cross_backbone", "b"): -extra["b", "c"],
        ("cross_backbone", "c"): -np.mean([extra["c", "a"], extra["c", "b"]]),
    }
    columns = comparison.rows("mi", "column").set_index(["group", "target"])["difference"]
    assert columns["cross_backbone", "c"] == -np.mean([extra["a", "c"], extra["b", "c"]])


@pytest.mark.parametrize(("metric", "sign"), [("aacc", -1), ("macc", -1), ("wrong", 1)])
def test_the_verdict_knows_which_way_a_metric_points(
    tmp_path: Path, metric: str, sign: int
) -> None:
    comparison = compared(tmp_path, more(5, 5, 5, 5), metric)
    assert (comparison.matrix() == 5 * sign).all(axis=None)
    assert comparison.verdict("mi").count("B transfers better") == 2


def test_attacks_without_a_source_have_a_single_row_and_mean(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"noise": BASE})
    stronger = replace(run_of(tmp_path, {"noise": more(3, 3, 3, 3)}), identity="stronger")
    comparison = compare_results(run, stronger, [("noise", "noise")], metric="aacc")
    assert comparison.matrix().shape == (1, 3)
    assert means(comparison).index.tolist() == [""]
    assert "over all targets B works better (aAcc −3.00" in comparison.verdict("noise")


def test_noise_against_an_attack_has_a_row_a_source(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"noise": BASE, "pgd": more(2, 2, 2, 2)})
    comparison = compare_results(run, run, [("noise", "pgd")], metric="aacc")
    assert comparison.matrix().shape == (3, 3)
    assert (comparison.matrix() == -2).all(axis=None)


def test_missing_cell_and_means_over_the_cell_are_nan(tmp_path: Path) -> None:
    comparison = compared(
        tmp_path, {pair: more(1, 1, 1, 1) for pair in PAIRS if pair != ("a", "c")}
    )
    assert np.isnan(comparison.matrix().loc["a", "c"])
    assert means(comparison)["difference"].isna().to_dict() == {
        "diagonal": False,
        "same_backbone": False,
        "cross_backbone": True,
    }
    assert "to models of another backbone results are missing" in comparison.verdict("mi")
    assert any(note.startswith("1 of 9 differences") for note in comparison.notes)


def test_experiment_without_other_models_has_no_verdict_on_transfer(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"pgd": BASE}, models=("a",))
    verdict = compare_results(run, run, [("pgd", "pgd")]).verdict("pgd")
    assert "transfer is not measured" in verdict


def test_beyond_noise_is_corrected_for_the_number_of_cells(tmp_path: Path) -> None:
    """A p between 0.05 / 9 and 0.05 in one of nine cells: an interval that leaves out 0, and no
    finding."""
    wrong = dict.fromkeys(PAIRS, more(5, -5, 5, -5)) | {("a", "c"): more(2, 3, 4, 5)}
    comparison = compared(tmp_path, wrong)
    cell = comparison.rows("mi", "cell").set_index(["source", "target"]).loc[("a", "c")]
    assert 0.05 / 9 < cell["p"] < 0.05
    assert cell["high"] < 0
    assert not cell["beyond_noise"]


def test_mean_within_noise_after_correction_names_the_correction(tmp_path: Path) -> None:
    comparison = compared(tmp_path, more(2, 3, 4, 5))
    mean = means(comparison).loc["cross_backbone"].copy()
    assert mean["high"] < 0
    frame = comparison.frame.assign(beyond_noise=False)
    verdict = replace(comparison, frame=frame).verdict("mi")
    assert "within noise, corrected for the number of means" in verdict


def test_runs_are_compared_attack_by_attack(tmp_path: Path) -> None:
    a = run_of(tmp_path, {"pgd": BASE, "mi": BASE})
    b = run_of(tmp_path, {"mi": more(1, 1, 1, 1), "pgd": more(2, 2, 2, 2)})
    comparison = compare_results(a, b, [("pgd", "pgd"), ("mi", "mi")], metric="aacc")
    assert (comparison.matrix("pgd") == -2).all(axis=None)
    assert (comparison.matrix("mi") == -1).all(axis=None)
    with pytest.raises(KeyError, match="no attack 'ni'"):
        comparison.matrix("ni")


def test_identity_follows_the_runs_and_not_their_results(tmp_path: Path) -> None:
    def other(**changes: object) -> Comparison:
        run = run_of(tmp_path, {"pgd": BASE, "mi": BASE})
        return compare_results(run, run, **{"attacks": [("pgd", "mi")], **changes})  # type: ignore[arg-type]

    assert other().identity == other().identity
    assert other().identity != other(metric="aacc").identity
    assert other().identity != other(attacks=[("mi", "pgd")]).identity
    run: Results = other().a
    partial = replace(run, counts={k: v for k, v in run.counts.items() if k[2] != "c"})
    fewer = compare_results(partial, partial, [("pgd", "mi")])
    assert fewer.identity == other().identity
    assert fewer.digest != other().digest


def test_an_unknown_metric_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown metric 'iou'; did you mean 'miou'"):
        compared(tmp_path, BASE, "iou")
