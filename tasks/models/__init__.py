"""Models by adapter: what is known of one without loading it, a check, and the load itself."""

from types import ModuleType

from segtransfer.errors import InputError
from segtransfer.tasks.models import label_map, scaled
from segtransfer.tasks.models.base import ModelInfo, Segmenter
from segtransfer.tasks.models.checkpoint import sha256_of
from segtransfer.tasks.models.numerics import REFERENCE, Numerics, with_numerics
from segtransfer.tasks.models.spec import MmsegSource, ModelSpec
from segtransfer.tasks.models.zoo import ZOO


def load(spec: ModelSpec, device: str = "cpu", numerics: Numerics = REFERENCE) -> Segmenter:
    """The model, frozen, in evaluation mode, on ``device``, computing as ``numerics`` say."""
    model = scaled.apply(_adapter(spec).load(_resolve(spec), device), spec.inference)
    if spec.label_map is not None:
        model = label_map.apply(model, spec, _adapter(spec).describe(_resolve(spec)).classes)
    return with_numerics(model, numerics)


def import_libraries(spec: ModelSpec) -> None:
    """Import what loading the model imports: the first time in a process it takes seconds."""
    if spec.ensemble is not None:
        for member in spec.ensemble.members:
            import_libraries(member)
    elif spec.torch is not None:
        _adapter(spec).check(spec)
    else:
        _adapter(spec).import_libraries()


def describe(spec: ModelSpec) -> ModelInfo:
    """Fingerprint, backbone and classes, without loading the model."""
    info = scaled.describe(_adapter(spec).describe(_resolve(spec)), spec.inference)
    return info if spec.label_map is None else label_map.describe(info, spec)


def check(spec: ModelSpec) -> None:
    """Raise InputError where the model cannot work, before any model is loaded.

    A zoo model whose weights have the sha256 that shipped is known to fit its config.
    """
    if spec.zoo is None:
        _adapter(spec).check(spec)
    elif sha256_of(ZOO[spec.zoo].weights) != ZOO[spec.zoo].sha256:
        raise InputError(
            f"the weights of zoo model '{spec.zoo}' are not those that shipped "
            f"({ZOO[spec.zoo].weights}); install segtransfer again"
        )


def _adapter(spec: ModelSpec) -> ModuleType:
    if spec.torch is not None:
        from segtransfer.tasks.models import torch

        return torch
    if spec.huggingface is not None:
        from segtransfer.tasks.models import huggingface

        return huggingface
    if spec.ensemble is not None:
        from segtransfer.tasks.models import ensemble

        return ensemble
    from segtransfer.tasks.models import mmseg

    return mmseg


def _resolve(spec: ModelSpec) -> ModelSpec:
    """A zoo model is an ordinary mmseg model whose files are in the package."""
    if spec.zoo is None:
        return spec
    zoo = ZOO[spec.zoo]
    return spec.model_copy(
        update={
            "zoo": None,
            "mmseg": MmsegSource(config=str(zoo.config), checkpoint=str(zoo.weights)),
            "backbone": spec.backbone or zoo.backbone,
            "classes": spec.classes or zoo.classes,
        }
    )
