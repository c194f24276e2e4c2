"""Tiny untrained universal networks on disk, as transformers' save_pretrained leaves them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SWIN: dict[str, Any] = {
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
DETR: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 10,
}
DECODER: dict[str, Any] = {
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "dim_feedforward": 32,
    "num_queries": 10,
}
TINY: dict[str, dict[str, Any]] = {
    "Mask2Former": {**DECODER, "feature_size": 32, "mask_feature_size": 32},
    "MaskFormer": {"fpn_feature_size": 32, "mask_feature_size": 32},
    "OneFormer": {
        **DECODER,
        "conv_dim": 32,
        "mask_dim": 32,
        "text_encoder_width": 32,
        "text_encoder_num_layers": 1,
        "query_dec_layers": 1,
    },
    "Eomt": {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "num_blocks": 1,
        "num_queries": 10,
        "mlp_ratio": 2,
    },
}


def write_universal(kind: str, folder: Path, classes: Sequence[str], **fields: Any) -> Path:
    """A model of random weights and its processor; returns ``folder``.

    Args:
        kind: A key of ``TINY``.
        folder: The folder to write.
        classes: The names of the classes.
        fields: Fields of the image processor.
    """
    import torch
    import transformers

    torch.manual_seed(2)  # draws for which several classes are predicted
    parts: dict[str, Any] = {}
    if kind != "Eomt":
        parts["backbone_config"] = transformers.SwinConfig(**SWIN)
    if kind == "MaskFormer":
        parts["decoder_config"] = transformers.DetrConfig(**DETR)
    config = getattr(transformers, f"{kind}Config")(
        **TINY[kind], **parts, id2label=dict(enumerate(classes))
    )
    network = transformers.AutoModelForUniversalSegmentation.from_config(config)
    for module in network.modules():  # transformers draws weights so small that signals fade out
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight)
    network.eval()
    tokens = {"task_inputs": torch.randint(50, (1, 77))} if kind == "OneFormer" else {}
    part_queries(network, torch.rand(1, 3, 64, 64), tokens, len(classes) + 1)
    network.save_pretrained(folder)
    processor = getattr(transformers, f"{kind}ImageProcessor")(**fields)
    if kind == "OneFormer":
        processor = transformers.OneFormerProcessor(processor, write_tokenizer(folder))
    processor.save_pretrained(folder)
    return folder


def part_queries(network: Any, images: Any, tokens: dict[str, Any], count: int) -> None:
    """Set the classifier of queries so that they answer differently, as a trained one's do.

    Args:
        network: The network.
        images: float 1 x 3 x H x W.
        tokens: Further inputs of the network.
        count: The number of classes, with that of no object.
    """
    import torch

    seen: list[tuple[Any, Any]] = []
    hooks = [
        module.register_forward_hook(lambda m, given, _: seen.append((m, given[0])))
        for module in network.modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == count
    ]
    with torch.no_grad():
        network(pixel_values=images, **tokens)
        for hook in hooks:
            hook.remove()
        classifier, features = seen[-1][0], seen[-1][1].flatten(0, -2)
        wanted = 3 * torch.randn(len(features), count)
        mean = features.mean(0)
        classifier.weight.copy_((torch.linalg.pinv(features - mean, rtol=0.1) @ wanted).T)
        classifier.bias.copy_(-classifier.weight @ mean)


def write_tokenizer(folder: Path) -> Any:
    """A CLIP tokenizer of single letters."""
    import transformers

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
