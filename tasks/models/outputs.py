"""Checks of foreign outputs: logits are float N x K x H x W, and finite if scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.batching import is_out_of_memory
from segtransfer.tasks.device_errors import is_poisoned


class OutputKindError(InputError):
    """A wrong kind of output or number of channels, whatever the size of images."""


def check_logits(
    output: Any, images: torch.Tensor, num_classes: int, who: str, grid: tuple[int, int]
) -> torch.Tensor:
    """Return the output of a model, checked for kind and shape.

    Args:
        output: The output, any object.
        images: The model's images, N x 3 x H x W.
        num_classes: K, the ``num_classes`` of the model.
        who: The model's name in messages.
        grid: Height and width of the logits: those of the images, or 1 x 1 for a classifier.

    Returns:
        Logits on the grid of a floating-point type.

    Raises:
        OutputKindError: If the output is no floating-point tensor, or has another K.
        InputError: If its N differs from that of the images, or its height and width from the grid.
    """
    wanted = [len(images), num_classes, *grid]
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
            f"{who} returned {shape[1]} channels, and its num_classes is {num_classes}; return a "
            "channel per class, or set num_classes"
        )
    if shape != wanted and grid == (1, 1):
        raise InputError(
            f"{who} is marked as a classifier, and returned logits of shape {shape} for "
            f"{len(images)} images of {num_classes} classes; return N x K, or leave classifier out "
            "for a model with a class per pixel"
        )
    if shape != wanted:
        raise InputError(
            f"{who} returned logits of shape {shape} for images of shape {list(images.shape)}; "
            f"return N x K x H x W, here {wanted}, resized to the size of the images"
            f"{_classifier_hint(shape, wanted)}"
        )
    return output


def _classifier_hint(shape: list[int], wanted: list[int]) -> str:
    """Return a hint for logits with a class per image; an empty string for other shapes."""
    of_images = shape in (wanted[:2], [*wanted[:2], 1, 1])
    return ", or set classifier: true for a model with a class per image" if of_images else ""


def check_finite(logits: torch.Tensor, image_ids: list[str], who: str) -> None:
    """Check that logits are finite before they are scored.

    Args:
        logits: float N x K x H x W.
        image_ids: An id per image.
        who: The model's name in messages.

    Raises:
        InputError: If a logit is NaN or infinite; the message names the first such image.
    """
    # A sum costs a single pass without memory. Huge finite values may overflow the sum, so each
    # value of such an image is checked.
    for image in (~logits.sum((1, 2, 3)).isfinite()).nonzero().flatten().tolist():
        if not logits[image].isfinite().all():
            kind = "NaN" if logits[image].isnan().any() else "infinite"
            raise InputError(
                f"{who} returned {kind} logits for image {image_ids[image]}, and scores need "
                "finite logits; check the weights, and 16-bit computations for overflow"
            )


def foreign_error(error: Exception, what: str) -> Exception:
    """Return an InputError with a sentence for an error of foreign code.

    Args:
        error: The exception of the code.
        what: The code, as the subject of the sentence, for example ``model 'm'``.

    Returns:
        The InputError; or ``error`` itself if it is an InputError, a lack of memory or a lost
        device, which are no fault of the code.
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
    """Return a hint to the tensors in an output that is a mapping; empty without tensors."""
    if not isinstance(output, Mapping):
        return ""
    keys = [key for key, value in output.items() if torch.is_tensor(value)]
    if "out" in keys:
        return " (for torchvision: its ['out'])"
    return f" (one of its {', '.join(map(repr, keys))})" if keys else ""
