"""Relations of a source and a target."""

from segtransfer.experiment.manifest import ManifestModel

# From near to far. A headline mean covers pairs of a single group.
PAIR_GROUPS = ("diagonal", "same_network", "same_backbone", "cross_backbone")


def pair_group(source: ManifestModel, target: ManifestModel) -> str:
    """Return the pair group of a source and a target.

    Ensembles are compared by the fingerprint and the backbone of every member.

    Args:
        source: The source's entry in the manifest.
        target: The target's entry in the manifest.

    Returns:
        ``diagonal`` if the models share a network with the same defences, ``same_network`` if they
        share a network with other defences, else ``same_backbone`` or ``cross_backbone``.
    """
    pairs = [(a, b) for a in source.networks for b in target.networks]
    # An attack on an ensemble uses the gradients of every member.
    if any(a[0] == b[0] for a, b in pairs):
        return "diagonal"
    # AEs meet the weights that they were made on, though not as in a white-box attack.
    if _without_defences(source) & _without_defences(target):
        return "same_network"
    return "same_backbone" if any(a[1] == b[1] for a, b in pairs) else "cross_backbone"


def _without_defences(model: ManifestModel) -> set[str]:
    """Return the fingerprints of a model's networks without defences."""
    return {*(model.undefended or (network[0] for network in model.networks))}
