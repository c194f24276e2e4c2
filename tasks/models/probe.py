"""Probes: tiny images with which a model is tried before its first task."""

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

# Height and width, from small to large: some networks take square images, one size, or large
# images alone.
PROBE_SIZES = ((128, 160), (224, 224), (256, 256), (384, 384), (512, 512), (1024, 1024))
# Forwards of one image under different seeds, for a model that draws random numbers: a rare draw
# may change nothing.
DRAWS = 8
# Logits of two forwards are equal up to this share of the largest: GPUs add in any order.
EQUAL = 1e-4


def probe(divisor: int, size: tuple[int, int] = PROBE_SIZES[0]) -> torch.Tensor:
    """Return one image that is as rough as photographs are, always the same.

    The image sums random fields from coarse to fine, coarse ones strongest, and grain.

    Args:
        divisor: Height and width are its multiples at or above ``size``.
        size: Height and width in pixels.

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
    """A probe that a model took.

    Attributes:
        images: The probe, float 1 x 3 x H x W on the model's device.
        logits: The model's logits, 1 x K x H x W.
        drew: Whether the forward drew from a global generator.
    """

    images: torch.Tensor
    logits: torch.Tensor
    drew: bool


def find_probe(model: Segmenter, sizes: Sequence[tuple[int, int]] = PROBE_SIZES) -> Taken:
    """Return the first probe that a model takes.

    A model that takes none may still take the images of its tasks.

    Args:
        model: The model.
        sizes: Heights and widths to try, in their order.

    Raises:
        OutputKindError: If the model's output is wrong for images of any size.
        InputError: If the model takes none; the message is that of the first size.
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
    """Set ``size_divisor``, ``least_side`` and ``any_size`` of a network, as trials show them.

    Some networks fail at odd sizes, because the sizes of branches that they add differ there, and
    some at small ones, because they pool a fixed number of pixels. The divisor is the declared one
    unless that is 1; else the smallest power of two up to 64 of which the network takes an odd
    multiple; 1 if it takes a single size.
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
    """Return the shortest side of squares that a model takes; 1 if small ones are not refused."""
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
    """Refuse images of a size that a model does not take; each size is tried once.

    Args:
        model: The model, as its tasks use it.
        size: Height and width of images.

    Raises:
        InputError: If a network that does not take every size refuses a probe of this one.
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
            f"{error}; by trial the network takes {taken}: give data.size, or windows of a size "
            "that it takes (inference: {mode: slide, crop: [H, W], stride: [H, W]})"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if is_poisoned(error):
            raise
        return  # memory may suffice for the task, whose micro-batch is halved
    model.taken_sizes.add(size)


def _takes(model: Segmenter, size: Sequence[int]) -> bool:
    """Tell whether a model answers to a probe of a size; the forward counts as no cost."""
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
    """Try a model with one tiny forward and gradient, and note whether it repeats its answers.

    ``model.examined`` and ``model.deterministic`` hold the outcome. A model that takes no image of
    these sizes stays unexamined. A model without a gradient is no source but may be a target, so
    only its attacks will fail.

    Args:
        model: The model, as its tasks use it.
        sizes: Heights and widths to try, in their order.

    Raises:
        OutputKindError: If the model's output is wrong for images of any size.
    """
    try:
        taken = find_probe(model, sizes)
    except OutputKindError:
        raise
    except InputError as error:
        log.info("%s takes no probe: %s", model.who, error)
        return
    draws = DRAWS if taken.drew else 2
    again = (answer(model, taken.images, seed) for seed in range(1, draws))
    deterministic = all(near(logits, taken.logits) for logits in again)
    for part in model.modules():  # windows inside a scale are computed again in a backward, or not
        if isinstance(part, Segmenter):
            part.deterministic = deterministic
    model.examined = True
    if not model.deterministic:
        log.warning("%s answers one image differently each time", model.who)
    inputs = taken.images.requires_grad_(True)
    try:
        with seeded(0):
            model.gradient(model(inputs).sum(), inputs)
    except InputError as error:
        log.info("%s cannot be attacked: %s", model.who, error)


@torch.no_grad()
def answer(model: Segmenter, images: torch.Tensor, seed: int) -> torch.Tensor:
    """Return logits N x K x H x W, with global generators that are seeded for this forward."""
    with seeded(seed):
        return model(images)


def near(one: torch.Tensor, other: torch.Tensor, share: float = EQUAL) -> bool:
    """Tell whether logits are equal up to a share of the largest."""
    largest = other.nan_to_num(0, 0, 0).abs().max().item()
    return torch.allclose(one, other, rtol=0, atol=share * largest, equal_nan=True)
