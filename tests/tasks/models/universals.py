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
TINY["EomtDinov3"] = {**TINY["Eomt"], "intermediate_size": 32}


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

    torch.manual_seed(0)
    parts: dict[str, Any] = {}
    if not kind.startswith("Eomt"):
        parts["backbone_config"] = transformers.SwinConfig(**SWIN)
    if kind == "MaskFormer":
        parts["decoder_config"] = transformers.DetrConfig(**DETR)
    config = getattr(transformers, f"{kind}Config")(
        **TINY[kind], **parts, id2label=dict(enumerate(classes))
    )
    network = transformers.AutoModelForUniversalSegmentation.from_config(config)
    network.eval()
    inputs = {"pixel_values": torch.rand(1, 3, 64, 64)}
    if kind == "OneFormer":
        inputs["task_inputs"] = torch.randint(50, (1, 77))
    part_queries(network, inputs, len(classes) + 1)
    network.save_pretrained(folder)
    processor_kind = kind.removesuffix("Dinov3")
    processor = getattr(transformers, f"{processor_kind}ImageProcessor")(**fields)
    if kind == "OneFormer":
        processor = transformers.OneFormerProcessor(processor, write_tokenizer(folder))
    processor.save_pretrained(folder)
    return folder


def part_queries(network: Any, inputs: Any, count: int) -> None:
    """Enlarge differences between queries, so that several classes are predicted.

    Args:
        network: The network, with the weights that transformers draws.
        inputs: The inputs of a forward of one image.
        count: The number of classes, with that of no object.
    """
    import torch

    linear = {n: m for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
    classifier = [m for m in linear.values() if m.out_features == count][-1]
    masks = [m for n, m in linear.items() if "mask_embed" in n or "mask_head" in n][-1]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.normal_(std=3)
        for _ in range(3):  # masks of one layer change the next one's
            output = network(**inputs)
            for module, values in (
                (classifier, output.class_queries_logits[0]),
                (masks, output.masks_queries_logits[0].flatten(1)),
            ):
                factor = 3 / values.std(0).mean()
                module.weight.mul_(factor)
                module.bias.mul_(factor)
        output = network(**inputs)
        classifier.bias.sub_(output.class_queries_logits[0].mean(0))


def write_tokenizer(folder: Path) -> Any:
    """A CLIP tokenizer of single letters."""
    import transformers

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
