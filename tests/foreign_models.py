"""Models of strangers: each breaks the contract of a segmenter in one way.

All but ``drawn`` classify a pixel by its red value: class k where red is nearest to 40 k.
"""

import os
from typing import Any

import numpy as np
import torch
from torch import nn


class Levels(nn.Module):
    """Right: logits -100 (red - 40 k / 255)^2, changed by ``change`` before they are returned."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.gain = nn.Parameter(torch.tensor(100.0))
        self.register_buffer("centres", torch.arange(num_classes) * 40.0 / 255)

    def forward(self, images: torch.Tensor) -> Any:
        centres = self.get_buffer("centres").view(1, -1, 1, 1)
        return self.change(-self.gain * (images[:, :1] - centres) ** 2)

    def change(self, logits: torch.Tensor) -> Any:
        return logits


def changed(change: Any, num_classes: int = 3) -> Levels:
    model = Levels(num_classes)
    model.change = change  # type: ignore[method-assign]
    return model


def right(num_classes: int = 3) -> Levels:
    return Levels(num_classes)


def extra() -> Levels:
    return changed(lambda z: torch.cat([z, z[:, :1] + 0.5], 1))


def dictionary() -> Levels:
    return changed(lambda z: {"out": z})


def pair() -> Levels:
    return changed(lambda z: (z, z))


def nothing() -> Levels:
    return changed(lambda z: None)


def array() -> Levels:
    return changed(lambda z: z.detach().numpy())


def classes() -> Levels:
    return changed(lambda z: z.argmax(1))


def mask() -> Levels:
    return changed(lambda z: (z * 1000).long())


def small() -> Levels:
    return changed(lambda z: z[..., ::8, ::8])


def one_image() -> Levels:
    return changed(lambda z: z[:1])


def double() -> Levels:
    return changed(lambda z: z.double())


def nan() -> Levels:
    return changed(lambda z: z * float("nan"))


def infinite() -> Levels:
    return changed(lambda z: torch.cat([z[:, :1] + torch.inf, z[:, 1:]], 1))


def huge() -> Levels:
    """Right, though the sum of the logits overflows."""
    return changed(lambda z: z * 1e35)


def without_graph() -> Levels:
    return changed(lambda z: z.detach())


def rounded() -> Levels:
    return changed(lambda z: z.round() * 1.0)


def dropped() -> Levels:
    return changed(lambda z: nn.functional.dropout(z, 0.3))


def numpy_noise() -> Levels:
    return changed(lambda z: z + np.random.rand())


def rarely_drawn() -> Levels:
    """Another answer in half of all forwards."""
    return changed(lambda z: z * (1 + 9 * (torch.rand(()) < 0.5)))


class TwoInputs(Levels):
    def forward(self, images: torch.Tensor, metas: Any) -> Any:  # type: ignore[override]
        return super().forward(images)


def two_inputs() -> TwoInputs:
    return TwoInputs()


class Fixed(Levels):
    """Takes images of 24 x 32 alone."""

    def forward(self, images: torch.Tensor) -> Any:
        if images.shape[-2:] != (24, 32):
            raise ValueError(f"expected 24 x 32, got {tuple(images.shape[-2:])}")
        return super().forward(images)


def fixed() -> Fixed:
    return Fixed()


def from_file(path: str, held: str = "parameter") -> Levels:
    """The gain is read from a file, and held in one of several ways."""
    model = Levels()
    gain = torch.load(path)
    if held == "parameter":
        model.gain = nn.Parameter(gain)
    elif held == "buffer":
        model.register_buffer("own", gain, persistent=False)
    elif held == "attribute":
        model.own = gain
    else:
        model.own = [{"gain": gain.numpy()}]  # type: ignore[assignment]
    return model


def drawn() -> Levels:
    """Weights of the global generators, without a seed."""
    model = Levels()
    model.gain = nn.Parameter(torch.rand(()) + np.random.rand())
    return model


def from_the_system() -> Levels:
    model = Levels()
    model.gain = nn.Parameter(torch.tensor(float(int.from_bytes(os.urandom(2), "big"))))
    return model
