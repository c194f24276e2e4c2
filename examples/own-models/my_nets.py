"""Three small networks: RGB images in [0, 1], N x 3 x H x W -> logits, N x 4 x H x W."""

import torch
from torch import nn


class Net(nn.Module):
    """Convolutions whose dilation decides how far a pixel sees."""

    num_classes = 4

    def __init__(self, width: int, dilations: tuple[int, ...]):
        super().__init__()
        channels = [3, *[width] * len(dilations)]
        self.layers = nn.Sequential()
        for before, after, dilation in zip(channels, channels[1:], dilations, strict=False):
            self.layers.append(nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation))
            self.layers.append(nn.BatchNorm2d(after))
            self.layers.append(nn.ReLU())
        self.classify = nn.Conv2d(width, self.num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(self.layers(2 * images - 1))


def near() -> Net:
    return Net(12, (1, 1, 1))


def far() -> Net:
    return Net(12, (1, 2, 4))


def wide() -> Net:
    return Net(24, (1, 2, 4))
