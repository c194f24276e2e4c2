"""Defended toys."""

from typing import Any

import torch

from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.defences.base import InputDefence
from segtransfer.tasks.models.defended import DefendedSegmenter
from segtransfer.tasks.models.spec import ModelSpec


def spec(*defences: Any, function: str = "staged", **arguments: Any) -> ModelSpec:
    source = {"callable": f"tests.toys:{function}", "arguments": arguments}
    return ModelSpec.model_validate({"name": "m", "torch": source, "defences": defences})


def toy(*defences: Any, function: str = "staged", **arguments: Any) -> Segmenter:
    return adapters.load(spec(*defences, function=function, **arguments))


def defended(defence: Any, images: torch.Tensor) -> torch.Tensor:
    """What the model behind a defence sees."""
    model = toy(defence)
    assert isinstance(model, DefendedSegmenter)
    assert isinstance(model.defence, InputDefence)
    return model.defence.defended(images)


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random images of 8 bits."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator) / 255
