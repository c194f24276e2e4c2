"""Numerics: compute in fp32 as loaded, or faster as long as gradients keep their signs."""

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.json_schema import JsonSchema
from segtransfer.tasks.models.base import Effective, Segmenter
from segtransfer.tasks.models.outputs import OutputKindError, foreign_error
from segtransfer.tasks.models.probe import Taken, answer, find_probe, near
from segtransfer.tasks.randomness import seeded
from segtransfer.tasks.schema import Frozen, suggest

log = logging.getLogger(__name__)

# Least share of equal gradient signs with which an ``auto`` option stays on. Folding and layout
# only reorder sums; bf16 keeps 8 bits, and about one sign in twenty is that of a tiny gradient.
LEAST_EQUAL_SIGNS = {"fold": 0.99, "channels_last": 0.99, "bf16": 0.90}
# Largest change of a logit by folding or layout, as a share of the largest logit. Other orders of
# sums change the last digits; a norm folded into a wrong convolution changes all.
LARGEST_CHANGE = 1e-3


def _read_option(value: Any) -> Any:
    if value != "auto" and not isinstance(value, bool):
        raise PydanticCustomError(
            "option", "'{value}' is none of true, false and auto", {"value": str(value)}
        )
    return value


Option = Annotated[bool | Literal["auto"], BeforeValidator(_read_option)]


class Numerics(Frozen):
    """``reference`` (all off), ``fast`` (all ``auto``), or options one by one.

    ``true`` applies an option whatever it does to the signs, and is refused if the adapter cannot,
    or if a fold changes the logits. ``auto`` applies it if adapter and hardware can, and the
    equivalence check at load passes.

    Attributes:
        fold: Batch norms are folded into the convolutions before them.
        channels_last: The memory layout.
        bf16: Autocast around the network for gradients, logits in fp32; AEs are scored in fp32.
    """

    fold: Option = False
    channels_last: Option = False
    bf16: Option = False

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        named: dict[str, dict[str, Any]] = {
            "reference": {},
            "fast": dict.fromkeys(cls.model_fields, "auto"),
        }
        if isinstance(data, str) and data not in named:
            raise PydanticCustomError(
                "numerics",
                "unknown numerics '{name}': {hint}, or any of {options} with true, false or auto",
                {
                    "name": data,
                    "hint": suggest(data, named),
                    "options": ", ".join(cls.model_fields),
                },
            )
        return named[data] if isinstance(data, str) else data

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Return the form of a name."""
        return [{"enum": ["reference", "fast"]}]

    def identity(self) -> str | dict[str, Any]:
        """Return the requested options as a canonical JSON value, whatever a device enables."""
        return "reference" if self == REFERENCE else self.identity_fields()


REFERENCE = Numerics()


def with_numerics(model: Segmenter, numerics: Numerics) -> Segmenter:
    """Return the model with the requested options; ``model.numerics`` tells which are on.

    Options are tried one after another on top of those that stayed, each in a copy. Each costs two
    forwards and a backward of one small image, whose logits and gradient signs are compared with
    those of the model in fp32. An ``auto`` option that raises an error or changes the logits is
    left off, for the reason in ``model.numerics.left_off``.

    Raises:
        InputError: If an option that is ``true`` is impossible.
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
    """Check that an option left the logits as they were.

    Args:
        model: The model with the option.
        taken: A probe, and its logits without any option.
        option: The option.
        required: Whether the spec sets the option to ``true``.

    Raises:
        InputError: If the logits changed. Then a fold is wrong, so it is refused even if required.
    """
    # Without a gradient, bf16 is off.
    unproven = option == "bf16" or (required and option != "fold")
    if not unproven and not near(answer(model, taken.images, 0), taken.logits, LARGEST_CHANGE):
        raise InputError(f"{option} changes the logits")


def _without(model: Segmenter, option: str, error: Exception, *, required: bool) -> Segmenter:
    """Return the model without an option that could not be tried or proven, and say so.

    Raises:
        InputError: If the spec sets the option to ``true``.
        Exception: The error, if it is a lost device or a lack of memory.
    """
    told = foreign_error(error, option)
    if not isinstance(told, InputError):
        raise told
    if required:
        raise InputError(
            f"numerics.{option} is true, and impossible with {model.who} ({told}); give auto, "
            "which leaves the option off then, or false"
        ) from error
    log.warning("%s computes without %s: %s", model.who, option, told)
    reasons = {**model.numerics.left_off, option: str(told)}
    return _declare(model, replace(model.numerics, left_off=reasons))


def _unproven(
    model: Segmenter,
    tried: dict[str, Callable[[Segmenter], Segmenter | None]],
    asked: dict[str, Any],
    error: InputError,
) -> Segmenter:
    """Return a model that no probe can prove, with the options that its spec sets to ``true``.

    Raises:
        InputError: If folding is one of them, because only equal logits show that a fold is right.
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
    """Fold every network that can be folded.

    Wrappers and ensembles hold networks, and fold nothing of their own.

    Args:
        model: The model, changed in place.
        whole: Whether all networks must fold.

    Raises:
        InputError: If none can be folded, or not all where all must.
    """
    networks = [part for part in _segmenters(model) if len(_segmenters(part)) == 1]
    folded = [network.fold() for network in networks]
    if not (all(folded) if whole else any(folded)):
        raise InputError("this adapter cannot fold batch norms, mmseg and zoo models can")
    return _declare(model, replace(model.numerics, fold=True))


def _channels_last(model: Segmenter) -> Segmenter:
    # The weights' layout is enough: convolutions carry it on, and three planes are the faster
    # input (the first convolution's gradient to three interleaved channels is slow on a CPU).
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _declare(model, replace(model.numerics, channels_last=True))


def _bf16(model: Segmenter) -> Segmenter:
    return _declare(model, replace(model.numerics, bf16=True))


def _declare(model: Segmenter, numerics: Effective) -> Segmenter:
    """Set the numerics of all members and wrapped models: attacks call them separately."""
    for part in _segmenters(model):
        part.numerics = numerics
    return model


def _segmenters(model: Segmenter) -> list[Segmenter]:
    return [part for part in model.modules() if isinstance(part, Segmenter)]
