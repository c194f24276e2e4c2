"""Adapter for transformers: its networks behind our own differentiable preprocessing."""

import hashlib
import inspect
import json
import math
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from segtransfer.errors import InputError, ServerError
from segtransfer.tasks.models.base import ModelInfo, Segmenter, freeze
from segtransfer.tasks.models.checkpoint import foreign_kind, sha256_of
from segtransfer.tasks.models.sliding import with_windows
from segtransfer.tasks.models.spec import HUB_NAME, HuggingfaceSource, ModelSpec
from segtransfer.tasks.urls import without_credentials

ADAPTER_VERSION = 2
PURPOSE = "ForSemanticSegmentation"
PREPROCESSOR = "preprocessor_config.json"
# What an image processor does to pixel values.
PIXEL_FIELDS = (
    "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std",
    "do_flip_channel_order",
)  # fmt: skip
SAFE_WEIGHTS, TORCH_WEIGHTS = "model.safetensors", "pytorch_model.bin"


@dataclass(frozen=True)
class Preprocessing:
    """The action of an image processor on pixels of [0, 1]: (x * scale - mean) / std.

    Attributes:
        scale: The factor of the pixels.
        mean: The mean per channel.
        std: The standard deviation per channel.
        bgr: Whether channels are flipped to BGR.
        divisor: The number that divides height and width.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool
    divisor: int


class HuggingfaceSegmenter(Segmenter):
    """A transformers network behind ``model(images) -> logits`` at the images' resolution.

    Images are padded to multiples of the processor's divisor and of the network's patches. Patches
    that do not overlap would leave out the rest of the image, and logits would be shifted from
    their pixels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.num_classes = network.config.num_labels
        self.size_divisor = math.lcm(preprocessing.divisor, *_patch_sides(network))
        known = inspect.signature(network.forward).parameters
        self.options = {k: True for k in ("interpolate_pos_encoding",) if k in known}
        # Its neck takes the root of the number of patches for both sides of their grid.
        config = network.config
        self.square = config.model_type == "dpt" and (
            config.is_hybrid or config.backbone_config is None
        )
        self.scale, self.bgr = preprocessing.scale, preprocessing.bgr
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        channels = images.flip(1) if self.bgr else images
        inputs = (channels * self.scale - self.mean) / self.std
        inputs = F.pad(inputs, (0, -width % self.size_divisor, 0, -height % self.size_divisor))
        if self.square and inputs.shape[-2] != inputs.shape[-1]:
            raise InputError(
                f"transformers' DPT without a backbone_config takes square images alone, and got "
                f"{inputs.shape[-2]} x {inputs.shape[-1]}; give data a square size"
            )
        logits = self.network(pixel_values=inputs, **self.options).logits
        logits = F.interpolate(logits, inputs.shape[-2:], mode="bilinear", align_corners=False)
        return logits[..., :height, :width]

    def pixels_seen(self, height: int, width: int) -> int:
        """Return the pixels per image; padding counts."""
        return (height + -height % self.size_divisor) * (width + -width % self.size_divisor)


def _patch_sides(network: nn.Module) -> set[int]:
    """Return the sides of patches that convolutions of the image embed without overlap."""
    convolutions = (m for m in network.modules() if isinstance(m, nn.Conv2d))
    return {
        side
        for m in convolutions
        if m.in_channels == 3 and m.kernel_size == m.stride and m.padding == (0, 0)
        for side in m.stride
    }


def load(spec: ModelSpec, device: str = "cpu") -> Segmenter:
    """Build the network, load its weights strictly in float32, freeze it, move it to ``device``.

    Raises:
        InputError: If files are missing or do not fit.
    """
    folder = _folder(spec)
    preprocessing = _preprocessing(spec, folder)
    _compare(spec, folder, preprocessing)
    model = HuggingfaceSegmenter(_network(spec, folder), preprocessing)
    return freeze(with_windows(model, spec.inference)).to(device)


def check(spec: ModelSpec) -> None:
    """Check that weights fit the config, and our preprocessing transformers' own.

    The network is built and dropped. ``describe`` finds other errors, and runs before.

    Raises:
        InputError: If the weights do not fit, or the preprocessing differs.
    """
    folder = _folder(spec)
    _compare(spec, folder, _preprocessing(spec, folder))
    _network(spec, folder)


def classes(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the class names of the spec, else of the model's config, if there are any."""
    labels = _config(spec, _folder(spec)).get("id2label") or {}
    names = tuple(labels[key] for key in sorted(labels, key=int))
    named = names and names != tuple(f"LABEL_{i}" for i in range(len(names)))
    return spec.classes or (names if named else None)


def describe(spec: ModelSpec) -> ModelInfo:
    """Fingerprint (config, weights, preprocessing, windows, adapter version), without loading.

    Classes are those of ``id2label``, unless the spec gives them or they are mere numbers; the head
    is that of the architecture, whatever its backbone.
    """
    folder = _folder(spec)
    config = _config(spec, folder)
    identity = [
        ADAPTER_VERSION,
        "huggingface",
        {k: v for k, v in config.items() if k not in ("_name_or_path", "transformers_version")},
        [(path.name, sha256_of(path)) for path in _weights(spec, folder)],
        asdict(_preprocessing(spec, folder)),
        spec.inference.window if spec.inference else None,
    ]
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        backbone=spec.backbone or _backbone_name(config),
        num_classes=len(config.get("id2label") or ()) or None,
        classes=classes(spec),
        head=next(k for k in config["architectures"] if k.endswith(PURPOSE)).removesuffix(PURPOSE),
    )


def _source(spec: ModelSpec) -> HuggingfaceSource:
    assert spec.huggingface is not None
    return spec.huggingface


def _folder(spec: ModelSpec) -> Path:
    """Return the folder of the model's files: the spec's, or the hub's cache, filled once."""
    source = _source(spec)
    if find_spec("transformers") is None:
        raise InputError(
            f"model '{spec.name}' needs the package transformers; "
            "pip install 'segtransfer[huggingface]'"
        )
    folder = Path(source.model)
    if folder.is_dir():
        if source.revision is not None:
            raise InputError(
                f"model '{spec.name}': revision '{source.revision}' belongs to a name on the hub, "
                f"and {folder} is a folder; leave it out"
            )
        return folder
    if not HUB_NAME.fullmatch(source.model):
        raise InputError(f"model '{spec.name}': folder {folder} does not exist")
    import huggingface_hub

    patterns = ["config.json", PREPROCESSOR, "model*.safetensors", "model*.json"]
    patterns += ["pytorch_model*"] if source.trust else []
    try:
        return Path(
            huggingface_hub.snapshot_download(
                source.model, revision=source.revision, allow_patterns=patterns
            )
        )
    except Exception as error:  # the hub, the network and the cache raise their own kinds
        reason = without_credentials((str(error).strip() or type(error).__name__).splitlines()[0])
        status = getattr(getattr(error, "response", None), "status_code", None) or 0
        if status >= 500 or status == 429:
            raise ServerError(
                f"model '{spec.name}': the Hugging Face hub failed on '{source.model}' "
                f"({type(error).__name__}: {reason}); try again later"
            ) from error
        raise InputError(
            f"model '{spec.name}': '{source.model}' is neither a folder nor a model that the "
            f"Hugging Face hub gave ({type(error).__name__}: {reason})"
        ) from error


def _config(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    config = _read_json(spec, folder / "config.json")
    kinds = config.get("architectures") or []
    if not any(kind.endswith(PURPOSE) for kind in kinds):
        raise InputError(
            f"model '{spec.name}': {folder / 'config.json'} says architectures "
            f"{', '.join(kinds) or 'nothing'}, which is no semantic-segmentation model; "
            f"give one of transformers' ...{PURPOSE}"
        )
    return config


def _preprocessing(spec: ModelSpec, folder: Path) -> Preprocessing:
    """Return the part of the image processor that acts on pixel values; the data defines sizes.

    A field that the file leaves out has the default of the processor's class, as in transformers.
    """
    path = folder / PREPROCESSOR
    config = _read_json(spec, path)
    processor = _processor(folder)
    config |= {k: getattr(processor, k) for k in PIXEL_FIELDS if hasattr(processor, k)}
    mean, std = config.get("image_mean"), config.get("image_std")
    if not config.get("do_normalize", mean is not None):
        mean, std = 0.0, 1.0
    if mean is None or std is None:
        raise InputError(f"model '{spec.name}': {path} normalises but gives no image_mean and std")
    rescale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
    try:
        return Preprocessing(
            scale=255 * rescale,
            mean=_three(mean),
            std=_three(std),
            bgr=bool(config.get("do_flip_channel_order")),
            divisor=int(config.get("ensure_multiple_of") or 1),
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"model '{spec.name}': {path} has image_mean {mean}, image_std {std}, rescale_factor "
            f"{rescale}; each of the first two is one number or three, the last is one"
        ) from error


def _three(value: Any) -> tuple[float, ...]:
    values = tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),) * 3
    if len(values) != 3:
        raise ValueError(f"{len(values)} numbers for three channels")
    return values


def _processor(folder: Path) -> Any:
    """Return transformers' image processor, or None if transformers cannot build it."""
    transformers = _quiet_library()
    try:
        return transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception:  # every processor raises its own kinds, also for a missing library
        return None


def _compare(spec: ModelSpec, folder: Path, preprocessing: Preprocessing) -> None:
    """Compare our preprocessing with transformers' own, on images of a single random colour each.

    Neither resizing nor cropping changes such images, and the data defines sizes.

    Raises:
        InputError: If the values differ.
    """
    colours = np.random.default_rng(0).integers(0, 256, (8, 3), np.uint8)
    images = [np.broadcast_to(colour, (64, 64, 3)).copy() for colour in colours]
    try:
        pixels = np.stack(_processor(folder)(images=images)["pixel_values"])
    except Exception:  # transformers has no processor here, or none of images alone
        return
    theirs = torch.tensor(pixels[..., pixels.shape[-2] // 2, pixels.shape[-1] // 2]).float()
    ours = torch.tensor(colours).float() / 255 * preprocessing.scale
    ours = ours.flip(1) if preprocessing.bgr else ours
    ours = (ours - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=1e-3, atol=1e-3):
        shown = [[round(v, 3) for v in values[0].flatten().tolist()] for values in (theirs, ours)]
        raise InputError(
            f"model '{spec.name}': transformers' image processor of {folder} turns the colour "
            f"{colours[0].tolist()} into {shown[0]}, and rescaling, normalising and flipping "
            f"channels as its {PREPROCESSOR} says gives {shown[1]}; wrap the model as a torch "
            "callable that processes pixels itself"
        )


def _read_json(spec: ModelSpec, path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"model '{spec.name}': {path.parent} has no {path.name}; it holds what "
            "save_pretrained writes of a model and of its image processor"
        ) from None
    except ValueError as error:
        kind = foreign_kind(path)
        reason = f"it is {kind}" if kind else error
        raise InputError(f"model '{spec.name}': {path} is no valid JSON: {reason}") from error


def _weights(spec: ModelSpec, folder: Path) -> list[Path]:
    """Return the files that transformers will read, in its order of preference.

    Raises:
        InputError: If there are none, or one is a page or a pointer in place of weights.
    """
    files = _weight_files(spec, folder)
    for path in files:
        if kind := foreign_kind(path):
            raise InputError(f"model '{spec.name}': {path} holds no weights: it is {kind}")
    return files


def _weight_files(spec: ModelSpec, folder: Path) -> list[Path]:
    for name in (SAFE_WEIGHTS, TORCH_WEIGHTS) if _source(spec).trust else (SAFE_WEIGHTS,):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = sorted(set(_read_json(spec, index)["weight_map"].values()))
            gone = [shard for shard in shards if not (folder / shard).is_file()]
            if gone:
                raise InputError(f"model '{spec.name}': {index} names {gone[0]}, which is missing")
            return [folder / shard for shard in shards]
    unsafe = any(folder.glob(f"{Path(TORCH_WEIGHTS).stem}*"))
    raise InputError(
        f"model '{spec.name}': {folder} has no {SAFE_WEIGHTS}"
        + (f", only {TORCH_WEIGHTS}; if you trust its origin, set trust: true" if unsafe else "")
    )


def import_libraries() -> None:
    """Import the libraries that build a network, if installed; ``load`` raises if they are not."""
    if find_spec("transformers") is not None:
        import transformers.models.auto.modeling_auto  # noqa: F401


def _quiet_library() -> Any:
    """Import transformers without its notices."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _network(spec: ModelSpec, folder: Path) -> Any:
    transformers = _quiet_library()
    try:
        network, found = transformers.AutoModelForSemanticSegmentation.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=None if _source(spec).trust else True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # every architecture raises its own kinds
        raise InputError(
            f"model '{spec.name}': transformers could not load {folder} "
            f"({type(error).__name__}: {error})"
        ) from error
    if missing := sorted(found["missing_keys"]):
        listed = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise InputError(
            f"model '{spec.name}': {folder} does not fit its config: {len(missing)} keys missing "
            f"from the weights: {listed}"
        )
    for tensor in (*network.parameters(), *network.buffers()):
        # Weights mapped from a file lie where it has them, and the last bits follow alignment.
        tensor.data = tensor.data.clone()
    return network


def _backbone_name(config: dict[str, Any]) -> str:
    """Return a readable family name: the type and the fields that set its size."""
    part = config.get("backbone_config")
    part = part if isinstance(part, dict) and "model_type" in part else config
    sizes = "hidden_sizes hidden_size embed_dim depths num_hidden_layers depth_multiplier"
    parts = [f"{k}={part[k]}" for k in [*sizes.split(), "width_multiplier"] if k in part]
    return str(part.get("model_type", "unknown")) + (f"({', '.join(parts)})" if parts else "")
