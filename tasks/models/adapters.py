"""Models by adapter: description, check and loading."""

from segtransfer.errors import InputError
from segtransfer.tasks.models import defended, ensemble, foreign, mapped, mmseg, scaled, torch
from segtransfer.tasks.models.applied_numerics import with_numerics
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.builds import SAME_BUILD, builds_kept
from segtransfer.tasks.models.description import adapter_of, check, describe, resolve
from segtransfer.tasks.models.numerics import REFERENCE, Numerics
from segtransfer.tasks.models.probe import examine, learn_sizes
from segtransfer.tasks.models.sliding import with_windows
from segtransfer.tasks.models.spec import ModelSpec

__all__ = ["check", "describe", "import_libraries", "load", "load_planned"]


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
        adapter, resolved = adapter_of(spec), resolve(spec)
        model = adapter.load(resolved, device)
        learn_sizes(model)
        if adapter is not mmseg:  # mmseg's networks have windows of their own
            model = with_windows(model, spec.inference)
        model = defended.apply(scaled.apply(model, spec.inference), spec.defences)
        if spec.label_map is not None:
            model = mapped.apply(model, spec, adapter.classes(resolved))
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
        adapter_of(spec).import_libraries()
