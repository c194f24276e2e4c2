"""Results: matrices and headlines from a store, compared with counts by hand on toys."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment
from segtransfer.results import Results, load_results
from segtransfer.runtime.runner import carry_out
from segtransfer.store import Store
from tests.orchestrator.toy_experiments import blob_of, damage, run_toy, toy, toy_spec

# Two classes by the red channel: dark red is class 0, bright red is class 1, split at `middle`.
# logits = (0, red - middle) for an image whose blue channel is constantly 1.


def red_toy(name: str, middle: float) -> dict[str, object]:
    return toy(name, "linear", weights=[[0.0, 0.0, 0.0], [1.0, 0.0, -middle]])


def red_image(folder: Path) -> None:
    """Reds 100, 120, 136, 150 in four columns; truth: class 1 from 128 on; one row ignored."""
    for kind in ("images", "labels"):
        (folder / "data" / kind).mkdir(parents=True)
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 2] = 255
    label = np.zeros((16, 16), np.uint8)
    for column, red in enumerate((100, 120, 136, 150)):
        image[:, 4 * column : 4 * column + 4, 0] = red
        label[:, 4 * column : 4 * column + 4] = red >= 128
    label[0] = 255
    Image.fromarray(image).save(folder / "data/images/one.png")
    Image.fromarray(label).save(folder / "data/labels/one.png")


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """An attack of exactly 10 levels from `exact` (right everywhere) and from `late`."""
    folder = tmp_path_factory.mktemp("red")
    red_image(folder)
    spec = toy_spec(
        folder,
        models=[red_toy("exact", 128 / 255), red_toy("late", 149 / 255)],
        attacks=[{"preset": "fgsm", "eps": "10/255"}, {"preset": "noise", "eps": 0.0}],
    )
    spec["data"] = {"folder": str(folder / "data"), "classes": ["dark", "bright"]}
    return carry_out(read_experiment(spec))


def iou(*shares: tuple[int, int]) -> float:
    return float(np.mean([100 * intersection / union for intersection, union in shares]))


def test_clean_scores_equal_a_count_by_hand(red: Results) -> None:
    # `late` calls only the last column bright: class 0 has 2 of 3 columns, class 1 has 1 of 2.
    assert red.clean()["exact"] == 100
    assert red.clean()["late"] == pytest.approx(iou((2, 3), (1, 2)))
    assert red.clean("aacc")["late"] == 75
    assert red.clean("macc")["late"] == 75  # recalls 100 and 50


def test_scores_under_attack_equal_a_count_by_hand(red: Results) -> None:
    # FGSM takes every pixel 10 levels against its label: 110, 130, 126, 140. `exact` gets columns
    # 1 and 2 wrong, `late` sees nothing bright.
    matrix = red.matrix("fgsm")
    assert matrix.loc["exact", "exact"] == pytest.approx(iou((1, 3), (1, 3)))
    assert matrix.loc["exact", "late"] == pytest.approx(iou((2, 4), (0, 2)))
    np.testing.assert_array_equal(matrix.loc["late"], matrix.loc["exact"])


def test_a_matrix_has_sources_down_and_targets_across(red: Results) -> None:
    matrix = red.matrix("fgsm")
    assert (matrix.index.name, matrix.columns.name) == ("source", "target")
    assert list(matrix.index) == list(matrix.columns) == ["exact", "late"]


def test_drop_is_clean_less_attacked(red: Results) -> None:
    drop = red.matrix("fgsm", "drop")
    assert drop.loc["exact", "exact"] == pytest.approx(100 - 100 / 3)
    assert drop.loc["late", "late"] == pytest.approx(red.clean()["late"] - 25)


def test_fooling_counts_only_pixels_right_on_the_clean_image(red: Results) -> None:
    fooling = red.matrix("fgsm", "fooling")
    assert fooling.loc["exact", "exact"] == 50  # two columns of four
    assert fooling.loc["exact", "late"] == pytest.approx(100 / 3)  # one of three


def test_attack_without_a_change_has_no_drop(red: Results) -> None:
    assert (red.matrix("noise", "drop") == 0).all(axis=None)
    assert (red.matrix("noise", "fooling") == 0).all(axis=None)


def test_perturbation_equals_the_difference_of_stored_images(red: Results) -> None:
    found = red.perturbation("fgsm")
    assert found["linf"] == 10
    # FGSM moves red only; `exact` and `late` weigh blue too, which is at its upper bound: blue
    # moves down if this raises the loss, so the mean lies between one and two channels.
    assert 10 / 3**0.5 <= found["rms"] <= 10 * (2 / 3) ** 0.5
    assert red.perturbation("noise")["linf"] == 0


def test_iou_by_class_is_named_by_class(red: Results) -> None:
    found = red.class_iou("clean", None, "late")
    assert found["dark"] == pytest.approx(200 / 3)
    assert found["bright"] == 50


def test_frame_has_a_row_per_cell(red: Results) -> None:
    frame = red.frame()
    assert len(frame) == 2 * 2 * 2
    row = frame.set_index(["attack", "source", "target"]).loc[("fgsm", "exact", "late")]
    assert row["miou"] == red.matrix("fgsm").loc["exact", "late"]
    assert row["fooling"] == red.matrix("fgsm", "fooling").loc["exact", "late"]


def test_an_unknown_attack_or_metric_is_refused(red: Results) -> None:
    with pytest.raises(KeyError, match="there are fgsm, noise"):
        red.matrix("pgd")
    with pytest.raises(KeyError, match="there are miou"):
        red.matrix("fgsm", "iuo")


def test_headlines_never_mix_diagonal_same_and_cross_backbone_cells(tmp_path: Path) -> None:
    toys = [
        toy("a", seed=1) | {"backbone": "r18"},
        toy("twin", seed=1) | {"backbone": "r18"},  # the same weights: diagonal
        toy("b", seed=2) | {"backbone": "r18"},
        toy("c", seed=3) | {"backbone": "swin"},
    ]
    results = run_toy(tmp_path, models=toys, attacks=[{"preset": "pgd", "steps": 2}])
    groups = {(s, t): results.group(s, t) for s in results.sources for t in results.targets}
    assert [cell for cell, g in groups.items() if g == "diagonal"] == [
        ("a", "a"),
        ("a", "twin"),
        ("twin", "a"),
        ("twin", "twin"),
        ("b", "b"),
        ("c", "c"),
    ]
    assert {cell for cell, g in groups.items() if g == "same_backbone"} == {
        (s, t) for s in ("a", "twin", "b") for t in ("a", "twin", "b") if "b" in (s, t) and s != t
    }
    matrix = results.matrix("pgd", "drop")
    headlines = results.headlines("pgd", "drop")
    for group, mean in headlines.items():
        cells = [matrix.loc[cell] for cell, g in groups.items() if g == group]
        assert mean == pytest.approx(np.mean(cells) if cells else np.nan, nan_ok=True)
    assert headlines["diagonal"] > headlines["cross_backbone"]


def test_a_headline_without_a_cell_is_nan(tmp_path: Path) -> None:
    results = run_toy(tmp_path, models=[toy("a", seed=1)], attacks=[{"preset": "pgd", "steps": 1}])
    headlines = results.headlines("pgd")
    assert not np.isnan(headlines["diagonal"])
    assert np.isnan(headlines["same_backbone"])
    assert np.isnan(headlines["cross_backbone"])


def test_incomplete_cell_and_its_headline_are_nan(tmp_path: Path) -> None:
    results = run_toy(tmp_path)
    attack, source, target, _, key, _ = next(
        c for c in results.manifest.rows if c[0] == "pgd" and c[1] == "a" and c[2] == "b"
    )
    damage(blob_of(results.store, key))
    again = load_results(results.store, results.identity)
    assert again.missing == {key}
    for metric in ("miou", "drop", "fooling"):
        matrix = again.matrix(attack, metric)
        assert np.isnan(matrix.loc[source, target])
        assert matrix.isna().sum().sum() == 1
    assert np.isnan(again.headlines("pgd")["same_backbone"])
    assert again.headlines("pgd")["diagonal"] == results.headlines("pgd")["diagonal"]


def test_without_the_clean_scores_drop_and_fooling_are_nan_but_miou_is_not(tmp_path: Path) -> None:
    results = run_toy(tmp_path)
    *_, key, _ = next(c for c in results.manifest.rows if c[0] == "clean" and c[2] == "b")
    damage(blob_of(results.store, key))
    again = load_results(results.store, results.identity)
    assert again.matrix("pgd", "drop")["b"].isna().all()
    assert again.matrix("pgd", "fooling")["b"].isna().all()
    assert not again.matrix("pgd")["b"].isna().any()
    assert not again.matrix("pgd", "drop")["a"].isna().any()


def test_images_are_in_the_order_of_the_confusions(tmp_path: Path) -> None:
    results = run_toy(tmp_path)
    for cell in results.counts:
        found: list[str] = []
        for *names, _, key, _ in results.manifest.rows:
            if tuple(names) == cell:
                evaluation = results.store.evaluation(key)
                assert evaluation is not None
                found += evaluation.image_ids
        assert tuple(found) == results.image_ids
        assert len(results.counts[cell]) == 6


def test_an_unknown_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no experiment nothing"):
        load_results(Store(str(tmp_path)), "nothing")


def test_iterates_and_scores_of_a_run_are_variants(tmp_path: Path) -> None:
    curve = {
        "preset": "pgd",
        "name": "curve",
        "eps": "8/255",
        "steps": 3,
        "steps_at": [1, 3],
        "scores": ["raw", "eps*sign"],
    }
    results = run_toy(tmp_path, attacks=[curve, {"preset": "pgd", "eps": "8/255", "steps": 3}])
    assert results.attacks == ["curve:1", "curve:1:sign", "curve:3", "curve:3:sign", "pgd"]
    assert results.matrix("curve:3").equals(results.matrix("pgd"))
    assert not results.matrix("curve:1").equals(results.matrix("curve:3"))
    assert results.perturbation("curve:1")["linf"] == 2
    assert results.perturbation("curve:1:sign")["linf"] == 8
    assert results.attack_spec("curve:1").name == "curve"
    made = {key for *_, key in results.manifest.rows if key is not None}
    assert len(made) == 2 * len(results.sources) * len(results.manifest.shards)
    assert results.cost("curve:1")["forward_equivalents"] == 1
    assert results.cost("curve:3:sign")["forward_equivalents"] == 3


def test_ensemble_is_white_box_to_its_members_and_shares_their_backbones(
    tmp_path: Path,
) -> None:
    a, b, c = toy("a", seed=1), toy("b", seed=2), toy("c", seed=3)
    a["backbone"], b["backbone"], c["backbone"] = "one", "two", "two"
    both = {"name": "both", "ensemble": [a, b], "average": "gradients"}
    results = run_toy(tmp_path, models=[a, b, c, both], attacks=["fgsm"])
    found = {(s, t): results.group(s, t) for s in results.sources for t in results.targets}
    assert {found["both", t] for t in ("a", "b", "both")} == {"diagonal"}
    assert found["a", "both"] == found["c", "c"] == "diagonal"
    assert found["both", "c"] == found["c", "both"] == found["b", "c"] == "same_backbone"
    assert found["a", "c"] == found["a", "b"] == "cross_backbone"


def test_an_experiment_of_another_version_is_refused_in_a_sentence(tmp_path: Path) -> None:
    results = run_toy(tmp_path, attacks=["noise"])
    older = {k: v for k, v in results.manifest.stored().items() if k != "format"}
    results.store.save_experiment(results.identity, older)
    with pytest.raises(InputError, match="by another version of segtransfer; run the"):
        load_results(results.store, results.identity)
