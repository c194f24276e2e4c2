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

Losses: ``LossContext``, ``Loss``, ``mean_labelled``, ``fooled``, ``IGNORE_INDEX``, and the
registries ``LOSSES`` and ``FEATURE_LOSSES``.

Transforms: a spec (``Frozen``, ``Number``) and a function of images, spec and ``TransformContext``
that returns a ``View``, made with ``resize``, ``window``, ``then``, ``snap``, ``same`` and
``align``; random numbers come from the context's ``StepRandom``; the registry is ``TRANSFORMS``.

Presets: ``Preset``, and the registry ``PRESETS``.

Models: ``Segmenter``, ``freeze``, ``ModelInfo``.

Readers: ``Dataset``, ``DataItem``, ``read_image``, ``read_index_map``, ``palette_for``.

Errors: ``InputError``, one sentence that says what is wrong and what is allowed.
"""

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.features import FEATURE_LOSSES
from segtransfer.tasks.attacks.losses import LOSSES, Loss, LossContext, fooled, mean_labelled
from segtransfer.tasks.attacks.presets import PRESETS, Preset
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import TRANSFORMS
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
from segtransfer.tasks.data.base import (
    DataItem,
    Dataset,
    palette_for,
    read_image,
    read_index_map,
)
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.models.base import ModelInfo, Segmenter, freeze
from segtransfer.tasks.schema import Frozen, Number

__all__ = [
    "FEATURE_LOSSES",
    "IGNORE_INDEX",
    "LOSSES",
    "PRESETS",
    "TRANSFORMS",
    "DataItem",
    "Dataset",
    "Frozen",
    "InputError",
    "Loss",
    "LossContext",
    "ModelInfo",
    "Number",
    "Preset",
    "Segmenter",
    "StepRandom",
    "TransformContext",
    "View",
    "align",
    "fooled",
    "freeze",
    "mean_labelled",
    "palette_for",
    "read_image",
    "read_index_map",
    "resize",
    "same",
    "snap",
    "then",
    "window",
]
