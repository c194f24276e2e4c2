"""Confirmation of a search: separate data, paired comparisons, a verdict."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from segtransfer.errors import InputError
from segtransfer.results import Results
from segtransfer.runtime.runner import carry_out
from segtransfer.searches import confirmation as confirm
from segtransfer.searches.confirmation import (
    CarryOver,
    ConfirmedDifference,
    PairGroup,
    carry_over,
    check_apart,
    compare,
    pairs_by_target,
    verdict,
)
from segtransfer.searches.spec import Search, confirming_experiment
from segtransfer.statistics import Interval, Resampled
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.orchestrator.searches import toys
from tests.orchestrator.searches.searches import grey_search, grey_spec
from tests.orchestrator.toy_experiments import toy

GROUPS = ("same_backbone", "cross_backbone")
SEARCHED = SEARCHED_SAME, SEARCHED_OTHER = [PairGroup("searched", group) for group in GROUPS]
HELD_OUT_SAME, HELD_OUT_OTHER = [PairGroup("held-out", group) for group in GROUPS]

# -- apart ------------------------------------------------------------------------------------


def sample(sequence: str, images: int, side: int) -> dict[str, Any]:
    return {"sample": "camvid", "sequences": [sequence], "images": images, "size": [side, side]}


def test_search_confirmed_on_other_images_and_videos_passes(tmp_path: Path) -> None:
    check_apart(grey_search(tmp_path))  # images in no sequence share none
    videos = {"data": sample("0001TP", 2, 32), "confirm": {"data": sample("Seq05VD", 2, 32)}}
    check_apart(grey_search(tmp_path, **videos))


def test_images_common_to_search_and_confirmation_are_refused_by_pixels(
    tmp_path: Path,
) -> None:
    spec = grey_spec(tmp_path)
    copied = toys.write_greys(tmp_path / "copied")  # the search's own, in another folder
    for image in copied.rglob("*.png"):
        image.rename(image.with_name(f"renamed-{image.name}"))
    spec["confirm"]["data"] = {"folder": str(copied), "classes": toys.CLASSES}
    with pytest.raises(InputError) as raised:
        check_apart(Search.model_validate(spec))
    assert "data and confirm.data share 4 images (grey-0-0, grey-0-1, " in str(raised.value)
    assert "Give confirm.data another split" in str(raised.value)


def test_equal_names_of_other_images_are_no_shared_video(tmp_path: Path) -> None:
    spec = grey_spec(tmp_path)
    other = toys.write_greys(tmp_path / "other", seed=9)
    for image in list(other.rglob("*.png")):
        image.rename(image.with_name(image.name.replace("grey-9", "grey-0")))
    spec["confirm"]["data"] = {"folder": str(other), "classes": toys.CLASSES}
    check_apart(Search.model_validate(spec))


def test_other_images_of_the_same_video_are_refused(tmp_path: Path) -> None:
    same = {"data": sample("0001TP", 2, 32), "confirm": {"data": sample("0001TP", 2, 48)}}
    with pytest.raises(InputError, match=r"share 1 video \(0001TP\)"):
        check_apart(grey_search(tmp_path, **same))


# -- comparisons ------------------------------------------------------------------------------


def attack(name: str, levels: float) -> dict[str, Any]:
    return {"preset": "pgd", "name": name, "step_size": levels / 255}


def confirmed(
    folder: Path, best: list[float], baselines: list[float], **changes: Any
) -> tuple[Search, Results]:
    """Attacks of so many levels a step, on eight images whose optimum differs by some levels."""
    data = folder / "spread"
    if not data.exists():
        toys.write_greys(data, count=8, seed=5, spread=6)
    search = grey_search(
        folder,
        confirm={
            "data": {"folder": str(data), "classes": toys.CLASSES},
            "baselines": [attack(f"base-{n}", levels) for n, levels in enumerate(baselines)],
            "schedule_groups": 64,
        },
        runtime={"executor": "inline"},
        **changes,
    )
    found = [
        AttackSpec.model_validate({**search.attack, **attack(f"best-{rank}", levels)})
        for rank, levels in enumerate(best, start=1)
    ]
    return search, carry_out(confirming_experiment(search, found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("confirm")


@pytest.fixture(scope="module")
def strong(folder: Path) -> tuple[Search, Results]:
    """The optimum, and less, against far less."""
    return confirmed(folder, [16, 14, 12], [10, 9])


def test_best_attacks_are_compared_with_every_baseline_score_and_target(
    strong: tuple[Search, Results],
) -> None:
    search, results = strong
    found = compare(search, results)
    assert len(found) == 3 * 2 * 2 * 2
    assert {(c.attack, c.baseline, c.score, c.targets) for c in found} == {
        (f"best-{rank}", f"base-{base}", score, targets)
        for rank in (1, 2, 3)
        for base in (0, 1)
        for score in ("raw", "eps*sign")
        for targets in (SEARCHED_OTHER, HELD_OUT_OTHER)
    }
    assert pairs_by_target(search, results) == {
        SEARCHED_OTHER: [("source", "target")],
        HELD_OUT_OTHER: [("source", "new")],
    }


def test_no_mean_mixes_pairs_of_the_same_and_of_another_backbone(tmp_path: Path) -> None:
    """One source brightens, which fools the targets; the other darkens, which fools none: a mean
    over both would be half of what there is."""
    away = toy("darker", "linear", weights=[[0.0, 0.0, 0.0], [-1.0, -1.0, -1.0]])
    models = [
        toys.source() | {"backbone": "r18"},
        away | {"backbone": "mit"},
        toys.target() | {"backbone": "r18"},
        toys.target("new", reach=toys.REACH + 2) | {"backbone": "mit"},
    ]
    changes = {"models": models, "sources": ["source", "darker"]}
    search, results = confirmed(tmp_path, [16], [10], **changes)
    assert pairs_by_target(search, results) == {
        SEARCHED_SAME: [("source", "target")],
        SEARCHED_OTHER: [("darker", "target")],
        HELD_OUT_SAME: [("darker", "new")],
        HELD_OUT_OTHER: [("source", "new")],
    }
    raw = [c for c in compare(search, results) if c.score == "raw"]
    found = {str(c.targets): c.difference.value for c in raw}
    matrix = results.matrix("best-1") - results.matrix("base-0")
    assert found == {
        "searched, same backbone": pytest.approx(matrix.loc["source", "target"]),
        "searched, other backbone": 0,
        "held-out, same backbone": 0,
        "held-out, other backbone": pytest.approx(matrix.loc["source", "new"]),
    }
    assert min(found["searched, same backbone"], found["held-out, other backbone"]) < -1


def test_a_comparison_is_the_difference_of_the_two_means(strong: tuple[Search, Results]) -> None:
    search, results = strong
    found = {(c.attack, c.baseline, c.score, c.targets): c for c in compare(search, results)}
    raw = found["best-2", "base-1", "raw", HELD_OUT_OTHER].difference
    mine, theirs = (results.matrix(a).loc["source", "new"] for a in ("best-2", "base-1"))
    assert raw.value == pytest.approx(mine - theirs)
    assert raw.low <= raw.value <= raw.high
    matched = found["best-2", "base-1", "eps*sign", HELD_OUT_OTHER].difference
    assert matched == Interval(0.0, 0.0, 0.0), "pushed to the bound, both are the same image"


def test_search_without_held_out_models_compares_on_searched_models(
    strong: tuple[Search, Results],
) -> None:
    search, results = strong
    alone = search.model_copy(
        update={"confirm": search.confirm.model_copy(update={"held_out": ()})}
    )
    assert {c.targets for c in compare(alone, results)} == {SEARCHED_OTHER}


def test_intervals_are_corrected_for_the_number_of_the_best(
    strong: tuple[Search, Results], folder: Path
) -> None:
    search, results = strong
    only_search, only = confirmed(folder, [16], [10, 9])

    def interval(search: Search, results: Results) -> Interval:
        (found,) = (
            c.difference
            for c in compare(search, results)
            if (c.attack, c.baseline, c.score) == ("best-1", "base-0", "raw")
            and c.targets == SEARCHED_OTHER
        )
        return found

    three, one = interval(search, results), interval(only_search, only)
    assert three.value == one.value
    assert three.low < one.low < one.high < three.high
    pairs = [("source", "target")]
    by_hand = Resampled(results).difference("best-1", "base-0", pairs, level=1 - 0.05 / 3)
    assert three == by_hand


# -- the verdict ------------------------------------------------------------------------------


def claim(search: Search, results: Results) -> str:
    return verdict(compare(search, results), "mIoU")


def test_verdict_reverses_with_exchanged_attacks(
    strong: tuple[Search, Results], folder: Path
) -> None:
    told = claim(*confirmed(folder, [16], [10]))
    assert "On new images and new models of another backbone than the source's, best-1 " in told
    assert "best-1 beats every baseline" in told
    assert "only as raw, which is inconclusive" in told
    turned = claim(*confirmed(folder, [10], [16]))
    assert "best-1 loses to a baseline" in turned
    assert "raw +" in turned


def test_attacks_with_a_noisy_difference_are_within_noise(folder: Path) -> None:
    told = claim(*confirmed(folder, [16.5], [15.5]))
    assert "does not beat every baseline beyond noise" in told


def made(
    low: float,
    high: float,
    *,
    baseline: str = "pgd",
    score: str = "raw",
    targets: PairGroup = HELD_OUT_OTHER,
) -> ConfirmedDifference:
    difference = Interval((low + high) / 2, low, high)
    return ConfirmedDifference(
        "best-1", baseline, score, targets, difference, difference.beyond_noise
    )


@pytest.mark.parametrize(
    ("comparisons", "claim"),
    [
        ([made(-9, -7), made(-4, -2, baseline="ds")], "beats every baseline (mIoU: raw −3.00 "),
        ([made(-9, -7), made(-4, 2, baseline="ds")], "does not beat every baseline beyond noise"),
        ([made(-9, -7), made(2, 4, baseline="ds")], "loses to a baseline (mIoU: raw +3.00 "),
        ([made(-9, -7), made(-3, 3, score="eps*sign")], "only as raw, which is inconclusive"),
        ([made(-9, 7), made(-3, -1, score="eps*sign")], "only as eps*sign, which is inconclusive"),
        ([made(-9, -7), made(1, 3, score="eps*sign")], "loses to a baseline"),
        ([made(-9, -7), made(-5, -3, score="eps*sign")], "beats every baseline (mIoU: raw −8.00 "),
        (
            [made(-9, -7), *(made(1, 3, targets=w) for w in (HELD_OUT_SAME, *SEARCHED))],
            "new models of another backbone than the source's, best-1 beats every baseline",
        ),
        (
            [made(-9, -7, targets=HELD_OUT_SAME), *(made(1, 3, targets=w) for w in SEARCHED)],
            "new models of the source's backbone, best-1 beats every baseline",
        ),
        (
            [made(1, 3, targets=SEARCHED_SAME), made(-9, -7, targets=SEARCHED_OTHER)],
            "and searched models of another backbone than the source's, best-1 beats every",
        ),
        (
            [made(-9, -7, targets=SEARCHED_SAME)],
            "and searched models of the source's backbone, best-1 beats every baseline",
        ),
    ],
)
def test_the_verdict_is_on_the_strictest_targets_and_the_closest_baseline(
    comparisons: list[ConfirmedDifference], claim: str
) -> None:
    told = verdict(comparisons, "mIoU")
    assert claim in told
    assert told.endswith(").")


class FromPValues:
    """Replace resampled results by given differences to each baseline."""

    told: ClassVar[dict[str, Interval]] = {}

    def __init__(self, results: Results) -> None: ...

    def difference(self, attack: str, baseline: str, *_: Any, level: float) -> Interval:
        return self.told[baseline.partition(":")[0]]


@pytest.mark.parametrize(
    ("p", "claim"),
    [
        # Two baselines, two scores, two kinds of targets: Holm begins at 0.05 / 8.
        (0.02, "does not beat every baseline beyond noise"),
        (0.002, "loses to a baseline"),
    ],
)
def test_single_loss_among_many_comparisons_is_corrected_by_holm(
    p: float, claim: str, strong: tuple[Search, Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval, corrected for the candidates alone, leaves out 0 either way."""
    search, results = strong
    only = {n: m for n, m in results.variants.items() if m.attack not in ("best-2", "best-3")}
    manifest = results.manifest.narrowed(results.sources, results.targets, [*only.values()])
    told = {"base-0": Interval(1.0, 0.1, 1.9, p), "base-1": Interval(-1.0, -3.0, 1.0, 0.3)}
    monkeypatch.setattr(FromPValues, "told", told)
    monkeypatch.setattr(confirm, "Resampled", FromPValues)
    found = compare(search, replace(results, manifest=manifest))
    assert len(found) == 8
    assert claim in verdict(found, "mIoU")
    assert {c.beyond_noise for c in found if c.baseline == "base-0"} == {p < 0.05 / 8}


def test_verdict_is_about_best_1_only() -> None:
    second = replace(made(3, 5), attack="best-2")
    assert "best-1 beats every baseline" in verdict([made(-9, -7), second], "mIoU")


# -- carry-over -------------------------------------------------------------------------------

# Trial 0 is best on a and b, trial 1 on c, trial 2 nowhere.
DROPS = {
    0: {"s": {"a": 30.0, "b": 20.0, "c": 1.0}},
    1: {"s": {"a": 10.0, "b": 10.0, "c": 40.0}},
    2: {"s": {"a": 5.0, "b": 5.0, "c": 5.0}},
}


def test_settings_chosen_without_a_target_are_scored_on_the_target() -> None:
    found = carry_over(DROPS, {"a": ["a"], "b": ["b"], "c": ["c"]})
    assert found == [
        # Without a: 10.5, 25 and 5, so trial 1, which has the second of 30, 10 and 5 there.
        CarryOver("a", chosen=1, drop=10.0, rank=2, trials=3, best=30.0, median=10.0),
        CarryOver("b", chosen=1, drop=10.0, rank=2, trials=3, best=20.0, median=10.0),
        # Without c: 25, 10 and 5, so trial 0, which is the last of 1, 40 and 5 there.
        CarryOver("c", chosen=0, drop=1.0, rank=3, trials=3, best=40.0, median=5.0),
    ]


def test_settings_chosen_without_a_backbone_are_scored_on_its_targets() -> None:
    (found,) = carry_over(DROPS, {"all of r18": ["a", "b"]})
    # Without a and b trial 1 is best, by 40; there the means are 25, 10 and 5.
    assert found == CarryOver("all of r18", 1, drop=10.0, rank=2, trials=3, best=25.0, median=10.0)


def test_sources_have_equal_weight() -> None:
    drops = {
        0: {"s": {"a": 10.0, "b": 0.0}, "t": {"a": 20.0, "b": 4.0}},
        1: {"s": {"a": 0.0, "b": 3.0}, "t": {"a": 50.0, "b": 3.0}},
    }
    (found,) = carry_over(drops, {"a": ["a"]})
    assert (found.chosen, found.drop, found.best) == (1, 25.0, 25.0)


def test_groups_of_all_or_no_targets_carry_nothing_over() -> None:
    assert carry_over(DROPS, {"all": ["a", "b", "c"], "none": ["z"]}) == []
    assert carry_over({}, {"a": ["a"]}) == []
