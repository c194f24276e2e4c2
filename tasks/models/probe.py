"""Probes: tiny images for trials of a model before its first task."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from segtransfer.errors import InputError
from segtransfer.tasks.device_errors import is_poisoned
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.outputs import OutputKindError
from segtransfer.tasks.randomness import global_states, seeded

log = logging.getLogger(__name__)

# Height and width, from small to large: some networks take only square images, a single size, or
# large images.
PROBE_SIZES = ((128, 160), (224, 224), (256, 256), (384, 384), (512, 512), (1024, 1024))
# The number of forwards with different seeds, for a model with random numbers: a rare draw may
# change no logit.
DRAWS = 8
# Logits of two forwards are equal up to this share of the largest: GPUs add in any order.
EQUAL = 1e-4


def probe(divisor: int, size: tuple[int, int] = PROBE_SIZES[0]) -> torch.Tensor:
    """Return a fixed image with the roughness of photographs.

    The image is a sum of random fields from coarse (strongest) to fine, and grain.

    Args:
        divisor: The divisor of height and width, which are rounded up from ``size``.
        size: Height and width, in pixels.

    Returns:
        float 1 x 3 x H x W in [0, 1].
    """
    generator = torch.Generator().manual_seed(0)
    sides = [-(-length // divisor) * divisor for length in size]
    image = torch.full((1, 3, *sides), 0.5)
    for cells, weight in ((3, 0.8), (9, 0.4), (27, 0.2), (81, 0.1)):
        field = torch.rand(1, 3, cells, cells, generator=generator) - 0.5
        image += weight * F.interpolate(field, size=sides, mode="bicubic")
    image += 0.05 * (torch.rand(image.shape, generator=generator) - 0.5)
    return image.clamp(0, 1)


@dataclass(frozen=True)
class Taken:
    """A probe with its logits.

    Attributes:
        images: The probe, float 1 x 3 x H x W on the model's device.
        logits: The model's logits, 1 x K x H x W.
        drew: Whether the forward drew from a global generator.
    """

    images: torch.Tensor
    logits: torch.Tensor
    drew: bool


def find_probe(model: Segmenter, sizes: Sequence[tuple[int, int]] = PROBE_SIZES) -> Taken:
    """Return the first probe without an error of the model.

    A model that refuses all probes may still take the images of its tasks.

    Args:
        model: The model.
        sizes: Heights and widths to try, in this order.

    Returns:
        The probe, its logits, and whether the forward drew random numbers.

    Raises:
        OutputKindError: If the model's output is wrong for images of any size.
        InputError: If the model refuses all sizes; the message is of the first.
    """
    first: InputError | None = None
    for size in sizes:
        images = probe(model.size_divisor, size).to(model.device)
        try:
            with seeded(0), torch.no_grad():
                before = global_states()
                return Taken(images, model(images), global_states() != before)
        except OutputKindError:
            raise
        except InputError as error:
            first = first or error
        except (RuntimeError, MemoryError) as error:
            # A lack of memory is the worker's trouble, unless a larger probe met it.
            if first is None or is_poisoned(error):
                raise
    assert first is not None
    raise first


def learn_sizes(model: Segmenter) -> None:
    """Set ``size_divisor``, ``least_side`` and ``any_size`` of a network by trial forwards.

    Some networks fail at odd sizes, because the branches to add differ in size, and some at small
    sizes, because of pooling over a fixed number of pixels. A declared divisor other than 1 is
    kept. Otherwise the divisor is the smallest power of two up to 64 whose odd multiple the network
    takes; 1 if the network takes a single size.

    Args:
        model: The network, changed in place.
    """
    if model.size_divisor != 1:
        return
    taken = next((size for size in PROBE_SIZES if _takes(model, size)), None)
    for divisor in (1, 2, 4, 8, 16, 32, 64) if taken else ():
        if _takes(model, [divisor * (side // divisor + 1 | 1) for side in taken or ()]):
            model.size_divisor = divisor
            small = taken == PROBE_SIZES[0]
            model.least_side = 1 if small else _least_side(model, min(taken or ()))
            model.any_size = small and divisor == 1
            return
    model.any_size = False


def _least_side(model: Segmenter, taken: int) -> int:
    """Return the shortest side of accepted squares; 1 if small squares are accepted."""
    step = model.size_divisor
    refused = -(-min(PROBE_SIZES[0]) // step) * step
    if _takes(model, (refused, refused)):
        return 1
    while taken - refused > step:
        middle = (refused + taken) // 2 // step * step
        if _takes(model, (middle, middle)):
            taken = middle
        else:
            refused = max(middle, refused + step)
    return taken


def check_size(model: Segmenter, size: tuple[int, int]) -> None:
    """Check that a model takes images of a size; each size is tried once.

    Args:
        model: The model in its windows, scale and label map.
        size: Height and width of images, in pixels.

    Raises:
        InputError: If a network with limits on sizes refuses a probe of this size. Memory that runs
            out is no refusal: the size is tried again at the next call.
    """
    parts = [part for part in model.modules() if isinstance(part, Segmenter)]
    if size in model.taken_sizes or all(part.any_size for part in parts):
        return
    try:
        _answers(model, size)
    except InputError as error:
        divisor = math.lcm(*(part.size_divisor for part in parts))
        least = max(part.least_side for part in parts)
        limits = [f"multiples of {divisor}"] * (divisor > 1)
        limits += [f"sides of {least} pixels and more"] * (least > 1)
        taken = " and ".join(limits) or "other sizes only"
        raise InputError(
            f"{error}; by trial the network takes {taken}: set data.size, or windows of such a "
            "size (inference: {mode: slide, crop: [H, W], stride: [H, W]})"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if is_poisoned(error):
            raise
        return  # the task may succeed with a smaller micro-batch
    model.taken_sizes.add(size)


def _takes(model: Segmenter, size: Sequence[int]) -> bool:
    """Tell whether a model takes a probe of a size, without counting the cost."""
    try:
        _answers(model, size)
    except InputError:
        return False
    except (RuntimeError, MemoryError) as error:
        # A lack of memory is the worker's trouble, unless a larger probe met it.
        if tuple(size) == PROBE_SIZES[0] or is_poisoned(error):
            raise
        return False
    return True


@torch.no_grad()
def _answers(model: Segmenter, size: Sequence[int]) -> None:
    with seeded(0):
        model.checked_logits(probe(1, (size[0], size[1])).to(model.device))


def examine(model: Segmenter, sizes: Sequence[tuple[int, int]] = PROBE_SIZES) -> None:
    """Try a model with tiny forwards and a gradient, and record whether its logits repeat.

    ``model.examined`` and ``model.deterministic`` hold the outcome. A model that refuses all sizes
    is not examined. A model without a gradient may still be a target, so only its attacks fail.

    Args:
        model: The model in its windows, scale and label map; changed in place.
        sizes: Heights and widths to try, in this order.

    Raises:
        OutputKindError: If the model's output is wrong for images of any size.
    """
    try:
        taken = find_probe(model, sizes)
    except OutputKindError:
        raise
    except InputError as error:
        log.info("%s refuses all probes: %s", model.who, error)
        return
    draws = DRAWS if taken.drew else 2
    again = (answer(model, taken.images, seed) for seed in range(1, draws))
    deterministic = all(near(logits, taken.logits) for logits in again)
    for part in model.modules():  # windows inside a scale read their own flag
        if isinstance(part, Segmenter):
            part.deterministic = deterministic
    model.examined = True
    if not model.deterministic:
        log.warning("%s is not deterministic: logits of the same image differ", model.who)
    inputs = taken.images.requires_grad_(True)
    try:
        with seeded(0):
            model.gradient(model(inputs).sum(), inputs)
    except InputError as error:
        log.info("%s cannot be attacked: %s", model.who, error)


@torch.no_grad()
def answer(model: Segmenter, images: torch.Tensor, seed: int) -> torch.Tensor:
    """Return logits, with the global generators seeded for this forward.

    Args:
        model: The model.
        images: float N x 3 x H x W in [0, 1].
        seed: The seed.

    Returns:
        float32 N x K x H x W, without gradient.
    """
    with seeded(seed):
        return model(images)


def near(one: torch.Tensor, other: torch.Tensor, share: float = EQUAL) -> bool:
    """Tell whether logits are equal up to a share of the largest.

    Args:
        one: Logits.
        other: Logits of the same shape, the reference for the largest.
        share: The tolerance, relative to the largest finite magnitude in ``other``.
    """
    largest = other.nan_to_num(0, 0, 0).abs().max().item()
    return torch.allclose(one, other, rtol=0, atol=share * largest, equal_nan=True)
