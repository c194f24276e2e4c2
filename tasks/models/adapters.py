"""Models by adapter: describe one without loading it, check it, load it."""

from types import ModuleType

from segtransfer.errors import InputError
from segtransfer.tasks.models import ensemble, huggingface, label_map, mmseg, scaled, torch
from segtransfer.tasks.models.base import ModelInfo, Segmenter
from segtransfer.tasks.models.checkpoint import sha256_of
from segtransfer.tasks.models.numerics import REFERENCE, Numerics, with_numerics
from segtransfer.tasks.models.spec import MmsegSource, ModelSpec
from segtransfer.tasks.models.zoo import ZOO


def load(spec: ModelSpec, device: str = "cpu", numerics: Numerics = REFERENCE) -> Segmenter:
    """Load a model, frozen and in evaluation mode.

    Args:
        spec: The model.
        device: A torch device, for example ``cuda:0``.
        numerics: The options to compute with; ``Segmenter.numerics`` says which are on.

    Returns:
        The model on ``device``, behind its scale and its label map.

    Raises:
        InputError: If files are missing or do not fit, or an option that is ``true`` is impossible.
    """
    if spec.ensemble is not None:
        members = [load(member, device) for member in spec.ensemble.members]
        return with_numerics(ensemble.combine(spec, members), numerics)
    adapter, resolved = _adapter(spec), _resolve(spec)
    model = scaled.apply(adapter.load(resolved, device), spec.inference)
    if spec.label_map is not None:
        model = label_map.apply(model, spec, adapter.describe(resolved).classes)
    return with_numerics(model, numerics)


def import_libraries(spec: ModelSpec) -> None:
    """Import the libraries that loading a model needs; the first import takes seconds."""
    if spec.ensemble is not None:
        for member in spec.ensemble.members:
            import_libraries(member)
    elif spec.torch is not None:
        _adapter(spec).check(spec)
    else:
        _adapter(spec).import_libraries()


def describe(spec: ModelSpec) -> ModelInfo:
    """Return fingerprint, backbone and classes of a model without loading it."""
    if spec.ensemble is not None:
        return ensemble.describe(spec, [describe(member) for member in spec.ensemble.members])
    info = scaled.describe(_adapter(spec).describe(_resolve(spec)), spec.inference)
    return info if spec.label_map is None else label_map.describe(info, spec)


def check(spec: ModelSpec) -> None:
    """Check that a model can work, before any model is loaded.

    A zoo model whose weights have the sha256 that shipped is known to fit its config.

    Raises:
        InputError: If the model cannot be built, or its weights do not fit.
    """
    if spec.ensemble is not None:
        for member in spec.ensemble.members:
            check(member)
    elif spec.zoo is None:
        _adapter(spec).check(spec)
    elif sha256_of(ZOO[spec.zoo].weights) != ZOO[spec.zoo].sha256:
        raise InputError(
            f"the weights of zoo model '{spec.zoo}' are not those that shipped "
            f"({ZOO[spec.zoo].weights}); install segtransfer again"
        )


def _adapter(spec: ModelSpec) -> ModuleType:
    """Return the module that loads, checks and describes models of the spec's library."""
    if spec.torch is not None:
        return torch
    return mmseg if spec.huggingface is None else huggingface


def _resolve(spec: ModelSpec) -> ModelSpec:
    """Return a zoo model as the ordinary mmseg model whose files are in the package."""
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
