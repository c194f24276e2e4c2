"""Networks of mmseg's own configs with seeded random weights, and random images; no download."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.mmseg_build import build
from segtransfer.tasks.models.mmseg_configs import find_config
from segtransfer.tasks.models.spec import ModelSpec

CONFIGS = {
    "pspnet-r50": "pspnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "deeplabv3-r50": "deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024",
    "pspnet-r101": "pspnet_r101-d8_4xb2-40k_cityscapes-512x1024",
    "deeplabv3-r101": "deeplabv3_r101-d8_4xb2-40k_cityscapes-512x1024",
    "upernet-swin-t": "swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
}


def network(name: str, folder: Path, inference: Any = None, device: str = "cpu") -> Segmenter:
    """Return a network of a shipped config with random weights, or one of the zoo, in fp32.

    Args:
        name: A key of ``CONFIGS``, or a zoo model.
        folder: The folder of the random weights, which are written at the first call.
        inference: The field ``inference`` of a model's spec, or None.
        device: A torch device.
    """
    fields: dict[str, Any] = {} if inference is None else {"inference": inference}
    if name not in CONFIGS:
        return adapters.load(ModelSpec.model_validate({"zoo": name, **fields}), device)
    from mmengine.config import Config

    weights = folder / f"{name}.pth"
    if not weights.exists():
        model = Config.fromfile(str(find_config(CONFIGS[name]))).model.to_dict()
        for key in ("auxiliary_head", "train_cfg", "pretrained", "init_cfg"):
            model.pop(key, None)
        model["backbone"]["init_cfg"] = None
        torch.manual_seed(0)
        torch.save({"state_dict": build(name, model).state_dict()}, weights)
    source = {"config": CONFIGS[name], "checkpoint": str(weights)}
    spec = ModelSpec.model_validate({"name": name, "mmseg": source, **fields})
    return adapters.load(spec, device)


def data(count: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 N x 3 x H x W and labels N x H x W."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 3, *size), np.uint8)
    return images, random.integers(0, 11, (count, *size), np.uint8)
