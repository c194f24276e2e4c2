"""Preprocessing of transformers models: the effect of an image processor on pixel values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.models.huggingface_files import (
    PREPROCESSOR,
    PROCESSOR,
    is_universal,
    quiet_library,
    read_json,
)
from segtransfer.tasks.models.spec import ModelSpec

# The fields of an image processor with an effect on pixel values.
PIXEL_FIELDS = (
    "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std",
    "do_flip_channel_order",
)  # fmt: skip
UNIVERSAL_FIELDS = ("size_divisor", "pad_size")


@dataclass(frozen=True)
class Preprocessing:
    """The effect of an image processor on pixels x in [0, 1]: (x * scale - mean) / std.

    Attributes:
        scale: The factor of the pixels.
        mean: Three numbers, a mean per channel.
        std: Three numbers, a standard deviation per channel.
        bgr: Whether channels are flipped to BGR.
        divisor: The divisor of height and width, in pixels.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool
    divisor: int


def preprocessing_of(spec: ModelSpec, folder: Path, network: dict[str, Any]) -> Preprocessing:
    """Return the effect of the image processor on pixel values; the data defines sizes.

    A missing field has the default of the processor's class, as in transformers.

    Args:
        spec: The model.
        folder: The folder of its files.
        network: The config of its network.

    Returns:
        Scale, mean, standard deviation, channel order and divisor.

    Raises:
        InputError: If there is no image processor, or its fields cannot be followed.
    """
    path, config = _written(spec, folder)
    processor = processor_of(folder, network)
    fields = PIXEL_FIELDS + (UNIVERSAL_FIELDS if is_universal(network) else ())
    config |= {k: getattr(processor, k) for k in fields if hasattr(processor, k)}
    divisor = config.get("ensure_multiple_of")
    if is_universal(network):
        divisor = config.get("size_divisor")
        if config.get("pad_size"):
            raise InputError(
                f"model '{spec.name}': {path} sets pad_size {config['pad_size']}, with which "
                "transformers stretches the padded output over the image; remove pad_size there"
            )
    mean, std = config.get("image_mean"), config.get("image_std")
    if not config.get("do_normalize", mean is not None):
        mean, std = 0.0, 1.0
    if mean is None or std is None:
        raise InputError(
            f"model '{spec.name}': {path} normalises without image_mean and image_std; add both"
        )
    rescale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
    try:
        return Preprocessing(
            scale=255 * rescale,
            mean=_three(mean),
            std=_three(std),
            bgr=bool(config.get("do_flip_channel_order")),
            divisor=int(divisor or 1),
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"model '{spec.name}': {path} has image_mean {mean}, image_std {std}, rescale_factor "
            f"{rescale}; write a number or three for the first two, and a number for the last"
        ) from error


def _three(value: Any) -> tuple[float, ...]:
    values = tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),) * 3
    if len(values) != 3:
        raise ValueError(f"{len(values)} numbers for three channels")
    return values


def _written(spec: ModelSpec, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the file that holds the image processor's fields, and the fields."""
    path = folder / PROCESSOR
    if path.is_file() and not (folder / PREPROCESSOR).is_file():
        fields = read_json(spec, path).get("image_processor")
        if isinstance(fields, dict):
            return path, fields
    return folder / PREPROCESSOR, read_json(spec, folder / PREPROCESSOR)


def processor_of(folder: Path, network: dict[str, Any]) -> Any:
    """Return transformers' image processor.

    Args:
        folder: The folder of the model's files.
        network: The config of its network.

    Returns:
        The processor, or None if transformers cannot build it.
    """
    transformers = quiet_library()
    # By default OneFormer's processor downloads a list of classes for training.
    options = {"class_info_file": None} if network.get("model_type") == "oneformer" else {}
    try:
        return transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
    except Exception:  # every processor raises its own kinds, also for a missing library
        return None


def compare(
    spec: ModelSpec, folder: Path, network: dict[str, Any], preprocessing: Preprocessing
) -> None:
    """Compare preprocessing with transformers' own, on images of a single random colour each.

    Such images do not change by resizing and cropping, whose sizes the data defines.

    Args:
        spec: The model.
        folder: The folder of its files.
        network: The config of its network.
        preprocessing: The preprocessing of this package.

    Raises:
        InputError: If the values differ.
    """
    colours = np.random.default_rng(0).integers(0, 256, (8, 3), np.uint8)
    images = [np.broadcast_to(colour, (64, 64, 3)).copy() for colour in colours]
    try:
        pixels = np.stack(processor_of(folder, network)(images=images)["pixel_values"])
    except Exception:  # transformers has no processor here, or none of images alone
        return
    theirs = torch.tensor(pixels[..., pixels.shape[-2] // 2, pixels.shape[-1] // 2]).float()
    ours = torch.tensor(colours).float() / 255 * preprocessing.scale
    ours = ours.flip(1) if preprocessing.bgr else ours
    ours = (ours - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=1e-3, atol=1e-3):
        shown = [[round(v, 3) for v in values[0].flatten().tolist()] for values in (theirs, ours)]
        raise InputError(
            f"model '{spec.name}': transformers' image processor of {folder} maps the colour "
            f"{colours[0].tolist()} to {shown[0]}, and rescaling, normalising and flipping "
            f"channels by its {PREPROCESSOR} gives {shown[1]}; wrap the model in a torch callable "
            "with its own preprocessing"
        )
