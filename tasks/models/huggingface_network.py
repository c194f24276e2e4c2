"""Transformers networks for semantic segmentation behind our differentiable preprocessing."""

import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.huggingface_pixels import Preprocessing


class HuggingfaceSegmenter(Segmenter):
    """A transformers network behind ``model(images) -> logits`` at the images' resolution.

    Images are padded to multiples of the processor's divisor and of the network's patches. Patches
    that do not overlap would leave out the rest of the image, and logits would be shifted from
    their pixels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.num_classes = network.config.num_labels
        self.size_divisor = math.lcm(preprocessing.divisor, *_patch_sides(network))
        known = inspect.signature(network.forward).parameters
        self.options = {k: True for k in ("interpolate_pos_encoding",) if k in known}
        # Its neck takes the root of the number of patches for both sides of their grid.
        config = network.config
        self.square = config.model_type == "dpt" and (
            config.is_hybrid or config.backbone_config is None
        )
        self.scale, self.bgr = preprocessing.scale, preprocessing.bgr
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        inputs = self.preprocessed(images)
        inputs = F.pad(inputs, (0, -width % self.size_divisor, 0, -height % self.size_divisor))
        if self.square and inputs.shape[-2] != inputs.shape[-1]:
            raise InputError(
                f"transformers' DPT without a backbone_config takes square images alone, and got "
                f"{inputs.shape[-2]} x {inputs.shape[-1]}; give data a square size"
            )
        return self.answer(inputs)[..., :height, :width]

    def preprocessed(self, images: torch.Tensor) -> torch.Tensor:
        """Return images N x 3 x H x W as the network takes them, before any padding."""
        channels = images.flip(1) if self.bgr else images
        return (channels * self.scale - self.mean) / self.std

    def answer(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of preprocessed images of a size that the network takes."""
        logits = self.network(pixel_values=inputs, **self.options).logits
        return F.interpolate(logits, inputs.shape[-2:], mode="bilinear", align_corners=False)

    def pixels_seen(self, height: int, width: int) -> int:
        """Return the pixels per image; padding counts."""
        return (height + -height % self.size_divisor) * (width + -width % self.size_divisor)


def _patch_sides(network: nn.Module) -> set[int]:
    """Return the sides of patches that convolutions of the image embed without overlap."""
    convolutions = (m for m in network.modules() if isinstance(m, nn.Conv2d))
    return {
        side
        for m in convolutions
        if m.in_channels == 3 and m.kernel_size == m.stride and m.padding == (0, 0)
        for side in m.stride
    }
