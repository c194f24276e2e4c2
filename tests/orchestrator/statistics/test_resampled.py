"""Resampled results: the plain numbers in row 0, differences that are paired, means kept apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segtransfer.results import ALL_METRICS, Results
from segtransfer.statistics import Resampled, design_of, pairs_of
from segtransfer.tasks.metrics import class_counts, miou_of
from tests.orchestrator.toy_experiments import run_toy, toy


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    attacks = [
        {"preset": "noise", "eps": "8/255"},
        {"preset": "pgd", "eps": "8/255", "steps": 3},
        {"preset": "pgd", "name": "again", "eps": "8/255", "steps": 3},
    ]
    models = [
        toy("a", seed=1) | {"backbone": "r18"},
        toy("b", seed=2) | {"backbone": "r18"},
        toy("c", seed=3) | {"backbone": "mit"},
    ]
    folder = tmp_path_factory.mktemp("resampled")
    return run_toy(folder, attacks=attacks, models=models, schedule_groups=3)


@pytest.fixture(scope="module")
def sample(results: Results) -> Resampled:
    return Resampled(results, resamples=200)


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_value_of_a_cell_equals_the_matrix(
    results: Results, sample: Resampled, metric: str
) -> None:
    matrix = results.matrix("pgd", metric)
    for source in results.sources:
        for target in results.targets:
            found = sample.cell("pgd", source, target, metric).value
            assert found == pytest.approx(matrix.loc[source, target], abs=1e-12)


def test_cluster_drawn_twice_counts_its_images_twice(results: Results) -> None:
    design = design_of([results], resamples=1)
    (factor,) = design.factors
    weights = (factor.draws @ factor.members)[1]
    counts = results.counts["pgd", "a", "b"]
    by_hand = miou_of(*(weights[:, None, None] * counts).sum(0))
    assert Resampled(results, design=design).values("pgd", [("a", "b")])[0][1] == by_hand


def test_difference_of_an_attack_to_itself_is_exactly_zero(sample: Resampled) -> None:
    found = sample.difference("pgd", "again", pairs_of(sample.results, "same_backbone"))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert not found.beyond_noise


def test_swapping_two_attacks_negates_the_difference(sample: Resampled) -> None:
    pairs = pairs_of(sample.results, "cross_backbone")
    one, other = (
        sample.difference(*names, pairs) for names in (("pgd", "noise"), ("noise", "pgd"))
    )
    assert (one.value, one.low, one.high, one.p) == pytest.approx(
        (-other.value, -other.high, -other.low, other.p)
    )


def test_pgd_is_below_noise_with_an_interval_around_the_difference(sample: Resampled) -> None:
    found = sample.difference("pgd", "noise", pairs_of(sample.results, "diagonal"))
    pgd, noise = (sample.results.headlines(a)["diagonal"] for a in ("pgd", "noise"))
    assert found.value == pytest.approx(pgd - noise)
    assert found.low <= found.value <= found.high < 0
    assert found.p < 0.05


def test_a_difference_to_another_run_pairs_the_images(results: Results, tmp_path: Path) -> None:
    other = replace(results, identity="other")
    sample = Resampled(results, resamples=200)
    theirs = Resampled(other, design=sample.design)
    pairs = pairs_of(results, "diagonal")
    found = sample.difference("pgd", "noise", pairs, other=theirs)
    assert found == sample.difference("pgd", "noise", pairs)


def test_interval_of_higher_level_is_wider(sample: Resampled) -> None:
    pairs = pairs_of(sample.results, "diagonal")
    half = sample.difference("pgd", "noise", pairs, level=0.5)
    most = sample.difference("pgd", "noise", pairs, level=0.99)
    assert most.value == half.value
    assert most.low < half.low < half.high < most.high


def test_a_mean_over_no_pair_is_refused(sample: Resampled) -> None:
    with pytest.raises(ValueError, match="at least one pair of source and target"):
        sample.mean("pgd", [])


def test_rows_columns_and_means_never_mix_headline_groups(sample: Resampled) -> None:
    frame = sample.frame("pgd").set_index(["kind", "group", "source", "target"])["value"]
    matrix = sample.results.matrix("pgd")
    assert frame["row", "same_backbone", "a", ""] == pytest.approx(matrix.loc["a", "b"])
    assert frame["row", "cross_backbone", "c", ""] == pytest.approx(
        matrix.loc["c", ["a", "b"]].mean()
    )
    assert frame["column", "cross_backbone", "", "a"] == pytest.approx(matrix.loc["c", "a"])
    headlines = sample.results.headlines("pgd")
    for group in ("diagonal", "same_backbone", "cross_backbone"):
        assert frame["mean", group, "", ""] == pytest.approx(headlines[group])
    assert np.isnan(headlines["same_network"])
    assert ("mean", "same_network", "", "") not in frame.index
    assert ("row", "same_backbone", "c", "") not in frame.index  # c has no relative
    assert len(frame.loc["cell"]) == 9


def test_missing_cells_are_left_out_of_the_frame(results: Results) -> None:
    some = {cell: v for cell, v in results.counts.items() if cell != ("pgd", "a", "c")}
    partial = Resampled(replace(results, counts=some), resamples=50)
    cells = partial.frame("pgd").query("kind == 'cell'")
    assert len(cells) == 8
    assert not ((cells["source"] == "a") & (cells["target"] == "c")).any()
    with pytest.raises(KeyError):
        partial.cell("pgd", "a", "c")


def test_transfer_ratio_is_relative_to_the_strongest_white_box_attack(
    results: Results, sample: Resampled
) -> None:
    clean, pgd = results.clean(), results.matrix("pgd")
    ratio = results.matrix("noise", "ratio").loc["a", "b"]
    noise = results.matrix("noise").loc["a", "b"]
    assert ratio == pytest.approx(100 * (clean["b"] - noise) / (clean["b"] - pgd.loc["b", "b"]))
    found = sample.cell("pgd", "b", "b", "ratio")
    assert (found.value, found.low, found.high) == pytest.approx((100, 100, 100))


def test_target_without_a_white_box_attack_has_no_ratio(tmp_path: Path) -> None:
    results = run_toy(tmp_path, sources=["a"])
    assert results.matrix("pgd", "ratio")["b"].isna().all()
    assert np.isnan(Resampled(results, resamples=20).cell("pgd", "a", "b", "ratio").value)


def test_target_without_a_white_box_drop_has_no_ratio(results: Results) -> None:
    clean = results.counts["clean", None, "b"]
    own = {(attack, "b", "b"): clean for attack in results.attacks if attack != "noise"}
    unmoved = replace(results, counts={**results.counts, **own})
    assert unmoved.matrix("pgd", "drop").loc["a", "b"] != 0
    assert unmoved.matrix("pgd", "ratio")["b"].isna().all()
    for source in "abc":
        found = Resampled(unmoved, resamples=20).cell("pgd", source, "b", "ratio")
        assert np.isnan([found.value, found.low, found.high]).all()


def test_runs_under_several_seeds_are_pooled(tmp_path: Path) -> None:
    attacks = [{"preset": "pgd", "eps": "8/255", "steps": 2, "start": "uniform"}]
    runs = [run_toy(tmp_path, seed=seed, attacks=attacks) for seed in (0, 1, 2)]
    sample = Resampled(*runs, resamples=100)
    cell = "pgd", "a", "b"
    together = miou_of(*sum(run.counts[cell].sum(0) for run in runs))
    assert sample.cell(*cell).value == pytest.approx(together)
    # Six images seen three times, under two groups each time: the two cross.
    assert [factor.clusters for factor in sample.design.factors] == [6, 6, 18]


def test_drop_of_classifiers_is_of_the_accuracy(results: Results) -> None:
    """The attack turns two images of the first class wrong, and the only one of the second."""
    images = len(results.image_ids)
    labels = np.arange(images) == 0
    attacked = labels ^ (np.arange(images) < 3)  # the first three images are wrong

    def counts(predicted: np.ndarray) -> np.ndarray:
        matrices = np.zeros((images, 2, 2), np.int64)
        matrices[np.arange(images), labels.astype(int), predicted.astype(int)] = 1
        return class_counts(matrices)

    cells = {cell: counts(labels if cell[0] == "clean" else attacked) for cell in results.counts}
    manifest = results.manifest.model_copy(update={"headline": "aacc"})
    sample = Resampled(replace(results, manifest=manifest, counts=cells), resamples=200)
    accuracy = 100 * (images - 3) / images
    assert sample.clean("b").value == 100
    assert sample.cell("pgd", "a", "b").value == pytest.approx(accuracy)
    assert sample.cell("pgd", "a", "b", "drop").value == pytest.approx(100 - accuracy)
    assert sample.values("pgd", [("a", "b")], "drop")[0] == pytest.approx(
        100 - sample.values("pgd", [("a", "b")], "aacc")[0]
    )
