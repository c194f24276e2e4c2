"""Small untrained networks of mmseg on disk: a config and a checkpoint, as a user has them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from segtransfer.tasks.models.spec import ModelSpec

SMALL: dict[str, dict[str, Any]] = {
    "segformer": {
        "backbone": {"embed_dims": 8, "num_heads": [1, 2, 2, 2], "num_layers": [1, 1, 1, 1]},
        "decode_head": {"in_channels": [8, 16, 16, 16], "channels": 16},
    },
    "swin": {
        "backbone": {
            "embed_dims": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 2, 2],
            "window_size": 4,
        },
        "decode_head": {"in_channels": [8, 16, 32, 64], "channels": 16},
    },
    "beit": {
        "backbone": {
            "img_size": (64, 64),
            "embed_dims": 16,
            "num_layers": 4,
            "num_heads": 2,
            "out_indices": [0, 1, 2, 3],
        },
        "neck": {"embed_dim": 16},
        "decode_head": {"in_channels": [16] * 4, "channels": 16},
    },
    "vit": {
        "backbone": {
            "img_size": (64, 64),
            "embed_dims": 16,
            "num_layers": 12,
            "num_heads": 2,
        },
        "neck": {"in_channels": [16] * 4, "out_channels": 16},
        "decode_head": {"in_channels": [16] * 4, "channels": 16},
    },
    "pspnet": {
        "backbone": {"depth": 18, "base_channels": 8, "norm_cfg": {"type": "BN"}},
        "decode_head": {"in_channels": 64, "channels": 16},
        "auxiliary_head": {"in_channels": 32, "channels": 8, "norm_cfg": {"type": "BN"}},
    },
}
FILES = {
    "pspnet": "pspnet_r50-d8",
    "segformer": "segformer_mit-b0",
    "swin": "upernet_swin",
    "beit": "upernet_beit",
    "vit": "upernet_vit-b16_ln_mln",
}


def write_network(folder: Path, family: str, classes: int = 3, **head: Any) -> dict[str, str]:
    """Write a small network of a family with random weights.

    Returns:
        The fields of ``mmseg`` in a model's spec.
    """
    import mmseg
    from mmengine.config import Config
    from mmseg.apis import init_model

    base = Path(mmseg.__file__).parent / f".mim/configs/_base_/models/{FILES[family]}.py"
    model = {k: dict(v) for k, v in SMALL[family].items()}
    norm = {"type": "BN", "requires_grad": True}
    model["decode_head"] |= {"num_classes": classes, "norm_cfg": norm, **head}
    config = folder / f"{family}.py"
    config.write_text(f"_base_ = {str(base)!r}\nmodel = {model!r}\n")
    torch.manual_seed(0)
    network = init_model(Config.fromfile(str(config)), None, device="cpu")
    torch.nn.init.normal_(network.decode_head.conv_seg.weight)  # so that classes vary
    torch.nn.init.zeros_(network.decode_head.conv_seg.bias)
    checkpoint = folder / f"{family}.pth"
    torch.save({"state_dict": network.state_dict(), "meta": {"epoch": 1}}, checkpoint)
    return {"config": str(config), "checkpoint": str(checkpoint)}


def spec_of(source: dict[str, str]) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "mmseg": source})


def own_prediction(source: dict[str, str], rgb: np.ndarray) -> np.ndarray:
    """mmseg's prediction, H x W, of an image uint8 H x W x 3 through its own test path."""
    from mmengine.config import Config
    from mmseg.apis import init_model
    from mmseg.structures import SegDataSample

    network = init_model(Config.fromfile(source["config"]), source["checkpoint"], device="cpu")
    shape = rgb.shape[:2]
    sample = SegDataSample(metainfo={"ori_shape": shape, "img_shape": shape})
    bgr = torch.tensor(np.ascontiguousarray(rgb[..., ::-1])).permute(2, 0, 1)
    with torch.no_grad():
        (result,) = network.test_step({"inputs": [bgr], "data_samples": [sample]})
    return result.pred_sem_seg.data[0].numpy()
