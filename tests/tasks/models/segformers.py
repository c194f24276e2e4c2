"""Tiny untrained SegFormers on disk, as transformers' save_pretrained leaves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TINY: dict[str, Any] = {
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 16,
}


def write_segformer(folder: Path, classes: Sequence[str], seed: int = 0) -> Path:
    """A model of random weights and its image processor; returns ``folder``."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.SegformerConfig(**TINY, id2label=dict(enumerate(classes)))
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    transformers.SegformerImageProcessor().save_pretrained(folder)
    return folder
