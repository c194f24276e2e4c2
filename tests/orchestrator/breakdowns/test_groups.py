"""Means over pair groups, missing results, and wrong names."""

from pathlib import Path

import numpy as np
import pytest

from segtransfer import open_results
from segtransfer.errors import InputError
from segtransfer.results import Results, load_results
from tests.orchestrator.toy_experiments import run_toy, toy

ATTACKS = ["noise", {"preset": "pgd", "steps": 2, "steps_at": [1, 2]}]
MODELS = [toy("a", seed=1), toy("b", seed=2), toy("c", seed=3) | {"backbone": "another"}]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_toy(tmp_path_factory.mktemp("groups"), attacks=ATTACKS, models=MODELS)


@pytest.fixture
def own(tmp_path: Path) -> Results:
    return run_toy(tmp_path, attacks=ATTACKS, models=MODELS)


def test_values_are_means_over_the_pairs_of_each_group(results: Results) -> None:
    frame = results.breakdown("class")
    assert list(dict.fromkeys(frame["attack"])) == ["noise", "pgd:2"]
    for group in ("diagonal", "same_backbone", "cross_backbone"):
        pairs = [(s, t) for s in "abc" for t in "abc" if results.group(s, t) == group]
        found = frame[(frame["attack"] == "pgd:2") & (frame["group"] == group)]
        attacked = np.mean([results.class_iou("pgd:2", *pair) for pair in pairs], axis=0)
        clean = np.mean([results.class_iou("clean", None, t) for _, t in pairs], axis=0)
        assert list(found["attacked"]) == pytest.approx(list(attacked))
        assert list(found["clean"]) == pytest.approx(list(clean))
        assert list(found["drop"]) == pytest.approx(list(clean - attacked))
        assert (found["drop_low"] <= found["drop"]).all()
    noise = frame[frame["attack"] == "noise"]
    assert set(noise["group"]) == {""}
    means = np.mean([results.class_iou("noise", None, t) for t in "abc"], axis=0)
    assert list(noise["attacked"]) == pytest.approx(list(means))


def test_all_parts_have_the_labelled_pixels_of_the_data(results: Results) -> None:
    for by in ("class", "size", "boundary"):
        frame = results.breakdown(by, "pgd:1")
        assert set(frame["attack"]) == {"pgd:1"}
        assert set(frame.groupby("group")["pixels"].sum()) == {6 * 22 * 32}


def test_unknown_names_are_refused_with_the_allowed_names(results: Results) -> None:
    with pytest.raises(InputError, match="'colour' is unknown; allowed: boundary, class, image"):
        results.breakdown("colour")
    with pytest.raises(InputError, match="has no attack 'pgd:3'; did you mean 'pgd:"):
        results.breakdown("class", "pgd:3")


def test_missing_cell_leaves_its_pair_group_out_with_a_note(own: Results) -> None:
    key = next(c.key for c in own.manifest.cells if c.index == ("pgd:2", "a", "b"))
    own.store.files.delete(f"rows/{key[:2]}/{key}.parquet")
    frame = load_results(own.store, own.identity).breakdown("boundary")
    groups = set(frame.loc[frame["attack"] == "pgd:2", "group"])
    assert groups == {"diagonal", "cross_backbone"}
    (note,) = [note for note in frame.attrs["notes"] if note.startswith("PARTIAL")]
    assert note.startswith("PARTIAL: pgd:2 on same backbone is left out, because 1 of 4 cells")


def test_run_without_results_of_attacks_is_refused_with_the_action(own: Results) -> None:
    for cell in own.manifest.cells:
        if cell.attack != "clean":
            own.store.files.delete(f"rows/{cell.key[:2]}/{cell.key}.parquet")
    for by in ("class", "size", "boundary", "image"):
        with pytest.raises(InputError, match=r"evaluations are missing .* run the experiment"):
            load_results(own.store, own.identity).breakdown(by)


def test_prediction_lost_since_the_results_were_read_is_refused(own: Results) -> None:
    (results,) = open_results(own.store.location)
    key = next(c.key for c in own.manifest.cells if c.index == ("pgd:2", "a", "b"))
    own.store.files.delete(f"rows/{key[:2]}/{key}.parquet")
    for by in ("size", "boundary"):
        with pytest.raises(InputError, match=r"lacks 1 predictions, which .* run its experiment"):
            results.breakdown(by)
    assert not results.breakdown("class").empty  # from counts in memory


def test_shard_lost_since_the_results_were_read_is_refused(own: Results) -> None:
    (results,) = open_results(own.store.location)
    for name in own.store.files.names("shards"):
        own.store.files.delete(name)
    for by in ("size", "boundary"):
        with pytest.raises(InputError, match="lacks 1 shards of images and labels"):
            results.breakdown(by)
