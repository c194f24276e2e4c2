"""Adapter for transformers: its networks with differentiable preprocessing."""

import hashlib
import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import Segmenter, freeze
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.huggingface_files import (
    config_of,
    folder_of,
    head_of,
    is_universal,
    quiet_library,
    source,
    weight_paths,
)
from segtransfer.tasks.models.huggingface_network import HuggingfaceSegmenter
from segtransfer.tasks.models.huggingface_pixels import Preprocessing, compare, preprocessing_of
from segtransfer.tasks.models.huggingface_universal import UNIVERSAL_VERSION, task_tokens, universal
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.models.spec import ModelSpec

ADAPTER_VERSION = 2


def load(spec: ModelSpec, device: str = "cpu") -> Segmenter:
    """Build the network, load its weights strictly in float32, and freeze it.

    Args:
        spec: The model, with ``huggingface``.
        device: A torch device.

    Returns:
        The model on ``device``.

    Raises:
        InputError: If files are missing or do not fit.
        ServerError: If the hub fails or cannot be reached.
    """
    config, preprocessing, network = _parts(spec)
    if is_universal(config):
        tokens = task_tokens(spec, folder_of(spec), config)
        model: Segmenter = universal(network, preprocessing, tokens)
    else:
        model = HuggingfaceSegmenter(network, preprocessing)
    return freeze(model).to(device)


def check(spec: ModelSpec) -> None:
    """Check that weights fit the config, and that preprocessing equals transformers'.

    The network is built and discarded. Other errors are found by ``describe``, which runs before.

    Args:
        spec: The model, with ``huggingface``.

    Raises:
        InputError: If the weights do not fit, or the preprocessing differs.
    """
    _parts(spec)


def classes(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the class names of the spec, or else of the model's config.

    Args:
        spec: The model, with ``huggingface``.

    Returns:
        Names by index; None if the config has none, or mere numbers ("LABEL_0").

    Raises:
        InputError: If the config is missing or of another kind of network.
    """
    labels = config_of(spec, folder_of(spec)).get("id2label") or {}
    names = tuple(labels[key] for key in sorted(labels, key=int))
    named = names and names != tuple(f"LABEL_{i}" for i in range(len(names)))
    return spec.classes or (names if named else None)


def describe(spec: ModelSpec) -> ModelInfo:
    """Describe a model without loading it.

    Args:
        spec: The model, with ``huggingface``.

    Returns:
        The description. The fingerprint covers config, weights, preprocessing, windows and adapter
        version; ``head`` is the architecture, for example ``Segformer``.

    Raises:
        InputError: If files are missing or wrong.
        ServerError: If the hub fails or cannot be reached.
    """
    folder = folder_of(spec)
    config = config_of(spec, folder)
    identity = [
        ADAPTER_VERSION,
        "huggingface",
        {k: v for k, v in config.items() if k not in ("_name_or_path", "transformers_version")},
        [(path.name, sha256_of(path)) for path in weight_paths(spec, folder)],
        asdict(preprocessing_of(spec, folder, config)),
        spec.inference.window if spec.inference else None,
    ]
    if is_universal(config):
        identity.append(["universal", UNIVERSAL_VERSION, task_tokens(spec, folder, config)])
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        backbone=spec.backbone or _backbone_name(config),
        num_classes=len(config.get("id2label") or ()) or None,
        classes=classes(spec),
        head=head_of(config),
    )


def import_libraries() -> None:
    """Import the libraries for building a network, if installed; ``load`` reports missing ones."""
    if find_spec("transformers") is not None:
        import transformers.models.auto.modeling_auto  # noqa: F401


def _parts(spec: ModelSpec) -> tuple[dict[str, Any], Preprocessing, Any]:
    """Return config, preprocessing and network, checked to fit each other."""
    folder = folder_of(spec)
    config = config_of(spec, folder)
    preprocessing = preprocessing_of(spec, folder, config)
    compare(spec, folder, config, preprocessing)
    return config, preprocessing, _network(spec, folder, config)


def _network(spec: ModelSpec, folder: Path, config: dict[str, Any]) -> Any:
    transformers = quiet_library()
    kind = "UniversalSegmentation" if is_universal(config) else "SemanticSegmentation"
    try:
        network, found = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=None if source(spec).trust else True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # every architecture raises its own kinds
        raise InputError(
            f"model '{spec.name}': transformers cannot load {folder} "
            f"({type(error).__name__}: {error}); give a folder written by save_pretrained"
        ) from error
    if missing := sorted(found["missing_keys"]):
        listed = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise InputError(
            f"model '{spec.name}': the weights in {folder} do not fit its config.json: "
            f"{len(missing)} keys are missing ({listed}); save the whole model again"
        )
    for tensor in (*network.parameters(), *network.buffers()):
        # Weights mapped from a file have the file's alignment, which changes the last bits.
        tensor.data = tensor.data.clone()
    return network


def _backbone_name(config: dict[str, Any]) -> str:
    """Return a readable family name: the type and the fields that set its size."""
    part = config.get("backbone_config")
    part = part if isinstance(part, dict) and "model_type" in part else config
    sizes = "hidden_sizes hidden_size embed_dim depths num_hidden_layers depth_multiplier"
    parts = [f"{k}={part[k]}" for k in [*sizes.split(), "width_multiplier"] if k in part]
    return str(part.get("model_type", "unknown")) + (f"({', '.join(parts)})" if parts else "")
