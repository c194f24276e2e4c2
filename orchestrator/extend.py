"""The names that authors of losses, transforms, models and readers of data import.

A loss is a function of logits (N x K x H x W), labels (int64 N x H x W, ``IGNORE_INDEX`` for pixels
without a class) and a ``LossContext``. It returns N numbers, which the attack maximises:

    # my_losses.py
    import torch.nn.functional as F
    from segtransfer.extend import IGNORE_INDEX, mean_labelled


    def cross_entropy(logits, labels, context):
        pixels = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
        return context.sign * mean_labelled(pixels, labels)

An attack names the loss in its spec: ``{preset: pgd, loss: "my_losses:cross_entropy"}``.

Losses: ``LossContext``, ``Loss``, ``mean_labelled``, ``fooled``, ``IGNORE_INDEX``, the decorator
``reads_features`` of losses of an intermediate layer, and the registry ``LOSSES``.

Transforms: a class derived from ``TransformSpec``, a ``Frozen`` with fields (``Number``, ``Whole``,
``Flag``) and a method from images and ``TransformContext`` to a ``View``. Views are made with
``resize``, ``window``, ``then``, ``snap``, ``same`` and ``align``; random numbers come from the
context's ``StepRandom``; the registry is ``TRANSFORMS``.

Presets: ``Preset``, and the registry ``PRESETS``.

Models: a class derived from ``AdapterSpec``, with typed fields (``AnyPath`` for files) and a method
to load a ``Segmenter``; ``freeze``, ``ModelInfo``; the registry is ``ADAPTERS``.

Readers: a class derived from ``ReaderSpec``, with typed fields and a method to open a ``Dataset``
of ``DataItem``; ``read_image``, ``read_index_map``, ``palette_for``; the registry is ``READERS``.

Metrics: ``Score``, a metric with its traits; the registry is ``METRICS``.

Errors: ``InputError``, one sentence that says what is wrong and what is allowed.
"""

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.losses import (
    LOSSES,
    Loss,
    LossContext,
    fooled,
    mean_labelled,
    reads_features,
)
from segtransfer.tasks.attacks.presets import PRESETS, Preset
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import TRANSFORMS, TransformSpec
from segtransfer.tasks.attacks.transforms.views import (
    TransformContext,
    View,
    align,
    resize,
    same,
    snap,
    then,
    window,
)
from segtransfer.tasks.data.base import DataItem, Dataset, palette_for
from segtransfer.tasks.data.reader_spec import READERS, ReaderSpec
from segtransfer.tasks.image_files import read_image
from segtransfer.tasks.labels import IGNORE_INDEX, read_index_map
from segtransfer.tasks.metrics import METRICS, Score
from segtransfer.tasks.models.adapter_spec import ADAPTERS, AdapterSpec
from segtransfer.tasks.models.base import ModelInfo, Segmenter, freeze
from segtransfer.tasks.schema import AnyPath, Flag, Frozen, Number, Whole

__all__ = [
    "ADAPTERS",
    "IGNORE_INDEX",
    "LOSSES",
    "METRICS",
    "PRESETS",
    "READERS",
    "TRANSFORMS",
    "AdapterSpec",
    "AnyPath",
    "DataItem",
    "Dataset",
    "Flag",
    "Frozen",
    "InputError",
    "Loss",
    "LossContext",
    "ModelInfo",
    "Number",
    "Preset",
    "ReaderSpec",
    "Score",
    "Segmenter",
    "StepRandom",
    "TransformContext",
    "TransformSpec",
    "View",
    "Whole",
    "align",
    "fooled",
    "freeze",
    "mean_labelled",
    "palette_for",
    "read_image",
    "read_index_map",
    "reads_features",
    "resize",
    "same",
    "snap",
    "then",
    "window",
]
