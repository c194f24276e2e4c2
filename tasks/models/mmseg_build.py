"""Construction of mmseg's networks."""

import inspect
import logging
import warnings
from typing import Any

from segtransfer.errors import InputError
from segtransfer.tasks.models.mmseg_missing import missing


def build(name: str, model: dict[str, Any]) -> Any:
    """Build a network, with the random weights of its constructors.

    Args:
        name: The model's name, for messages.
        model: The ``model`` part of a config.

    Returns:
        An mmseg segmentor, on the CPU.

    Raises:
        InputError: If mmseg cannot build the config, or its head has neither a channel per class
            nor a single channel for two classes.
    """
    network = _built(name, model, None)
    if network.out_channels != network.num_classes and network.num_classes != 2:
        raise InputError(
            f"model '{name}' has {network.out_channels} output channels for {network.num_classes} "
            "classes; give a head with a channel per class, or a single channel for two classes"
        )
    return network


def build_backbone(name: str, model: dict[str, Any]) -> Any:
    """Build the backbone of a network, with the random weights of its constructor.

    Args:
        name: The model's name, for messages.
        model: The ``model`` part of a config.

    Returns:
        A module from images N x 3 x H x W to features, a tuple of levels, on the CPU.

    Raises:
        InputError: If mmseg cannot build the backbone.
    """
    return _built(name, model, "backbone")


def _built(name: str, model: dict[str, Any], part: str | None) -> Any:
    """Build a part of a config's network, or the whole network for None."""
    try:
        import_libraries()
        from mmengine.config import ConfigDict
        from mmengine.model import revert_sync_batchnorm
        from mmseg.registry import MODELS

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about losses, which are unused
            config = ConfigDict(_constructible(model))
            return revert_sync_batchnorm(MODELS.build(config if part is None else config[part]))
    except Exception as error:
        raise InputError(
            f"model '{name}': mmseg cannot build its config"
            + (missing(error, model) or f" ({type(error).__name__}: {error})")
        ) from error


def has_usual_windows(network: Any) -> bool:
    """Tell whether a network's class inherits mmseg's own sliding inference.

    Args:
        network: An mmseg segmentor.
    """
    from mmseg.models.segmentors import EncoderDecoder

    methods = ("inference", "slide_inference")
    return all(getattr(type(network), m, None) is getattr(EncoderDecoder, m) for m in methods)


def _constructible(model: dict[str, Any]) -> dict[str, Any]:
    """Return a config without ``init_cfg`` for constructors of backbone and neck without it.

    ``_read_config`` writes ``init_cfg`` into every backbone and neck, and fingerprints cover it.
    """
    from mmseg.registry import MODELS

    parts = {}
    for name in ("backbone", "neck"):
        part = model.get(name)
        if not isinstance(part, dict):
            continue
        kind = MODELS.get(part.get("type"))
        if kind is not None and "init_cfg" not in inspect.signature(kind).parameters:
            parts[name] = {k: v for k, v in part.items() if k != "init_cfg"}
    return {**model, **parts}


def import_libraries() -> None:
    """Import mmseg's registries, with warnings about optional packages off."""
    logging.getLogger("mmengine").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmseg.models  # noqa: F401
        from mmengine.registry import init_default_scope
    init_default_scope("mmseg")
