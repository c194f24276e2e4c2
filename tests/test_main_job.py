"""The main job on real images and the shipped models: what any sound matrix must show."""

from pathlib import Path

import numpy as np
import pytest
from mmseg.evaluation import IoUMetric

from segtransfer import run
from segtransfer.results import Results

ATTACKS = [
    {"preset": "noise", "eps": "8/255"},
    {"preset": "pgd", "eps": "8/255", "steps": 10},
    {
        "preset": "pgd", "name": "unscaled", "eps": "8/255", "steps": 10,
        "transforms": [{"ds": {"low": 1, "width": 0}}],
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    store = tmp_path_factory.mktemp("main-job") / "store"
    return run(
        {
            "data": {"sample": "camvid", "images": 2},
            "models": ["fcn-r18", "pspnet-r18", "deeplabv3-r18"],
            "attacks": ATTACKS,
            "runtime": {"executor": "inline", "store": str(store)},
        }
    )


def _keys(results: Results) -> dict[tuple[str, str, str], str]:
    return {(c[0], c[1], c[3]): c[5] for c in results.manifest.rows if c[5]}


def test_the_noise_row_lies_far_above_the_pgd_row(results: Results) -> None:
    assert (results.matrix("noise") - results.matrix("pgd")).to_numpy().min() > 10
    noise, pgd = results.matrix("noise", "drop"), results.matrix("pgd", "drop")
    assert (noise < pgd / 2).to_numpy().all()


def test_white_box_pgd_leaves_less_than_ten_miou(results: Results) -> None:
    matrix = results.matrix("pgd")
    assert [name for name in results.sources if matrix.loc[name, name] >= 10] == []


def test_dynamic_scaling_at_scale_one_is_pgd_bit_for_bit(results: Results) -> None:
    keys = _keys(results)
    compared = 0
    for (attack, source, shard), key in keys.items():
        if attack == "pgd":
            scaled = results.store.attack_images(keys["unscaled", source, shard])
            assert np.array_equal(results.store.attack_images(key), scaled)
            compared += 1
    assert compared >= 3
    assert results.matrix("pgd").equals(results.matrix("unscaled"))


def test_no_stored_image_leaves_the_integer_ball(results: Results) -> None:
    for (_, _, shard), key in _keys(results).items():
        made, clean = results.store.attack_images(key), results.store.shard(shard)
        assert made is not None
        assert clean is not None
        assert np.abs(made.astype(int) - clean.images).max() <= 8


def test_counts_hold_every_labelled_pixel_once(results: Results) -> None:
    shards = [results.store.shard(shard) for shard in results.manifest.shards]
    labelled = sum(int((shard.labels != 255).sum()) for shard in shards if shard is not None)
    assert labelled > 0
    assert {int(counts[:, 1].sum()) for counts in results.counts.values()} == {labelled}


def test_miou_is_mmsegs_own_on_the_same_predictions(results: Results) -> None:
    import torch

    for attack, source, target in [("clean", None, "fcn-r18"), ("pgd", "fcn-r18", "pspnet-r18")]:
        areas = []
        for a, s, t, shard_id, key, _ in results.manifest.rows:
            if (a, s, t) != (attack, source, target):
                continue
            evaluation, shard = results.store.evaluation(key), results.store.shard(shard_id)
            assert evaluation is not None
            assert shard is not None
            for prediction, label in zip(evaluation.predictions, shard.labels, strict=True):
                pair = torch.tensor(prediction).long(), torch.tensor(label).long()
                areas.append(IoUMetric.intersect_and_union(*pair, len(results.classes), 255))
        totals = [sum(area) for area in zip(*areas, strict=True)]
        theirs = IoUMetric.total_area_to_metrics(*totals, metrics=["mIoU"])
        ours = results.clean() if attack == "clean" else results.matrix(attack).loc[source]
        assert ours[target] == pytest.approx(100 * np.nanmean(theirs["IoU"]), abs=1e-3)


def test_the_store_alone_redraws_the_results(results: Results, tmp_path: Path) -> None:
    from segtransfer import open_results

    (again,) = open_results(results.store.location)
    assert again.digest == results.digest
    assert again.frame().equals(results.frame())
