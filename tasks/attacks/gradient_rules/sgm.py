"""SGM: gradients through residual branches are decayed, those through skips are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.gradient_rules.base import (
    GRADIENTS,
    Gradient,
    GradientRule,
    GradientStep,
)
from segtransfer.tasks.schema import Number

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter


@GRADIENTS.add("sgm")
class SkipGradient(GradientRule):
    """SGM (Wu et al., ICLR 2020): per block y = x + f(x), dy / dx = 1 + gamma f'(x).

    Blocks are those of ResNet, MobileNetV2 and Segformer (and others built of mmcv's transformer
    layers) whose skip is the identity; the paper has ResNet and DenseNet. The public code decays at
    ReLUs, and leaves blocks with a number ending in 0 out by their name: the first block of each
    stage, and blocks 10, 20 and 30 of a longer stage, as of ResNet-101. Here a block is left out if
    its skip is a convolution. The code's division by the standard deviation of the batch's gradient
    scales all gradients alike, has no effect on their sign, and is left out.

    Attributes:
        kind: The name, ``sgm``.
        gamma: The factor of gradients through residual branches, in [0, 1]. Default 0.2.
    """

    draws: ClassVar[bool] = False

    kind: Literal["sgm"] = "sgm"
    gamma: Annotated[Number, Field(ge=0, le=1)] = 0.2

    @override
    def gradient(self, step: GradientStep) -> Gradient:
        with ExitStack() as hooks:
            for member, _ in step.model.members():
                hooks.enter_context(self._decayed(member))
            return step.gradient_at(step.x)

    @contextmanager
    def _decayed(self, model: Segmenter) -> Iterator[None]:
        """Decay the gradients of the model's residual branches while the context is open."""
        branches = branches_of(model)
        if not branches:
            raise InputError(
                f"gradient 'sgm' needs skip connections of ResNet, MobileNetV2 or Segformer, and "
                f"{model.who} has none of them; choose a source with such blocks, or another rule"
            )
        handles = [branch.register_forward_hook(self._decay) for branch in branches]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _decay(self, _module: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        if output.requires_grad:  # features of clean images are read without gradient
            output.register_hook(lambda gradient: self.gamma * gradient)


def branches_of(network: torch.nn.Module) -> list[torch.nn.Module]:
    """Return a module of each residual branch whose skip is the identity.

    Args:
        network: A network, whose blocks are known by the name of their class and their parts.

    Returns:
        Modules through whose output all gradients of a branch flow; none for a network without
        known blocks.
    """
    found = [_branch(module) for module in network.modules()]
    return [branch for branch in found if branch is not None]


# A part of each kind of block, by the names of mmsegmentation, torchvision and transformers.
_LAST = {
    "BasicBlock": ("norm2", "bn2"),
    "Bottleneck": ("norm3", "bn3"),
    "InvertedResidual": ("conv",),
    "EfficientMultiheadAttention": ("dropout_layer",),
    "MixFFN": ("dropout_layer",),
    "SegformerLayer": ("drop_path",),  # runs twice, after the attention and after the MLP
}


def _branch(block: torch.nn.Module) -> torch.nn.Module | None:
    """Return a module of a block's residual branch; None without a known identity skip."""
    if getattr(block, "downsample", None) is not None:
        return None
    if not getattr(block, "use_res_connect", True):
        return None
    parts = (getattr(block, name, None) for name in _LAST.get(type(block).__name__, ()))
    return next((part for part in parts if isinstance(part, torch.nn.Module)), None)
