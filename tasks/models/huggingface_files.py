"""Files of transformers models: the folder, its JSON files and its weights."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError, ServerError
from segtransfer.tasks.models.checkpoint import foreign_kind
from segtransfer.tasks.models.spec import HUB_NAME, HuggingfaceSource, ModelSpec
from segtransfer.tasks.urls import without_credentials

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
TOKENIZER = ("tokenizer*", "vocab.json", "merges.txt", "special_tokens_map.json")
PURPOSE = "ForSemanticSegmentation"
# Types of config.json whose networks answer with a class and a mask per query, and their purposes.
UNIVERSAL = ("eomt", "eomt_dinov3", "mask2former", "maskformer", "oneformer")
UNIVERSAL_PURPOSES = ("ForUniversalSegmentation", "ForInstanceSegmentation")
SAFE_WEIGHTS, TORCH_WEIGHTS = "model.safetensors", "pytorch_model.bin"


def source(spec: ModelSpec) -> HuggingfaceSource:
    assert spec.huggingface is not None
    return spec.huggingface


def folder_of(spec: ModelSpec) -> Path:
    """Return the folder of the model's files: the spec's, or the hub's cache, filled once."""
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
                f"model '{spec.name}': revision '{asked.revision}' belongs to a name on the hub, "
                f"and {folder} is a folder; leave it out"
            )
        return folder
    if not HUB_NAME.fullmatch(asked.model):
        raise InputError(f"model '{spec.name}': folder {folder} does not exist")
    import huggingface_hub

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
            f"model '{spec.name}': '{asked.model}' is neither a folder nor a model that the "
            f"Hugging Face hub gave ({type(error).__name__}: {reason})"
        ) from error


def config_of(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """Return the config of a network for semantic or universal segmentation.

    Raises:
        InputError: If the file is missing or no JSON, or the network is of another kind.
    """
    config = read_json(spec, folder / "config.json")
    kinds = map(str, config.get("architectures") or [])
    if _head(config) is None:
        raise InputError(
            f"model '{spec.name}': {folder / 'config.json'} says architectures "
            f"{', '.join(kinds) or 'nothing'}, which is no semantic-segmentation model; "
            f"give one of transformers' ...{PURPOSE}, or a universal one of model_type "
            f"{', '.join(UNIVERSAL)}"
        )
    if is_universal(config) and config.get("is_training"):
        raise InputError(
            f"model '{spec.name}': {folder / 'config.json'} says is_training, so that transformers "
            "asks for the texts of the training; set is_training to false there"
        )
    return config


def is_universal(config: dict[str, Any]) -> bool:
    """Tell whether a network answers with a class and a mask per query."""
    return config.get("model_type") in UNIVERSAL


def head_of(config: dict[str, Any]) -> str:
    """Return the architecture of a checked config without its purpose, for example Segformer."""
    head = _head(config)
    assert head is not None
    return head


def _head(config: dict[str, Any]) -> str | None:
    purposes = UNIVERSAL_PURPOSES if is_universal(config) else (PURPOSE,)
    kinds = config.get("architectures") or []
    heads = (k.removesuffix(p) for k in kinds for p in purposes if k.endswith(p))
    return next(heads, None)


def read_json(spec: ModelSpec, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"model '{spec.name}': {path.parent} has no {path.name}; it holds what "
            "save_pretrained writes of a model and of its image processor"
        ) from None
    except ValueError as error:
        kind = foreign_kind(path)
        reason = f"it is {kind}" if kind else error
        raise InputError(f"model '{spec.name}': {path} is no valid JSON: {reason}") from error
    if not isinstance(content, dict):
        raise InputError(
            f"model '{spec.name}': {path} holds {type(content).__name__}; it must be a mapping, as "
            "save_pretrained writes it"
        )
    return content


def weight_paths(spec: ModelSpec, folder: Path) -> list[Path]:
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
    for name in (SAFE_WEIGHTS, TORCH_WEIGHTS) if source(spec).trust else (SAFE_WEIGHTS,):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = sorted(set(read_json(spec, index)["weight_map"].values()))
            gone = [shard for shard in shards if not (folder / shard).is_file()]
            if gone:
                raise InputError(f"model '{spec.name}': {index} names {gone[0]}, which is missing")
            return [folder / shard for shard in shards]
    unsafe = any(folder.glob(f"{Path(TORCH_WEIGHTS).stem}*"))
    raise InputError(
        f"model '{spec.name}': {folder} has no {SAFE_WEIGHTS}"
        + (f", only {TORCH_WEIGHTS}; if you trust its origin, set trust: true" if unsafe else "")
    )


def quiet_library() -> Any:
    """Import transformers without its notices."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
