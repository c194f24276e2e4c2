"""Segmenters whose behaviour is known in closed form, for the ``torch`` adapter.

``linear`` classifies each pixel by a linear map of its colour: with two classes the gradient of
the cross-entropy has one constant sign a pixel, so the best L-infinity perturbation is known.
``quadratic`` has a second class whose logit peaks at a known colour, so the best colour is that one
or the nearest inside the ball. ``staged`` has a backbone whose stages a feature loss can read.
"""

import os
import signal
import time
from pathlib import Path

import torch
from torch import nn

from segtransfer.tasks.models.probe import PROBE_SIZES
from tests.loaded import loaded_folders


def is_probe(images: torch.Tensor) -> bool:
    """Whether a model is tried where it is loaded, by the size alone: tests have other images."""
    return tuple(images.shape[-2:]) in (*PROBE_SIZES, (129, 161))


class Linear(nn.Module):
    """logits[k] = weights[k] . colour, a pixel at a time; ``delay`` seconds a forward."""

    def __init__(self, weights: list[list[float]], delay: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights)[:, :, None, None])
        self.num_classes = len(weights)
        self.delay = delay

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(self.delay)
        return nn.functional.conv2d(images, self.weights)


class Pooled(nn.Module):
    """A classifier of the mean colour: logits[k] = weights[k] . mean colour, N x K."""

    def __init__(self, weights: list[list[float]]) -> None:
        super().__init__()
        self.features, self.num_classes = Linear(weights), len(weights)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images).mean((2, 3))


class Awaiting(Linear):
    """Linear, but answers to nothing before so many clients have come to the driver that keeps the
    ``journal``: until then none of them can have got what it came for."""

    def __init__(self, weights: list[list[float]], journal: str, clients: int) -> None:
        super().__init__(weights)
        self.journal, self.clients = Path(journal), clients

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        warming_up = is_probe(images)
        while not warming_up and self.journal.read_text().count('"submit"') < self.clients:
            time.sleep(0.05)
        return super().forward(images)


class Convolutional(nn.Module):
    """Two fixed random convolutions with a ReLU between: small, but not linear."""

    def __init__(self, num_classes: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(8, 3, 3, 3, generator=generator))
        self.second = nn.Parameter(torch.randn(num_classes, 8, 3, 3, generator=generator))
        self.num_classes = num_classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.conv2d(images - 0.5, self.first, padding=1).relu()
        return nn.functional.conv2d(hidden, self.second, padding=1)


class Quadratic(nn.Module):
    """logits = (0, bias - curvature * |colour - centre|^2), a pixel at a time."""

    def __init__(self, centre: list[float], curvature: float, bias: float) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.tensor(centre)[:, None, None])
        self.curvature, self.bias = curvature, bias
        self.num_classes = 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        peak = self.bias - self.curvature * (images - self.centre).square().sum(1)
        return torch.stack([torch.zeros_like(peak), peak], 1)


class Shifted(nn.Module):
    """A convolution as a sum of shifted images: oneDNN's gives other last bits to a batch of one
    than to a larger one, and tests of bits are not about oneDNN."""

    def __init__(self, shape: tuple[int, ...], generator: torch.Generator, stride: int = 1) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(shape, generator=generator) / 3)
        self.stride = stride

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        side = self.kernel.shape[-1]
        padded = nn.functional.pad(images, (side // 2,) * 4)
        total = torch.zeros(())
        for i in range(side):
            for j in range(side):
                shifted = padded[:, None, :, i : i + height : self.stride, j : j + width][
                    ..., :: self.stride
                ]
                total = total + (self.kernel[:, :, i, j, None, None] * shifted).sum(2)
        return total


class Stages(nn.Module):
    """Three stages of a backbone: at full size, half and a quarter (rounded up)."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                Shifted((6, 3, 3, 3), generator),
                Shifted((6, 6, 3, 3), generator, 2),
                Shifted((6, 6, 3, 3), generator, 2),
            ]
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        stages, hidden = [], images - 0.5
        for convolution in self.convolutions:
            hidden = nn.functional.leaky_relu(convolution(hidden), 0.2)
            stages.append(hidden)
        return stages


class Staged(nn.Module):
    """A backbone of three stages, and a head on the last two, resized to the image."""

    def __init__(self, num_classes: int, seed: int, size_divisor: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.backbone = Stages(generator)
        self.head = Shifted((num_classes, 6, 1, 1), generator)
        self.side = Shifted((num_classes, 6, 1, 1), generator)
        self.num_classes, self.size_divisor = num_classes, size_divisor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        full, _, last = self.backbone(images)
        logits = nn.functional.interpolate(self.head(last), size=images.shape[-2:], mode="bilinear")
        return 4 * (logits + self.side(full))


class BasicBlock(nn.Module):
    """relu(x + f(x)), with the names of ResNet's block."""

    downsample = None

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.conv2 = Shifted((6, 6, 3, 3), generator)
        self.bn2 = nn.Identity()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(hidden.tanh()))
        out += hidden
        return nn.functional.leaky_relu(out, 0.2)


class Residual(nn.Module):
    """A convolution, two blocks with skips, and a head."""

    def __init__(self, num_classes: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = Shifted((6, 3, 3, 3), generator)
        self.blocks = nn.Sequential(BasicBlock(generator), BasicBlock(generator))
        self.head = Shifted((num_classes, 6, 1, 1), generator)
        self.num_classes = num_classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 4 * self.head(self.blocks(self.first(images - 0.5)))


class Mortal(Convolutional):
    """Convolutional, but kills its own process, as with -9, as often as ``folder`` has files."""

    def __init__(self, num_classes: int, seed: int, folder: str) -> None:
        super().__init__(num_classes, seed)
        self.folder = Path(folder)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        warming_up = is_probe(images)
        for token in () if warming_up else self.folder.iterdir():
            token.unlink()
            os.kill(os.getpid(), 9)
        return super().forward(images)


class Troubled(Convolutional):
    """Convolutional, but gets into ``trouble`` once for each file in ``folder``: in a call, or
    already where it is loaded, but not in the process ``planner``, which builds it for a plan."""

    def __init__(
        self, num_classes: int, seed: int, folder: str, trouble: str, at: str, planner: int
    ) -> None:
        super().__init__(num_classes, seed)
        self.folder, self.trouble, self.at = Path(folder), trouble, at
        if at == "load" and os.getpid() != planner:
            self.take_trouble()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        warming_up = is_probe(images)
        if self.at == "call" and not warming_up:
            self.take_trouble()
        return super().forward(images)

    def take_trouble(self) -> None:
        for token in self.folder.iterdir():
            token.unlink()
            if self.trouble == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.trouble == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(1)  # the signal may reach this thread a moment later
            if self.trouble == "poison":
                raise RuntimeError("CUDA error: device-side assert triggered")
            if self.trouble == "foreign":
                raise type("Foreign", (Exception,), {"__module__": "nowhere"})("no such class")


class Failing(Convolutional):
    """Convolutional, but raises on any image whose first value is above one half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if (images[:, 0, 0, 0] > 0.5).any():
            raise RuntimeError("this toy fails on bright corners")
        return super().forward(images)


class Strict(Convolutional):
    """Convolutional, but raises if its process loaded one of our folders as a top-level module."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if loaded := loaded_folders():
            raise RuntimeError(f"loaded outside segtransfer: {sorted(loaded)}")
        return super().forward(images)


class Chaotic(Convolutional):
    """Convolutional, ``delay`` seconds a forward; kills its own process, as with -9, inside an
    attack as often as ``folder`` has files; one that is ``picky`` raises on bright corners."""

    def __init__(self, folder: str, delay: float, seed: int, picky: bool) -> None:
        super().__init__(num_classes=3, seed=seed)
        self.folder, self.delay, self.picky = Path(folder), delay, picky

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not is_probe(images):
            time.sleep(self.delay)
            for token in self.folder.iterdir() if images.requires_grad else ():
                token.unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGKILL)
        if self.picky and (images[:, 0, 0, 0] > 0.5).any():
            raise RuntimeError("this toy fails on bright corners")
        return super().forward(images)


def pooled(weights: list[list[float]]) -> nn.Module:
    return Pooled(weights)


def linear(**arguments: object) -> Linear:
    return Linear(**arguments)  # type: ignore[arg-type]


def awaiting(**arguments: object) -> Awaiting:
    return Awaiting(**arguments)  # type: ignore[arg-type]


def noted(num_classes: int = 3, seed: int = 0, note: object = None) -> Convolutional:
    return Convolutional(num_classes, seed)


def convolutional(num_classes: int = 3, seed: int = 0) -> Convolutional:
    return Convolutional(num_classes, seed)


def quadratic(centre: list[float], curvature: float | str = 4.0, bias: float = 1.0) -> Quadratic:
    return Quadratic(centre, float(curvature), bias)  # "nan": a spec has finite numbers only


def staged(num_classes: int = 3, seed: int = 0, size_divisor: int = 1) -> Staged:
    return Staged(num_classes, seed, size_divisor)


def residual(num_classes: int = 3, seed: int = 0) -> Residual:
    return Residual(num_classes, seed)


def chaotic(folder: str, delay: float = 0.0, seed: int = 0, picky: bool = False) -> Chaotic:
    return Chaotic(folder, delay, seed, picky)


def mortal(folder: str, num_classes: int = 3, seed: int = 0) -> Mortal:
    return Mortal(num_classes, seed, folder)


def failing(num_classes: int = 3, seed: int = 0) -> Failing:
    return Failing(num_classes, seed)


def strict(num_classes: int = 3, seed: int = 0) -> Strict:
    return Strict(num_classes, seed)


def troubled(
    folder: str,
    trouble: str,
    at: str = "call",
    num_classes: int = 3,
    seed: int = 0,
    planner: int = 0,
) -> Troubled:
    return Troubled(num_classes, seed, folder, trouble, at, planner)
