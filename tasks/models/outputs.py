"""Checks of foreign outputs and errors: logits are float N x K x H x W, and finite if scored."""

from collections.abc import Mapping
from typing import Any

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.batching import is_out_of_memory
from segtransfer.tasks.device_errors import is_poisoned


class OutputKindError(InputError):
    """An output that is wrong for images of any size: its kind, or its number of channels."""


def check_logits(output: Any, images: torch.Tensor, num_classes: int, who: str) -> torch.Tensor:
    """Return the output of a model, if it is what it must be.

    Args:
        output: Whatever the model returned.
        images: The model's images, N x 3 x H x W.
        num_classes: K, as the model says.
        who: The model, as messages name it.

    Returns:
        Logits N x K x H x W of a floating-point kind.

    Raises:
        OutputKindError: If the output is no tensor, of another kind, or has another K.
        InputError: If its N, H or W differ from those of the images.
    """
    wanted = [len(images), num_classes, *images.shape[-2:]]
    if not torch.is_tensor(output):
        raise OutputKindError(
            f"{who} returned {_named(output)}; return logits N x K x H x W{_part(output)}"
        )
    if not output.is_floating_point():
        raise OutputKindError(
            f"{who} returned {list(output.shape)} of {output.dtype}; return floating-point logits "
            "N x K x H x W, not classes or masks"
        )
    shape = list(output.shape)
    if shape != wanted and len(shape) == 4 and shape[1] != num_classes:
        raise OutputKindError(
            f"{who} returned {shape[1]} channels, it says {num_classes} classes (num_classes); "
            "return one channel per class"
        )
    if shape != wanted:
        raise InputError(
            f"{who} returned logits of shape {shape} for images of shape {list(images.shape)}; "
            f"return N x K x H x W, here {wanted}, resized to the size of the images"
        )
    return output


def check_finite(logits: torch.Tensor, image_ids: list[str], who: str) -> None:
    """Check that scored logits are numbers.

    Args:
        logits: float N x K x H x W.
        image_ids: An id per image.
        who: The model, as messages name it.

    Raises:
        InputError: If a logit is NaN or infinite; the first such image is named.
    """
    # A sum costs one pass and no memory. Huge finite values may overflow it: then each is asked.
    for image in (~logits.sum((1, 2, 3)).isfinite()).nonzero().flatten().tolist():
        if not logits[image].isfinite().all():
            kind = "NaN" if logits[image].isnan().any() else "infinite"
            raise InputError(
                f"{who} returned logits that are {kind} for image {image_ids[image]}; scores need "
                "finite logits (check the weights, and any 16-bit computation, for overflow)"
            )


def foreign_error(error: Exception, what: str) -> Exception:
    """Return one sentence for an error of foreign code, or the error itself.

    A lack of memory and a lost device say nothing against the code, and stay what they are.

    Args:
        error: What the code raised.
        what: The beginning of the sentence: who raised, for example ``model 'm'``.
    """
    short = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and is_out_of_memory(error)
    )
    if isinstance(error, InputError) or short or is_poisoned(error):
        return error
    reason = (str(error).strip() or "no message").splitlines()[0]
    return InputError(f"{what} raised {type(error).__name__}: {reason}")


def _named(output: Any) -> str:
    if output is None:
        return "None"
    kind = type(output).__name__
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def _part(output: Any) -> str:
    """Name the part of an output that may be the logits."""
    if not isinstance(output, Mapping):
        return ""
    keys = [key for key, value in output.items() if torch.is_tensor(value)]
    if "out" in keys:
        return " (for torchvision: its ['out'])"
    return f" (one of its {', '.join(map(repr, keys))})" if keys else ""
