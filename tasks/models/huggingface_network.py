"""Transformers networks for semantic segmentation, with differentiable preprocessing."""

import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.huggingface_pixels import Preprocessing


class HuggingfaceSegmenter(Segmenter):
    """A transformers network as ``model(images) -> logits`` at the images' resolution.

    Images are padded to multiples of the processor's divisor and of the network's patches. Without
    padding, patches without overlap would omit the rest of the image and shift the logits.
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
        # DPT's neck uses the square root of the number of patches as both sides of their grid.
        config = network.config
        self.square = config.model_type == "dpt" and (
            config.is_hybrid or config.backbone_config is None
        )
        self.scale, self.bgr = preprocessing.scale, preprocessing.bgr
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)

    @override
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        inputs = self.preprocessed(images)
        inputs = F.pad(inputs, (0, -width % self.size_divisor, 0, -height % self.size_divisor))
        if self.square and inputs.shape[-2] != inputs.shape[-1]:
            raise InputError(
                f"transformers' DPT without a backbone_config takes square images, and got "
                f"{inputs.shape[-2]} x {inputs.shape[-1]}; set data.size to a square"
            )
        return self.answer(inputs)[..., :height, :width]

    def preprocessed(self, images: torch.Tensor) -> torch.Tensor:
        """Scale and normalise images for the network, before any padding.

        Args:
            images: RGB, float N x 3 x H x W in [0, 1].

        Returns:
            float N x 3 x H x W.
        """
        channels = images.flip(1) if self.bgr else images
        return (channels * self.scale - self.mean) / self.std

    def answer(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of preprocessed images, at their resolution.

        Args:
            inputs: Preprocessed and padded, float N x 3 x H x W.

        Returns:
            float N x K x H x W.
        """
        logits = self.network(pixel_values=inputs, **self.options).logits
        return F.interpolate(logits, inputs.shape[-2:], mode="bilinear", align_corners=False)

    def pixels_seen(self, height: int, width: int) -> int:
        """Return the pixels per image, padding included."""
        return (height + -height % self.size_divisor) * (width + -width % self.size_divisor)


def _patch_sides(network: nn.Module) -> set[int]:
    """Return the sides of patches embedded without overlap by convolutions of the image."""
    convolutions = (m for m in network.modules() if isinstance(m, nn.Conv2d))
    return {
        side
        for m in convolutions
        if m.in_channels == 3 and m.kernel_size == m.stride and m.padding == (0, 0)
        for side in m.stride
    }
