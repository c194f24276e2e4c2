"""Files of transformers models: the folder, its JSON files and its weights."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError, ServerError
from segtransfer.tasks.models.files import foreign_kind
from segtransfer.tasks.models.spec import HUB_NAME, HuggingfaceSource, ModelSpec
from segtransfer.tasks.urls import without_credentials

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
TOKENIZER = ("tokenizer*", "vocab.json", "merges.txt", "special_tokens_map.json")
PURPOSE = "ForSemanticSegmentation"
# Types in config.json of networks with a class and a mask per query, and their purposes.
UNIVERSAL = ("eomt", "eomt_dinov3", "mask2former", "maskformer", "oneformer")
UNIVERSAL_PURPOSES = ("ForUniversalSegmentation", "ForInstanceSegmentation")
SAFE_WEIGHTS, TORCH_WEIGHTS = "model.safetensors", "pytorch_model.bin"


def source(spec: ModelSpec) -> HuggingfaceSource:
    """Return the source of a model of transformers."""
    assert spec.huggingface is not None
    return spec.huggingface


def folder_of(spec: ModelSpec) -> Path:
    """Return the folder of the model's files.

    Args:
        spec: The model, with ``huggingface``.

    Returns:
        The spec's folder, or the hub's local cache, downloaded once.

    Raises:
        InputError: If transformers is not installed, there is no such folder or model, or a folder
            has a ``revision``.
        ServerError: If the hub fails or refuses for lack of capacity.
    """
    asked = source(spec)
    if find_spec("transformers") is None:
        raise InputError(
            f"model '{spec.name}' needs the package transformers; "
            "pip install 'segtransfer[huggingface]'"
        )
    folder = Path(asked.model)
    if folder.is_dir():
        if asked.revision is not None:
            raise InputError(
                f"model '{spec.name}': revision is '{asked.revision}', and {folder} is a folder "
                "without revisions; leave revision out"
            )
        return folder
    if not HUB_NAME.fullmatch(asked.model):
        raise InputError(
            f"model '{spec.name}': folder {folder} does not exist; give a folder, or a name on the "
            "Hugging Face hub"
        )
    return _from_hub(spec)


def _from_hub(spec: ModelSpec) -> Path:
    """Return the folder of a hub's model in the local cache, after a download."""
    import huggingface_hub

    asked = source(spec)
    patterns = ["config.json", PREPROCESSOR, PROCESSOR, "model*.safetensors", "model*.json"]
    patterns += TOKENIZER
    patterns += ["pytorch_model*"] if asked.trust else []
    try:
        return Path(
            huggingface_hub.snapshot_download(
                asked.model, revision=asked.revision, allow_patterns=patterns
            )
        )
    except Exception as error:  # the hub, the network and the cache raise their own kinds
        reason = without_credentials((str(error).strip() or type(error).__name__).splitlines()[0])
        status = getattr(getattr(error, "response", None), "status_code", None) or 0
        if status >= 500 or status == 429:
            raise ServerError(
                f"model '{spec.name}': the Hugging Face hub failed on '{asked.model}' "
                f"({type(error).__name__}: {reason}); try again later"
            ) from error
        raise InputError(
            f"model '{spec.name}': '{asked.model}' is no folder, and the Hugging Face hub refused "
            f"the name ({type(error).__name__}: {reason}); check the name, or log in to the hub"
        ) from error


def config_of(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """Return the config of a network for semantic or universal segmentation.

    Args:
        spec: The model, for messages.
        folder: The folder of its files.

    Returns:
        The content of config.json.

    Raises:
        InputError: If the file is missing or no JSON, or the network is of another kind.
    """
    config = read_json(spec, folder / "config.json")
    kinds = map(str, config.get("architectures") or [])
    if _head(config) is None:
        raise InputError(
            f"model '{spec.name}': {folder / 'config.json'} has architectures "
            f"{', '.join(kinds) or 'none'}, no semantic-segmentation model; give a model of "
            f"transformers' classes ...{PURPOSE}, or of model_type {', '.join(UNIVERSAL)}"
        )
    if is_universal(config) and config.get("is_training"):
        raise InputError(
            f"model '{spec.name}': {folder / 'config.json'} has is_training: true, with which "
            "transformers needs texts of the training; set is_training to false there"
        )
    return config


def is_universal(config: dict[str, Any]) -> bool:
    """Tell whether a network returns a class and a mask per query.

    Args:
        config: The content of config.json.
    """
    return config.get("model_type") in UNIVERSAL


def head_of(config: dict[str, Any]) -> str:
    """Return the architecture of a checked config without its purpose, for example Segformer.

    Args:
        config: The result of ``config_of``.
    """
    head = _head(config)
    assert head is not None
    return head


def _head(config: dict[str, Any]) -> str | None:
    purposes = UNIVERSAL_PURPOSES if is_universal(config) else (PURPOSE,)
    kinds = config.get("architectures") or []
    heads = (k.removesuffix(p) for k in kinds for p in purposes if k.endswith(p))
    return next(heads, None)


def read_json(spec: ModelSpec, path: Path) -> dict[str, Any]:
    """Return the content of a JSON file of the model.

    Raises:
        InputError: If the file is missing or no JSON object.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"model '{spec.name}': {path.parent} has no {path.name}; write the folder with "
            "save_pretrained of the model and of its image processor"
        ) from None
    except ValueError as error:
        kind = foreign_kind(path)
        reason = f"it is {kind}" if kind else error
        raise InputError(
            f"model '{spec.name}': {path} is no valid JSON: {reason}; download or save it again"
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"model '{spec.name}': {path} holds a {type(content).__name__}, not a mapping; write "
            "the file with save_pretrained"
        )
    return content


def weight_paths(spec: ModelSpec, folder: Path) -> list[Path]:
    """Return the files of weights for transformers, in its order of preference.

    Args:
        spec: The model, with ``huggingface.trust``.
        folder: The folder of its files.

    Returns:
        A file, or the shards of an index, sorted.

    Raises:
        InputError: If there are none, or a file is a web page or a pointer in place of weights.
    """
    files = _weight_files(spec, folder)
    for path in files:
        if kind := foreign_kind(path):
            raise InputError(
                f"model '{spec.name}': {path} holds no weights: it is {kind}; download it again"
            )
    return files


def _weight_files(spec: ModelSpec, folder: Path) -> list[Path]:
    for name in (SAFE_WEIGHTS, TORCH_WEIGHTS) if source(spec).trust else (SAFE_WEIGHTS,):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = sorted(set(read_json(spec, index)["weight_map"].values()))
            gone = [shard for shard in shards if not (folder / shard).is_file()]
            if gone:
                raise InputError(
                    f"model '{spec.name}': {index} names {gone[0]}, which is missing; add the file"
                )
            return [folder / shard for shard in shards]
    unsafe = any(folder.glob(f"{Path(TORCH_WEIGHTS).stem}*"))
    raise InputError(
        f"model '{spec.name}': {folder} has no {SAFE_WEIGHTS}"
        + (
            f", only {TORCH_WEIGHTS}; if you trust its origin, set trust: true"
            if unsafe
            else "; write the model with save_pretrained"
        )
    )


def quiet_library() -> Any:
    """Import transformers, with its warnings and progress bars off, and return the module."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
