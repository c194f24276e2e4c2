"""The outputs of modules inside a model, for losses of intermediate layers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from segtransfer.errors import InputError

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter


def read_features(model: Segmenter, images: torch.Tensor, layer: str | None) -> torch.Tensor:
    """Return the output of a module inside a model, and count the forward.

    Args:
        model: The source.
        images: float N x 3 x H x W in [0, 1].
        layer: The name of the module, or None for the model's ``feature_layer``.

    Returns:
        float32 N x C x h x w; the middle output of a module with several, such as a backbone's
        stages.

    Raises:
        InputError: If no module or several have the name, the module does not run exactly once, or
            its output is no such tensor.
    """
    output, _ = read_layer(model, images, layer)
    model.count_backward_of(output)
    return output.float()


def read_layer(
    model: Segmenter, images: torch.Tensor, layer: str | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the output of a module inside a model and the logits, and count the forward.

    Args:
        model: The source.
        images: float N x 3 x H x W in [0, 1].
        layer: The name of the module, or None for the model's ``feature_layer``.

    Returns:
        The output N x C x h x w as the network has it, from which the logits are computed; and the
        logits, float32 N x K x H x W.

    Raises:
        InputError: As ``read_features``.
    """
    with _record_outputs(model, layer) as outputs:
        logits = model(images)
    if len(outputs) != 1:
        raise InputError(
            f"layer '{layer or model.feature_layer}' ran {len(outputs)} times per image, and a "
            "feature loss needs a single run; set inference: {mode: whole}, leave out the defences "
            "flip and scales, or name another module"
        )
    output = outputs[0]
    if isinstance(output, (list, tuple)):
        output = output[len(output) // 2]
    if not torch.is_tensor(output) or output.ndim != 4:
        raise InputError(
            f"the output of layer '{layer or model.feature_layer}' is no tensor N x C x h x w; "
            "name another module"
        )
    return output, logits


# The names that adapters and wrappers put before those of the network.
_PREFIX = re.compile(r"^((inner|network|module)(\.|$))+")


@contextmanager
def _record_outputs(model: Segmenter, layer: str | None) -> Iterator[list[Any]]:
    """Collect the outputs of the named module while the context is open."""
    name = layer or model.feature_layer
    modules = dict(model.named_modules())
    # Users name modules of the network, which adapters and wrappers keep under a prefix.
    matches = [n for n in modules if n == name or n.endswith(f".{name}")]
    if name not in matches and len(matches) != 1:
        some = [s for s in dict.fromkeys(_PREFIX.sub("", n) for n in modules) if s][:8]
        named = f"{len(matches) or 'no'} modules named '{name}'" if name else "no known stage"
        raise InputError(
            f"a feature loss needs a layer, and {model.who} has {named}; "
            f"give layer, for example {', '.join(some)}"
        )
    outputs: list[Any] = []
    module = modules[name if name in matches else matches[0]]
    handle = module.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
