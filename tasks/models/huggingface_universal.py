"""Universal networks of transformers: logits per pixel from a class and a mask per query."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.models.huggingface_files import quiet_library
from segtransfer.tasks.models.huggingface_network import HuggingfaceSegmenter
from segtransfer.tasks.models.huggingface_pixels import Preprocessing, processor_of
from segtransfer.tasks.models.sliding import stitch
from segtransfer.tasks.models.spec import ModelSpec

# Raise if the logits change for the same network and images.
UNIVERSAL_VERSION = 1
# Height and width to which Mask2Former's processor resizes masks before their sigmoid.
MASK2FORMER_SIZE = (384, 384)


class UniversalSegmenter(HuggingfaceSegmenter):
    """A universal network with ``post_process_semantic_segmentation`` of its processor.

    Logits are the class scores of the library: per class, the sum over queries of the probability
    of the class times the probability of the mask.
    """

    tokens: torch.Tensor
    masks_at: tuple[int, int] | None = None

    def __init__(self, network: Any, preprocessing: Preprocessing, tokens: list[int]) -> None:
        super().__init__(network, preprocessing)
        if network.config.model_type == "mask2former":
            self.masks_at = MASK2FORMER_SIZE
        self.register_buffer("tokens", torch.tensor(tokens, dtype=torch.long), persistent=False)

    @override
    def answer(self, inputs: torch.Tensor) -> torch.Tensor:
        task = {"task_inputs": self.tokens.expand(len(inputs), -1)} if len(self.tokens) else {}
        output = self.network(pixel_values=inputs, **task)
        classes = output.class_queries_logits.softmax(-1)[..., :-1]
        masks = output.masks_queries_logits
        if self.masks_at is not None:
            masks = F.interpolate(masks, self.masks_at, mode="bilinear", align_corners=False)
        scores = torch.einsum("bqc, bqhw -> bchw", classes, masks.sigmoid())
        return F.interpolate(scores, inputs.shape[-2:], mode="bilinear", align_corners=False)


class WindowedSegmenter(UniversalSegmenter):
    """An EoMT network, for squares of fixed size: windows as in its processor.

    Windows overlap evenly. Sides shorter than a window are padded with black.
    """

    def __init__(self, network: Any, preprocessing: Preprocessing) -> None:
        super().__init__(network, preprocessing, [])
        self.side = int(network.config.image_size)
        self.masks_at = (self.side, self.side)
        self.size_divisor = 1

    @override
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        short = (0, max(self.side - width, 0), 0, max(self.side - height, 0))
        inputs = self.preprocessed(F.pad(images, short))
        spans = self._windows(*inputs.shape[-2:])
        logits = stitch(self.answer, inputs, spans, again=self.deterministic)
        return logits[..., :height, :width]

    @override
    def pixels_seen(self, height: int, width: int) -> int:
        return len(self._windows(height, width)) * self.side**2

    def _windows(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """Return (top, bottom, left, right) of every window, row by row, in pixels."""
        rows, columns = self._spans(height), self._spans(width)
        return [(*row, *column) for row in rows for column in columns]

    def _spans(self, length: int) -> list[tuple[int, int]]:
        count = math.ceil(length / self.side)
        overlap = (count * self.side - length) / (count - 1) if count > 1 else 0
        starts = (int(i * (self.side - overlap)) for i in range(count))
        return [(start, start + self.side) for start in starts]


def universal(network: Any, preprocessing: Preprocessing, tokens: list[int]) -> UniversalSegmenter:
    """Return a universal network as a model.

    Args:
        network: The network of transformers.
        preprocessing: The effect of its image processor on pixels.
        tokens: The result of ``task_tokens``.

    Returns:
        A ``WindowedSegmenter`` for EoMT, else a ``UniversalSegmenter``; not yet frozen.
    """
    if network.config.model_type.startswith("eomt"):
        return WindowedSegmenter(network, preprocessing)
    return UniversalSegmenter(network, preprocessing, tokens)


def task_tokens(spec: ModelSpec, folder: Path, config: dict[str, Any]) -> list[int]:
    """Return the tokens of OneFormer's semantic task, as its processor makes them.

    Args:
        spec: The model.
        folder: The folder of its files.
        config: The config of its network.

    Returns:
        Token numbers; empty for any other network.

    Raises:
        InputError: If the folder has no usable tokenizer.
    """
    if config["model_type"] != "oneformer":
        return []
    written = "write the folder with save_pretrained of a OneFormerProcessor, tokenizer included"
    for name in ("vocab.json", "merges.txt"):
        # Without these, transformers would make a tokenizer of no words.
        if not (folder / name).is_file() and not (folder / "tokenizer.json").is_file():
            raise InputError(
                f"model '{spec.name}': {folder} has neither tokenizer.json nor {name}; {written}"
            )
    transformers = quiet_library()
    try:
        processor = transformers.OneFormerProcessor(
            processor_of(folder, config),
            transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True),
            task_seq_length=config.get("task_seq_len", transformers.OneFormerConfig.task_seq_len),
        )
        images = [np.zeros((32, 32, 3), np.uint8)]
        tokens = processor(images, task_inputs=["semantic"], do_resize=False)["task_inputs"]
    except Exception as error:  # the tokenizer and the processor raise their own kinds
        raise InputError(
            f"model '{spec.name}': transformers cannot tokenise OneFormer's task with {folder} "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); {written}"
        ) from error
    return [int(token) for token in tokens[0]]
