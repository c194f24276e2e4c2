"""Names to import in losses, transforms, gradient rules, presets, models and other own parts.

A loss is a function of logits (float N x K x H x W), labels (int64 N x H x W, ``IGNORE_INDEX`` for
pixels without a class) and a ``LossContext``. The function returns N numbers, which the attack
maximises:

    # my_losses.py
    import torch.nn.functional as F
    from segtransfer.extend import IGNORE_INDEX, mean_labelled


    def cross_entropy(logits, labels, context):
        pixels = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
        return context.sign * mean_labelled(pixels, labels)

An attack names the loss in its spec: ``{preset: pgd, loss: "my_losses:cross_entropy"}``. Parts of
every other kind are named alike, as ``module:attribute``.

Losses: the function type ``Loss``; ``LossContext``, the step and the direction; ``mean_labelled``,
the mean over labelled pixels; ``fooled``, the mask of pixels already won; ``IGNORE_INDEX``, 255;
the decorator ``reads_features`` for losses of an intermediate layer, ``prepared_by`` for a
reference computed once per run from a ``Preparation``, ``keeps_memory`` for values kept between
steps; the registry ``LOSSES``.

Transforms: derive a class from ``TransformSpec`` and define its method ``view``, from images and a
``TransformContext`` to a ``View``. Make views with ``resize``, ``window`` and ``then``; round sizes
with ``snap``; ``same`` maps labels or logits to themselves; ``align`` brings logits and labels to
one resolution. ``StepRandom`` gives random numbers. The registry is ``TRANSFORMS``.

Gradient rules: derive a class from ``GradientRule`` and define its method ``gradient``, from a
``GradientStep`` to a ``Gradient``. The registry is ``GRADIENTS``.

Presets: ``Preset``, fields of an attack under a name; the registry ``PRESETS``.

Models: derive a class from ``AdapterSpec`` and define its method ``load``, which returns a
``Segmenter``. ``freeze`` sets evaluation mode; ``ModelInfo`` describes a model that is not loaded.
The registry is ``ADAPTERS``.

Defences: derive a class from ``DefenceSpec`` and define its method ``logits``, from images and the
model behind the defence to logits. ``straight_through`` gives a step without a gradient the
backward of the identity. The registry is ``DEFENCES``.

Data: derive a class from ``ReaderSpec`` and define its method ``open``, which returns a ``Dataset``
of ``DataItem``. ``read_image`` and ``read_index_map`` read files, ``palette_for`` chooses colours.
The registry is ``READERS``.

Metrics: ``Score``, a metric in percent with its traits; the registry ``METRICS``.

Fields of a spec: ``Frozen`` is the base class. Its field types are ``Number`` (finite, also written
``8/255``), ``Whole`` (an integer), ``Flag`` (true or false) and ``AnyPath`` (a path or URL; a
relative path starts at the folder of the spec's file).

Errors: raise ``InputError`` with one sentence: the fault, its place and value, the allowed values,
and one action.
"""

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.gradient_rules.base import (
    GRADIENTS,
    Gradient,
    GradientRule,
    GradientStep,
)
from segtransfer.tasks.attacks.losses import (
    LOSSES,
    Loss,
    LossContext,
    fooled,
    keeps_memory,
    mean_labelled,
    prepared_by,
    reads_features,
)
from segtransfer.tasks.attacks.preparation import Preparation
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
from segtransfer.tasks.models.base import Segmenter, freeze
from segtransfer.tasks.models.bpda import straight_through
from segtransfer.tasks.models.defences.base import DEFENCES, DefenceSpec
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.schema import AnyPath, Flag, Frozen, Number, Whole

__all__ = [
    "ADAPTERS",
    "DEFENCES",
    "GRADIENTS",
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
    "DefenceSpec",
    "Flag",
    "Frozen",
    "Gradient",
    "GradientRule",
    "GradientStep",
    "InputError",
    "Loss",
    "LossContext",
    "ModelInfo",
    "Number",
    "Preparation",
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
    "keeps_memory",
    "mean_labelled",
    "palette_for",
    "prepared_by",
    "read_image",
    "read_index_map",
    "reads_features",
    "resize",
    "same",
    "snap",
    "straight_through",
    "then",
    "window",
]
