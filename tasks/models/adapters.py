"""Models by adapter: description, check and loading."""

from types import ModuleType

from segtransfer.errors import InputError
from segtransfer.tasks.models import (
    defended,
    ensemble,
    foreign,
    huggingface,
    label_map,
    mmseg,
    mmseg_classifier,
    scaled,
    torch,
)
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
        numerics: The requested options; ``Segmenter.numerics`` of the result has the active ones.

    Returns:
        The model on ``device``, inside its windows, scale, defences and label map.

    Raises:
        InputError: If files are missing or do not fit, or an option set to ``true`` is impossible.
        ServerError: If the server of the weights fails or cannot be reached.
    """
    if spec.ensemble is not None:
        members = [load(member, device) for member in spec.ensemble.members]
        model: Segmenter = ensemble.combine(spec, members)
    else:
        adapter, resolved = _adapter(spec), _resolve(spec)
        model = adapter.load(resolved, device)
        learn_sizes(model)
        if adapter is not mmseg:  # mmseg's networks have windows of their own
            model = with_windows(model, spec.inference)
        model = defended.apply(scaled.apply(model, spec.inference), spec.defences)
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
    """Load a model, check its fingerprint against the plan, and examine it with a probe.

    Args:
        spec: The model.
        fingerprint: The planned fingerprint.
        device: A torch device, for example ``cuda:0``.
        numerics: The requested options.

    Returns:
        The model, as ``load`` returns it, with ``examined`` and ``deterministic`` set.

    Raises:
        InputError: As ``load``; or if the fingerprint differs, or the model's output is no logits.
    """
    with builds_kept():
        if describe(spec).fingerprint != fingerprint:
            raise InputError(
                f"model '{spec.name}' has other weights or code on this node than in the plan; "
                "give every node the same files"
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
    """Import the libraries of a model before loading, because the first import takes seconds.

    Args:
        spec: The model.

    Raises:
        InputError: If the code of a torch callable, an adapter or a defence cannot be imported.
    """
    defended.import_code(spec.defences)
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
    """Return fingerprint, backbone and classes of a model.

    Files are hashed, and URLs downloaded. A torch callable without weights and an adapter are
    built; other models are not loaded.

    Args:
        spec: The model.

    Returns:
        The description; with a label map, of the mapped classes.

    Raises:
        InputError: If files are missing, or contradict each other or the spec.
        ServerError: If the server of the weights fails or cannot be reached.
    """
    if spec.ensemble is not None:
        return ensemble.describe(spec, [describe(member) for member in spec.ensemble.members])
    info = _adapter(spec).describe(_resolve(spec))
    if info.classifier and spec.inference is not None and spec.inference.window is not None:
        raise InputError(
            f"model '{spec.name}' is a classifier, and inference.mode is slide, which gives a "
            "class per pixel; leave inference.mode, crop and stride out"
        )
    info = scaled.describe(info, spec.inference)
    info = info if spec.label_map is None else label_map.describe(info, spec)
    return defended.describe(info, spec.defences)


def check(spec: ModelSpec) -> None:
    """Check a model before any task: build the network, and fit its weights.

    Shipped weights with the shipped sha256 are known to fit.

    Args:
        spec: The model; members of an ensemble are checked in turn.

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
            f"the weights of zoo model '{spec.zoo}' differ from the shipped weights "
            f"({ZOO[spec.zoo].weights}); install segtransfer again"
        )


def _adapter(spec: ModelSpec) -> ModuleType:
    """Return the module for loading, checks and descriptions of models of the spec's library."""
    if spec.adapter is not None:
        return foreign
    if spec.torch is not None:
        return torch
    if spec.mmseg is not None and spec.mmseg.classifier:
        return mmseg_classifier
    return mmseg if spec.huggingface is None else huggingface


def _resolve(spec: ModelSpec) -> ModelSpec:
    """Return a zoo model as an ordinary mmseg model with files in this package."""
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
