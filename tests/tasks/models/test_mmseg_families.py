"""Networks beyond convolutions, heads of one channel, and the reason if a network is impossible."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.mmseg_configs import find_config
from segtransfer.tasks.models.mmseg_missing import missing
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.models.networks import FILES, own_prediction, spec_of, write_network


def picture(height: int, width: int) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    return drawn.astype(np.uint8).repeat(8, 0).repeat(8, 1)[:height, :width].copy()


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("family", FILES)
def test_transformer_backbones_pass_the_check_and_predict_as_mmseg_does(
    family: str, tmp_path: Path
) -> None:
    source = write_network(tmp_path, family)
    spec = spec_of(source)
    adapters.describe(spec)
    adapters.check(spec)
    model = adapters.load(spec)
    for size in [(64, 64)] if family == "beit" else [(64, 64), (48, 96), (61, 83)]:
        rgb = picture(*size)
        with torch.no_grad():
            ours = model(tensor(rgb)).argmax(1)[0].numpy()
        assert np.array_equal(ours, own_prediction(source, rgb))
        assert len(np.unique(ours)) > 1
    images = tensor(picture(64, 64)).requires_grad_(True)
    gradient = model.gradient(model(images).square().sum(), images)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.99


def test_the_check_refuses_a_checkpoint_that_does_not_fit_a_transformer(tmp_path: Path) -> None:
    source = write_network(tmp_path, "segformer")
    content = torch.load(source["checkpoint"])
    del content["state_dict"]["decode_head.conv_seg.bias"]
    torch.save(content, source["checkpoint"])
    with pytest.raises(InputError, match=r"1 keys missing .*decode_head\.conv_seg\.bias"):
        adapters.check(spec_of(source))


@pytest.mark.parametrize(
    "head",
    [
        {"num_classes": 2, "out_channels": 1},
        {"num_classes": 2, "out_channels": 1, "threshold": 0.5},
        {"num_classes": 2, "out_channels": 1, "threshold": 0.9},
        {"num_classes": 1},
    ],
    ids=str,
)
def test_a_head_of_one_channel_predicts_as_mmseg_does(head: dict[str, Any], tmp_path: Path) -> None:
    count = head.pop("num_classes")
    source = write_network(tmp_path, "segformer", count, **head)
    content = torch.load(source["checkpoint"])
    state = content["state_dict"]
    rgb = picture(64, 96)
    with torch.no_grad():  # centre the logit on the threshold, so that both classes are predicted
        torch.save(content, source["checkpoint"])
        logits = adapters.load(spec_of(source))(tensor(rgb))
        state["decode_head.conv_seg.bias"] -= logits[:, 1].median() + 1e-3  # a tie would be chance
    torch.save(content, source["checkpoint"])
    info, model = adapters.describe(spec_of(source)), adapters.load(spec_of(source))
    assert info.num_classes == model.num_classes == 2
    images = tensor(rgb).requires_grad_(True)
    logits = model(images)
    assert logits.shape == (1, 2, 64, 96)
    assert torch.equal(logits[:, 0], torch.zeros(1, 64, 96))
    ours = logits.argmax(1)[0].numpy()
    assert set(np.unique(ours)) == {0, 1}
    assert np.array_equal(ours, own_prediction(source, rgb))
    labels = torch.ones(1, 64, 96, dtype=torch.long)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert (model.gradient(loss, images) != 0).float().mean() > 0.99


def test_a_threshold_at_the_border_keeps_logits_finite(tmp_path: Path) -> None:
    for threshold in (0.0, 1.0):
        source = write_network(tmp_path, "segformer", 2, out_channels=1, threshold=threshold)
        with torch.no_grad():
            assert adapters.load(spec_of(source))(tensor(picture(32, 32))).isfinite().all()


def test_one_channel_for_many_classes_is_refused(tmp_path: Path) -> None:
    source = write_network(tmp_path, "segformer", 5, out_channels=1)
    with pytest.raises(InputError, match="1 output channels for 5 classes"):
        adapters.check(spec_of(source))


BUILD = r"an onedl-mmcv with compiled ops \(mim install onedl-mmcv --only-binary=onedl-mmcv\)$"
DETECTION = (
    r"needs the package mmdet, which is not installed; install onedl-mmdetection, and for it "
    rf"{BUILD}"
)
PRETRAIN = (
    r": it needs the package mmpretrain, which is not installed; install onedl-mmpretrain, and "
    r"with it transformers<5,>=4\.53\.0 in the place of 5[.\d]+$"
)


@pytest.mark.parametrize(
    ("family", "told"),
    [
        ("ccnet", f": CrissCrossAttention needs compiled ops of mmcv; install {BUILD}"),
        ("convnext", PRETRAIN),
        ("mask2former", f": (it|Mask2FormerHead) {DETECTION}"),
        ("maskformer", f": MaskFormerHead {DETECTION}"),
        ("point_rend", f": point_sample needs compiled ops of mmcv; install {BUILD}"),
        ("poolformer", PRETRAIN),
        ("psanet", f": PSAMask needs compiled ops of mmcv; install {BUILD}"),
        ("san", "and this MultimodalEncoderDecoder has .*image_encoder.*; write a torch callable"),
        ("vpd", "is of a DepthEstimator, which predicts no classes; give the config"),
    ],
)
def test_a_family_that_cannot_be_built_is_answered_by_one_sentence(family: str, told: str) -> None:
    folder = find_config("fcn_r50-d8_4xb2-40k_cityscapes-512x1024").parents[1] / family
    for config in (min(folder.rglob("*.py")), max(folder.rglob("*.py"))):
        spec = ModelSpec.model_validate(
            {"name": "m", "mmseg": {"config": str(config), "checkpoint": "w.pth"}}
        )
        with pytest.raises(InputError, match=told) as refused:
            adapters.check(spec)
        assert "\n" not in str(refused.value)
        assert ". " not in str(refused.value)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Install a package of one line, with the metadata of a distribution."""

    def install(package: str, line: str, requires: str) -> None:
        (tmp_path / f"{package}.py").write_text(line)
        information = tmp_path / f"onedl_{package}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: onedl-{package}\nVersion: 1.0\n{requires}\n"
        )

    monkeypatch.syspath_prepend(str(tmp_path))
    return install


def error_of(package: str) -> ImportError | AssertionError:
    try:
        importlib.import_module(package)
    except (ImportError, AssertionError) as error:
        return error
    raise AssertionError(package)


def test_an_mmpretrain_that_takes_another_transformers_says_which(
    elsewhere: Callable[[str, str, str], None],
) -> None:
    bound = 'Requires-Dist: transformers<4,>=3; extra == "multimodal"'
    elsewhere("mmpretrain", "from transformers import Gone", bound)
    told = missing(error_of("mmpretrain"))
    assert told is not None
    assert "onedl-mmpretrain 1.0, which requires transformers<4,>=3, and transformers 5" in told
    assert told.endswith("; install transformers<4,>=3")


def test_an_mmdet_for_another_mmcv_is_to_be_replaced(
    elsewhere: Callable[[str, str, str], None],
) -> None:
    elsewhere("mmdet", "assert False, 'MMCV==2.3.6 is used but incompatible. Please'", "")
    told = missing(error_of("mmdet"))
    assert told is not None
    assert told.endswith("; install onedl-mmdetection in its place")


def test_an_error_of_the_config_itself_gets_no_hint_about_packages(tmp_path: Path) -> None:
    source = write_network(tmp_path, "segformer")
    config = Path(source["config"])
    config.write_text(config.read_text().replace("'embed_dims': 8", "'embed_dim': 8"))
    with pytest.raises(InputError, match="unexpected keyword argument 'embed_dim'") as refused:
        adapters.check(spec_of(source))
    assert str(refused.value).endswith("'embed_dim')")


def import_as_mmengine_does() -> None:
    try:
        importlib.import_module("no_such_package.inner")
    except ImportError as inner:
        raise ImportError("Failed to import custom modules") from inner


def test_the_hint_names_the_package_of_a_nested_import() -> None:
    with pytest.raises(ImportError) as raised:
        import_as_mmengine_does()
    told = missing(raised.value)
    assert told is not None
    assert told.startswith(": it needs the package no_such_package, which is not installed;")
    assert missing(ValueError("wrong")) is None
