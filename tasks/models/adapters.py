"""Models by adapter: describe one without loading it, check it, load it."""

from types import ModuleType

from segtransfer.errors import InputError
from segtransfer.tasks.models import ensemble, foreign, huggingface, label_map, mmseg, scaled, torch
from segtransfer.tasks.models.base import ModelInfo, Segmenter
from segtransfer.tasks.models.builds import SAME_BUILD, builds_kept
from segtransfer.tasks.models.checkpoint import sha256_of
from segtransfer.tasks.models.numerics import REFERENCE, Numerics, with_numerics
from segtransfer.tasks.models.probe import examine, learn_sizes
from segtransfer.tasks.models.sliding import with_windows
from segtransfer.tasks.models.spec import MmsegSource, ModelSpec
from segtransfer.tasks.models.zoo import ZOO


def load(spec: ModelSpec, device: str = "cpu", numerics: Numerics = REFERENCE) -> Segmenter:
    """Load a model, frozen and in evaluation mode.

    Args:
        spec: The model.
        device: A torch device, for example ``cuda:0``.
        numerics: The options to compute with; ``Segmenter.numerics`` says which are on.

    Returns:
        The model on ``device``, behind its windows, its scale and its label map.

    Raises:
        InputError: If files are missing or do not fit, or an option that is ``true`` is impossible.
    """
    if spec.ensemble is not None:
        members = [load(member, device) for member in spec.ensemble.members]
        model: Segmenter = ensemble.combine(spec, members)
    else:
        adapter, resolved = _adapter(spec), _resolve(spec)
        model = adapter.load(resolved, device)
        learn_sizes(model)
        if adapter is not mmseg:  # whose networks have windows of their own
            model = with_windows(model, spec.inference)
        model = scaled.apply(model, spec.inference)
        if spec.label_map is not None:
            model = label_map.apply(model, spec, adapter.classes(resolved))
        for part in model.modules():
            if isinstance(part, Segmenter):
                part.name = spec.name
    model.name = spec.name
    return with_numerics(model, numerics)


def load_planned(
    spec: ModelSpec,
    fingerprint: str,
    device: str = "cpu",
    numerics: Numerics = REFERENCE,
) -> Segmenter:
    """Load a model whose fingerprint must be that of the plan, and examine it with a probe.

    Args:
        spec: The model.
        fingerprint: The planned fingerprint.
        device: A torch device, for example ``cuda:0``.
        numerics: The options to compute with.

    Raises:
        InputError: As ``load``; or if the fingerprint differs, or the model's output is no logits.
    """
    with builds_kept():
        if describe(spec).fingerprint != fingerprint:
            raise InputError(
                "this node holds other weights than planned; give every node the same files"
                + (f"; {SAME_BUILD}" if _has_callable(spec) else "")
            )
        model = load(spec, device, numerics)
    examine(model)
    return model


def _has_callable(spec: ModelSpec) -> bool:
    members = spec.ensemble.members if spec.ensemble is not None else (spec,)
    return any(
        member.adapter is not None or (member.torch is not None and not member.torch.weights)
        for member in members
    )


def import_libraries(spec: ModelSpec) -> None:
    """Import the libraries that loading a model needs; the first import takes seconds."""
    if spec.ensemble is not None:
        for member in spec.ensemble.members:
            import_libraries(member)
    elif spec.torch is not None:
        torch.import_callable(spec)
    elif spec.adapter is not None:
        foreign.import_code(spec)
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
    if spec.adapter is not None:
        return foreign
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
