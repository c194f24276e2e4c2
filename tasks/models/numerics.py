"""Numerics: compute in fp32 as loaded, or faster as long as gradients keep their signs."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import Effective, Segmenter
from segtransfer.tasks.schema import Frozen, suggest

# Least share of equal gradient signs with which an ``auto`` option stays on. Folding and layout
# only reorder sums; bf16 keeps 8 bits, and about one sign in twenty is that of a tiny gradient.
# TF32 keeps ten.
LEAST_EQUAL_SIGNS = {"tf32": 0.90, "fold": 0.99, "channels_last": 0.99, "bf16": 0.90}
PROBE_SIZE = (128, 160)


def _read_option(value: Any) -> Any:
    if value not in (True, False, "auto"):
        raise PydanticCustomError(
            "option", "'{value}' is none of true, false and auto", {"value": str(value)}
        )
    return value


Option = Annotated[bool | Literal["auto"], BeforeValidator(_read_option)]


class Numerics(Frozen):
    """``reference`` (all off), ``fast`` (all ``auto``), or options one by one.

    ``true`` applies an option whatever it does to the signs, and is refused if the adapter cannot.
    ``auto`` applies it if adapter and hardware can, and the equivalence check at load passes. With
    any option, convolutions on a CUDA device compute in TF32, as if that were an ``auto`` option.

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

    def identity(self) -> str | dict[str, Any]:
        """Return the requested options as a canonical JSON value, whatever a device enables."""
        return "reference" if self == REFERENCE else self.identity_fields()


REFERENCE = Numerics()


def with_numerics(model: Segmenter, numerics: Numerics) -> Segmenter:
    """Return the model with the requested options; ``model.numerics`` tells which are on.

    Options are tried one after another on top of those that stayed. Each costs one forward and
    backward of one small image, whose gradient signs are compared with those of the model in fp32.

    Raises:
        InputError: If an option that is ``true`` is impossible.
    """
    options: dict[str, Callable[[Segmenter], Segmenter | None]] = {
        "tf32": _tf32,
        "fold": partial(_fold, whole=numerics.fold is True),
        "channels_last": _channels_last,
        "bf16": _bf16,
    }
    implied = {"tf32": False if numerics == REFERENCE else "auto"}
    asked = {**implied, **dict(numerics)}
    tried = [
        option
        for option, value in asked.items()
        if value is True or (value == "auto" and _in_hardware(option, model.device))
    ]
    if not tried:
        return model
    images = probe(model.size_divisor).to(model.device)
    with torch.no_grad():
        labels = model(images).max(1).indices
    reference = _gradient_signs(model, images, labels)
    for option in tried:
        changed = options[option](copy.deepcopy(model))
        if changed is None:
            continue
        equal = (_gradient_signs(changed, images, labels) == reference).float().mean().item()
        on = asked[option] is True or equal >= _least_equal_signs(option, model)
        model = changed if on else model
        shares = {**model.numerics.equal_signs, option: equal}
        _declare(model, replace(model.numerics, equal_signs=shares))
    return model


def _least_equal_signs(name: str, model: Segmenter) -> float:
    """Return the share of equal signs that an ``auto`` option needs on top of ``model``.

    Signs that TF32 lost do not count against other options.
    """
    lost = 1 - model.numerics.equal_signs["tf32"] if model.numerics.tf32 else 0
    return LEAST_EQUAL_SIGNS[name] - lost


def probe(divisor: int) -> torch.Tensor:
    """Return one image that is as rough as photographs are, always the same.

    The image sums random fields from coarse to fine, coarse ones strongest, and grain.

    Args:
        divisor: Height and width are its multiples at or above PROBE_SIZE.

    Returns:
        float 1 x 3 x H x W in [0, 1].
    """
    generator = torch.Generator().manual_seed(0)
    size = [-(-length // divisor) * divisor for length in PROBE_SIZE]
    image = torch.full((1, 3, *size), 0.5)
    for cells, weight in ((3, 0.8), (9, 0.4), (27, 0.2), (81, 0.1)):
        field = torch.rand(1, 3, cells, cells, generator=generator) - 0.5
        image += weight * F.interpolate(field, size=size, mode="bicubic")
    image += 0.05 * (torch.rand(image.shape, generator=generator) - 0.5)
    return image.clamp(0, 1)


def _gradient_signs(model: Segmenter, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    images = images.detach().requires_grad_(True)
    loss = F.cross_entropy(model(images), labels, reduction="sum")
    return model.gradient(loss, images).sign()


def _in_hardware(name: str, device: torch.device) -> bool:
    if name == "tf32":
        return device.type == "cuda"
    if name != "bf16":
        return True
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    on_cpu = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return device.type == "cpu" and on_cpu


def _tf32(model: Segmenter) -> Segmenter:
    return _declare(model, replace(model.numerics, tf32=True))


def _fold(model: Segmenter, *, whole: bool) -> Segmenter | None:
    """Fold every network that can be folded; None if there is none.

    Wrappers and ensembles hold networks, and fold nothing of their own.

    Args:
        model: The model, changed in place.
        whole: Whether all networks must fold.
    """
    networks = [part for part in _segmenters(model) if len(_segmenters(part)) == 1]
    folded = [network.fold() for network in networks]
    if whole and not all(folded):
        raise InputError(
            "numerics.fold is true, and this adapter cannot fold batch norms (mmseg and zoo models "
            "can); give auto, which folds where it can, or false"
        )
    return _declare(model, replace(model.numerics, fold=True)) if any(folded) else None


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
