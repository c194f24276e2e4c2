"""Models with the options of numerics: each option is tried, and kept if signs stay."""

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import Effective, Segmenter
from segtransfer.tasks.models.numerics import Numerics
from segtransfer.tasks.models.outputs import OutputKindError, foreign_error
from segtransfer.tasks.models.probe import Taken, answer, find_probe, near
from segtransfer.tasks.randomness import seeded

log = logging.getLogger(__name__)

# The least share of equal gradient signs for an ``auto`` option to be on. Folding and layout only
# reorder sums; bf16 keeps 8 bits, and about 5 % of the signs belong to tiny gradients.
LEAST_EQUAL_SIGNS = {"fold": 0.99, "channels_last": 0.99, "bf16": 0.90}
# The largest change of a logit by folding or layout, as a share of the largest logit. Another order
# of sums changes the last digits; a norm folded into a wrong convolution changes all.
LARGEST_CHANGE = 1e-3


def with_numerics(model: Segmenter, numerics: Numerics) -> Segmenter:
    """Return the model with the requested options; ``model.numerics`` records the result.

    Options are tried in turn, each in a copy, which costs two forwards and a backward of a small
    image, to compare logits and gradient signs with fp32. An ``auto`` option with an error or
    changed logits is off; ``model.numerics.left_off`` has the reason.

    Returns:
        The model itself, or a copy with options.

    Raises:
        InputError: If an option set to ``true`` is impossible, or the output is no logits.
    """
    options: dict[str, Callable[[Segmenter], Segmenter]] = {
        "fold": partial(_fold, whole=numerics.fold is True),
        "channels_last": _channels_last,
        "bf16": _bf16,
    }
    asked = dict(numerics)
    tried = [
        option
        for option, value in asked.items()
        if value is True or (value == "auto" and _in_hardware(option, model.device))
    ]
    if not tried:
        return model
    try:
        taken = find_probe(model)
        labels = taken.logits.max(1).indices
        signs = _gradient_signs(model, taken.images, labels)
    except OutputKindError:
        raise
    except InputError as error:
        return _unproven(model, {o: options[o] for o in tried}, asked, error)
    for option in tried:
        try:
            changed = options[option](copy.deepcopy(model))
            equal = (_gradient_signs(changed, taken.images, labels) == signs).float().mean().item()
            shares = {**model.numerics.equal_signs, option: equal}
            for part in (model, changed):
                _declare(part, replace(part.numerics, equal_signs=shares))
            _check_equal_logits(changed, taken, option, required=asked[option] is True)
        except Exception as error:  # foreign code may raise anything
            model = _without(model, option, error, required=asked[option] is True)
            continue
        on = asked[option] is True or equal >= LEAST_EQUAL_SIGNS[option]
        model = changed if on else model
    return model


def _check_equal_logits(model: Segmenter, taken: Taken, option: str, *, required: bool) -> None:
    """Check that an option does not change the logits.

    Args:
        model: The model with the option.
        taken: A probe, and its logits without any option.
        option: The option.
        required: Whether the spec sets the option to ``true``.

    Raises:
        InputError: If the logits changed: a fold is then wrong, so even a required fold is refused.
    """
    # bf16 is off in a forward without gradient.
    unproven = option == "bf16" or (required and option != "fold")
    if not unproven and not near(answer(model, taken.images, 0), taken.logits, LARGEST_CHANGE):
        raise InputError(
            f"{option} changes the logits by more than {LARGEST_CHANGE:g} of the largest"
        )


def _without(model: Segmenter, option: str, error: Exception, *, required: bool) -> Segmenter:
    """Return the model without a failed option, and log the reason.

    Raises:
        InputError: If the spec sets the option to ``true``.
        Exception: The error, for a lost device or a lack of memory.
    """
    told = foreign_error(error, option)
    if not isinstance(told, InputError):
        raise told
    if required:
        raise InputError(
            f"numerics.{option} is true, and impossible with {model.who} ({told}); set "
            f"numerics.{option} to auto or false"
        ) from error
    log.warning("%s computes without numerics.%s: %s", model.who, option, told)
    reasons = {**model.numerics.left_off, option: str(told)}
    return _declare(model, replace(model.numerics, left_off=reasons))


def _unproven(
    model: Segmenter,
    tried: dict[str, Callable[[Segmenter], Segmenter | None]],
    asked: dict[str, Any],
    error: InputError,
) -> Segmenter:
    """Return a model without a fitting probe, with the options set to ``true``.

    Raises:
        InputError: If folding is set to ``true``, because only equal logits prove a fold.
    """
    for option, apply in tried.items():
        required = asked[option] is True
        changed = apply(model) if required and option != "fold" else None
        model = changed or _without(model, option, error, required=required)
    return model


def _gradient_signs(model: Segmenter, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    images = images.detach().requires_grad_(True)
    with seeded(0):
        loss = F.cross_entropy(model(images), labels, reduction="sum")
        return model.gradient(loss, images).sign()


def _in_hardware(name: str, device: torch.device) -> bool:
    if name != "bf16":
        return True
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    on_cpu = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return device.type == "cpu" and on_cpu


def _fold(model: Segmenter, *, whole: bool) -> Segmenter:
    """Fold every network inside a model; wrappers and ensembles have nothing to fold.

    Args:
        model: The model, changed in place.
        whole: Whether all networks must fold.

    Raises:
        InputError: If no network can be folded, or, with ``whole``, not all.
    """
    networks = [part for part in _segmenters(model) if len(_segmenters(part)) == 1]
    folded = [network.fold() for network in networks]
    if not (all(folded) if whole else any(folded)):
        raise InputError("only mmseg and zoo models can fold batch norms")
    return _declare(model, replace(model.numerics, fold=True))


def _channels_last(model: Segmenter) -> Segmenter:
    # The weights' layout suffices, because convolutions propagate it. Images keep three planes,
    # because the first convolution's gradient to interleaved channels is slow on a CPU.
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _declare(model, replace(model.numerics, channels_last=True))


def _bf16(model: Segmenter) -> Segmenter:
    return _declare(model, replace(model.numerics, bf16=True))


def _declare(model: Segmenter, numerics: Effective) -> Segmenter:
    """Set the numerics of all members and wrapped models, because attacks call members directly."""
    for part in _segmenters(model):
        part.numerics = numerics
    return model


def _segmenters(model: Segmenter) -> list[Segmenter]:
    return [part for part in model.modules() if isinstance(part, Segmenter)]
