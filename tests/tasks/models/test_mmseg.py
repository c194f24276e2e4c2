"""Our differentiable wrapper against mmseg's own prediction path, on the shipped models."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.config import Config
from mmseg.apis import init_model
from mmseg.structures import SegDataSample

from segtransfer.errors import InputError
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.image_files import read_image
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.checkpoint import load_state
from segtransfer.tasks.models.mmseg_configs import find_config
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.models.zoo import ZOO


@cache
def zoo(name: str) -> Segmenter:
    return adapters.load(ModelSpec.model_validate(name))


@cache
def street(index: int = 0) -> np.ndarray:
    """A street image, RGB uint8 H x W x 3."""
    return read_image(open_dataset(DataSpec(sample="camvid")).items[index].image)


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255


def config_file(folder: Path, base: str = "fcn-r18", **model: Any) -> Path:
    """A config that inherits a zoo model's and changes what ``model`` says."""
    path = folder / f"{base}-changed.py"
    path.write_text(f"_base_ = {str(ZOO[base].config)!r}\nmodel = {model!r}\n")
    return path


def spec(config: Path, weights: Path = ZOO["fcn-r18"].weights, **fields: Any) -> ModelSpec:
    source = {"config": str(config), "checkpoint": str(weights), **fields}
    return ModelSpec.model_validate({"name": "m", "mmseg": source})


def mmsegs_own(config: Path, weights: Path, rgb: np.ndarray) -> np.ndarray:
    """mmseg's prediction through its own preprocessor, test_step and post-processing."""
    network = init_model(Config.fromfile(str(config)), None, device="cpu")
    network.load_state_dict({k: v.float() for k, v in load_state(weights).items()})
    shape = rgb.shape[:2]
    sample = SegDataSample(metainfo={"ori_shape": shape, "img_shape": shape})
    bgr = torch.tensor(np.ascontiguousarray(rgb[..., ::-1])).permute(2, 0, 1)
    with torch.no_grad():
        (result,) = network.test_step({"inputs": [bgr], "data_samples": [sample]})
    return result.pred_sem_seg.data[0].numpy()


def mismatches(model: Segmenter, config: Path, weights: Path, rgb: np.ndarray) -> int:
    with torch.inference_mode():
        ours = model(tensor(rgb)).argmax(1)[0].numpy()
    theirs = mmsegs_own(config, weights, rgb)
    assert ours.shape == theirs.shape
    assert len(np.unique(theirs)) >= 3  # a constant prediction would prove nothing
    return int((ours != theirs).sum())


@pytest.mark.parametrize("name", ZOO)
def test_logits_have_the_inputs_resolution_for_any_batch_and_odd_sizes(name: str) -> None:
    for shape in ((1, 97, 131), (3, 64, 80), (2, 65, 33)):
        images = torch.rand(shape[0], 3, *shape[1:], requires_grad=True)
        logits = zoo(name)(images)
        assert logits.shape == (shape[0], 11, *shape[1:])
        gradient = zoo(name).gradient(logits.square().sum(), images)
        assert gradient.isfinite().all()
        assert (gradient != 0).float().mean() > 0.99


@pytest.mark.parametrize("name", ZOO)
def test_an_images_logits_are_those_it_has_alone(name: str) -> None:
    images = torch.cat([tensor(street(i)) for i in (0, 9)])
    with torch.inference_mode():
        together = zoo(name)(images)
        for i in (0, 1):
            torch.testing.assert_close(
                together[i : i + 1], zoo(name)(images[i : i + 1]), rtol=0, atol=1e-3
            )


@pytest.mark.parametrize("name", ZOO)
def test_a_loaded_model_is_frozen_and_has_no_synchronised_batch_norm(name: str) -> None:
    model = zoo(name)
    assert not any(m.training for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    kinds = {type(m).__name__ for m in model.modules()}
    assert not any("SyncBatchNorm" in kind for kind in kinds)
    assert any("BatchNorm" in kind for kind in kinds)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ZOO)
def test_our_prediction_is_mmsegs_own(name: str) -> None:
    model, zoo_model = zoo(name), ZOO[name]
    assert mismatches(model, zoo_model.config, zoo_model.weights, street(0)) == 0
    odd = np.ascontiguousarray(street(12)[:167, :213])
    assert mismatches(model, zoo_model.config, zoo_model.weights, odd) == 0


@pytest.mark.parametrize(
    ("changed", "size"),
    [
        ({"data_preprocessor": {"bgr_to_rgb": False}}, (120, 160)),
        ({"data_preprocessor": {"test_cfg": {"size_divisor": 32}}}, (167, 213)),
        ({"data_preprocessor": {"test_cfg": {"size_divisor": 32}, "pad_val": 5}}, (100, 130)),
        (
            {"data_preprocessor": {"test_cfg": {"size": (200, 240), "size_divisor": None}}},
            (167, 213),
        ),
        ({"data_preprocessor": {"mean": [90, 100, 110], "std": [50, 60, 70]}}, (120, 160)),
        ({"test_cfg": {"mode": "slide", "crop_size": (96, 96), "stride": (64, 64)}}, (120, 160)),
        ({"decode_head": {"align_corners": True}}, (120, 160)),
    ],
    ids=str,
)
def test_a_changed_config_still_predicts_as_mmseg_does(
    changed: dict[str, Any], size: tuple[int, int], tmp_path: Path
) -> None:
    config, weights = config_file(tmp_path, **changed), ZOO["fcn-r18"].weights
    rgb = np.ascontiguousarray(street(12)[: size[0], : size[1]])
    model = adapters.load(spec(config))
    assert mismatches(model, config, weights, rgb) == 0
    with torch.inference_mode():
        assert not torch.equal(model(tensor(rgb)), zoo("fcn-r18")(tensor(rgb)))


def test_a_model_of_bgr_images_sees_the_channels_flipped(tmp_path: Path) -> None:
    config = config_file(tmp_path, data_preprocessor={"bgr_to_rgb": False})
    images = tensor(street())[..., :64, :80]
    with torch.inference_mode():
        flipped = adapters.load(spec(config))(images)
        assert torch.equal(flipped, zoo("fcn-r18")(images.flip(1)))
        assert not torch.equal(flipped, zoo("fcn-r18")(images))


def test_either_flag_of_mmseg_swaps_the_channels(tmp_path: Path) -> None:
    config = config_file(tmp_path, data_preprocessor={"bgr_to_rgb": False, "rgb_to_bgr": True})
    model, rgb = adapters.load(spec(config)), street()[:120, :160]
    assert mismatches(model, config, ZOO["fcn-r18"].weights, rgb) == 0
    with torch.inference_mode():
        assert torch.equal(model(tensor(rgb)), zoo("fcn-r18")(tensor(rgb)))


def test_a_size_divisor_is_declared_so_that_scales_can_snap_to_it(tmp_path: Path) -> None:
    config = config_file(tmp_path, data_preprocessor={"test_cfg": {"size_divisor": 32}})
    assert adapters.load(spec(config)).size_divisor == 32
    assert zoo("fcn-r18").size_divisor == 16


def test_sliding_windows_take_batches(tmp_path: Path) -> None:
    window = {"mode": "slide", "crop_size": (48, 48), "stride": (32, 32)}
    model = adapters.load(spec(config_file(tmp_path, test_cfg=window)))
    images = torch.rand(2, 3, 70, 81)
    with torch.inference_mode():
        logits = model(images)
        torch.testing.assert_close(logits[1:], model(images[1:]), rtol=0, atol=1e-3)


def test_the_fingerprint_follows_weights_and_config_and_neither_name_nor_path(
    tmp_path: Path,
) -> None:
    def fingerprint(read: ModelSpec) -> str:
        return adapters.describe(read).fingerprint

    shipped = ModelSpec.model_validate("fcn-r18")
    base = fingerprint(shipped)
    assert fingerprint(shipped.model_copy(update={"name": "other"})) == base

    weights = tmp_path / "elsewhere.safetensors"
    weights.write_bytes(ZOO["fcn-r18"].weights.read_bytes())
    assert fingerprint(spec(ZOO["fcn-r18"].config, weights)) == base
    assert fingerprint(spec(config_file(tmp_path), weights)) == base

    changed = config_file(tmp_path, data_preprocessor={"bgr_to_rgb": False})
    assert fingerprint(spec(changed, weights)) != base
    state = load_state(weights)
    state["decode_head.conv_seg.bias"][0] += 1
    safetensors.torch.save_file(state, weights)
    assert fingerprint(spec(ZOO["fcn-r18"].config, weights)) != base


def test_training_fields_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    auxiliary = {"type": "FCNHead", "in_channels": 128, "channels": 8, "num_classes": 11}
    config = config_file(tmp_path, auxiliary_head=auxiliary, pretrained="open-mmlab://resnet18_v1c")
    shipped = ModelSpec.model_validate("fcn-r18")
    assert adapters.describe(spec(config)).fingerprint == adapters.describe(shipped).fingerprint


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("fcn-mnv2", "FCNHead"),
        ("pspnet-r18", "PSPHead"),
        ("deeplabv3-r18", "ASPPHead"),
        ("segformer-mit", "SegformerHead"),
    ],
)
def test_the_kind_of_head_is_read_from_the_config(name: str, head: str) -> None:
    assert adapters.describe(ModelSpec.model_validate(name)).head == head


def test_a_checkpoint_that_does_not_fit_is_told_key_by_key(tmp_path: Path) -> None:
    state = load_state(ZOO["fcn-r18"].weights)
    del state["backbone.stem.0.weight"]
    state["backbone.surplus.weight"] = torch.zeros(1)
    state["decode_head.conv_seg.weight"] = torch.zeros(21, 128, 1, 1)
    weights = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state, weights)
    for ask in (adapters.check, adapters.load):
        with pytest.raises(InputError) as refused:
            ask(spec(ZOO["fcn-r18"].config, weights))
        message = str(refused.value)
        assert f"checkpoint {weights} does not fit" in message
        assert "1 keys missing from the checkpoint: backbone.stem.0.weight" in message
        assert "1 keys unknown to the network: backbone.surplus.weight" in message
        assert "conv_seg.weight is (21, 128, 1, 1), the network has (11, 128, 1, 1)" in message


def test_auxiliary_heads_of_a_training_checkpoint_are_left_out(tmp_path: Path) -> None:
    state = load_state(ZOO["fcn-r18"].weights)
    state["auxiliary_head.conv_seg.weight"] = torch.zeros(11, 8, 1, 1)
    path = tmp_path / "iter.pth"
    torch.save({"state_dict": state, "meta": {}}, path)
    adapters.check(spec(ZOO["fcn-r18"].config, path))
    images = tensor(street())[..., :64, :80]
    with torch.inference_mode():
        loaded = adapters.load(spec(ZOO["fcn-r18"].config, path))
        assert torch.equal(loaded(images), zoo("fcn-r18")(images))


def test_configs_are_found_by_the_names_that_mmseg_gives_them() -> None:
    name = "pspnet_r50-d8_4xb4-20k_voc12aug-512x512"
    assert find_config(name).name == f"{name}.py"
    assert find_config(f"{name}.py") == find_config(name)
    with pytest.raises(InputError, match=f"did you mean '{name}'"):
        find_config(name.replace("512x512", "512x51"))


def test_a_name_of_two_shipped_configs_is_the_one_outside_dsdl_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("cityscapes", "cityscapes.py", "datasets/cityscapes.py"):
        assert find_config(name).parts[-3:] == ("_base_", "datasets", "cityscapes.py")
    assert find_config("dsdl/cityscapes.py").parts[-2:] == ("dsdl", "cityscapes.py")
    alike = [Path("/one/x.py"), Path("/two/x.py")]
    monkeypatch.setattr(
        "segtransfer.tasks.models.mmseg_configs._shipped_configs", lambda: {"x": alike}
    )
    with pytest.raises(InputError, match=r"config x is the name of /one/x\.py and /two"):
        find_config("x")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model = 1 +", "cannot be read"),
        ("x = 1", "has no 'model'"),
        ("model = dict(type='EncoderDecoder')", "needs data_preprocessor, backbone"),
    ],
)
def test_a_config_that_is_no_model_is_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "c.py"
    path.write_text(text)
    with pytest.raises(InputError, match=f"{path}.*{told}"):
        adapters.describe(spec(path))


def test_a_network_that_mmseg_cannot_build_is_refused_with_its_reason(tmp_path: Path) -> None:
    config = config_file(tmp_path, backbone={"_delete_": True, "type": "NoSuchNet"})
    with pytest.raises(InputError, match=r"model 'm': mmseg cannot build.*NoSuchNet"):
        adapters.check(spec(config))


def test_a_config_beside_the_spec_is_found_from_anywhere(tmp_path: Path) -> None:
    config = config_file(tmp_path)
    content = {"name": "m", "mmseg": {"config": config.name, "checkpoint": "w.pth"}}
    read = ModelSpec.model_validate(content, context={"base": tmp_path})
    assert read.mmseg is not None
    assert read.mmseg.config == str(config)
    assert read.mmseg.checkpoint == str(tmp_path / "w.pth")
