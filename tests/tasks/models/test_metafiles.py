"""Metafiles: the URL and the scores of a config's weights, of mmseg's own and beside a user's."""

import math
from pathlib import Path

import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.models.mmseg_configs import all_published, find_config, published
from segtransfer.tasks.models.weights import DIGITS
from tests.tasks.models.published import entry, named, write_metafile

PSPNET = "pspnet_r50-d8_4xb2-40k_cityscapes-512x1024"
URL = "https://host/net-0123abcd.pth"


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text("model = {}")
    return str(tmp_path / "mine.py")


def test_every_published_config_of_mmseg_has_a_file_and_digits() -> None:
    entries = all_published()
    assert len(entries) > 600
    for found in entries:
        assert find_config(found.name).stem == found.name
        assert DIGITS.search(found.weights), found.weights
        assert len(found.scores) == 1
    assert published(PSPNET) in entries


def test_scores_are_percent_and_several_scales_are_told_apart() -> None:
    (score,) = published(f"{PSPNET}.py").scores
    assert (score.task, score.dataset) == ("Semantic Segmentation", "Cityscapes")
    assert (score.miou, score.miou_ms_flip) == (77.85, 79.18)


def test_a_metric_that_is_not_published_is_none() -> None:
    (score,) = published("unet-s5-d16_deeplabv3_4xb4-40k_drive-64x64").scores
    assert (score.miou, score.miou_ms_flip) == (None, None)
    assert score.metrics["Dice"] > 50


def test_a_config_of_ones_own_has_the_metafile_beside_it(config: str, tmp_path: Path) -> None:
    write_metafile(tmp_path, entry(config, URL), entry("other.py", URL))
    assert published(config).weights == URL
    two_scores = entry(config, URL) | {
        "Results": [{"Dataset": d, "Metrics": {"mIoU": m}} for d, m in (("a", 1), ("b", 2.5))]
    }
    (tmp_path / "metafile.yaml").unlink()
    write_metafile(tmp_path, two_scores)
    assert [(s.dataset, s.miou) for s in published(config).scores] == [("a", 1.0), ("b", 2.5)]


def test_a_config_without_weights_is_told_with_near_names_that_have_some(
    config: str, tmp_path: Path
) -> None:
    told = f"config {config} has no published weights in a metafile beside {config}; give "
    with pytest.raises(InputError, match=told):
        published(config)
    write_metafile(tmp_path, entry(config, ""), entry("mine2.py", URL), entry("mine3.py", URL))
    (tmp_path / "mine2.py").write_text("")
    with pytest.raises(InputError, match=r"use a config with weights: mine2$"):
        published(config)  # mine3 has no config
    without = "emanet_r50-d8_4xb2-80k_cityscapes-512x1024"  # misspelt in mmseg's metafile
    with pytest.raises(InputError, match="with weights: emanet_r101-d8_4xb2-80k_cityscapes-512x10"):
        published(without)


def test_several_weights_of_a_config_are_all_named() -> None:
    with pytest.raises(InputError, match=r"several published weights: \S*80k\S* and \S*160k\S*;"):
        published("ocrnet_hr18_4xb4-80k_ade20k-512x512")


def test_keys_without_a_value_and_entries_without_a_config_leave_the_rest_usable(
    config: str, tmp_path: Path
) -> None:
    scores = [{"Task": None, "Dataset": "a", "Metrics": {"mIoU": 1.5, "mIoU(ms+flip)": math.nan}}]
    mine = entry(config, URL) | {"Results": scores}
    write_metafile(tmp_path, {"Name": "x"}, {"Config": None}, entry("other.py", URL), mine)
    (score,) = published(config).scores
    assert (score.task, score.miou, score.miou_ms_flip) == ("", 1.5, None)
    (tmp_path / "metafile.yaml").unlink()
    write_metafile(tmp_path, entry(config, URL) | {"Results": None})
    assert published(config).scores == ()


def test_a_score_that_is_no_number_is_none(config: str, tmp_path: Path) -> None:
    scores = {"Dataset": "a", "Metrics": {"mIoU": True, "mIoU(ms+flip)": "80"}}
    write_metafile(tmp_path, entry(config, URL) | {"Results": scores})
    (score,) = published(config).scores
    assert (score.miou, score.miou_ms_flip) == (None, None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("Models: 3", r"metafile\.yaml: field 'Models': give a list"),
        (
            "Models: [{Config: [1]}]",
            r"metafile\.yaml: field 'Models\.0\.Config': give text, in quotes",
        ),
        ("[", "is no valid YAML"),
        ("- 1", "holds no mapping; give a mapping with Models"),
    ],
)
def test_a_metafile_of_another_form_is_refused(
    content: str, told: str, config: str, tmp_path: Path
) -> None:
    (tmp_path / "metafile.yaml").write_text(content)
    with pytest.raises(InputError, match=told):
        published(config)


@pytest.mark.parametrize("fields", [{}, {"checkpoint": "w.pth", "weights": "mmseg"}])
def test_a_model_has_a_checkpoint_or_weights_by_name(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"give either checkpoint .* or weights: mmseg"):
        named({"config": "x", **fields})
