"""The models with pictures: all, or some of many."""

from collections.abc import Collection, Sequence
from itertools import zip_longest

from segtransfer.reporting.matrix_tables import by_backbone
from segtransfer.results import Results

MOST_SOURCES, MOST_TARGETS = 8, 12  # with pictures; more are no help to the eye


def pictured_sources(results: Results) -> list[str]:
    """Return the sources with pictures: of many the first ones of each backbone, in turn."""
    return _chosen(results, results.sources, MOST_SOURCES)


def pictured_targets(results: Results, sources: Collection[str]) -> list[str]:
    """Return the targets with pictures of AEs from some sources.

    Args:
        results: The experiment.
        sources: Sources of AEs.

    Returns:
        All targets in their order; of many the white-box targets of the sources, and the first ones
        of each backbone in turn.
    """
    white_box = [
        target
        for target in results.targets
        if any(results.group(source, target) == "diagonal" for source in sources)
    ]
    return _chosen(results, results.targets, MOST_TARGETS, white_box)


def pictured_part(results: Results) -> str:
    """Return a sentence about models without pictures; empty if all have pictures."""
    sources = pictured_sources(results)
    targets = pictured_targets(results, sources)
    if len(sources) == len(results.sources) and len(targets) == len(results.targets):
        return ""
    return (
        f"There are pictures of {len(sources)} of {len(results.sources)} sources and "
        f"{len(targets)} of {len(results.targets)} targets: white boxes, and the first ones of "
        "each backbone."
    )


def _chosen(
    results: Results, models: Sequence[str], most: int, first: Sequence[str] = ()
) -> list[str]:
    """Return at most ``most`` models in their order: ``first``, then backbones in turn."""
    groups = [group.models for group in by_backbone(results, models)]
    turns = [name for turn in zip_longest(*groups) for name in turn if name is not None]
    chosen = {*[*dict.fromkeys([*first, *turns])][:most]}
    return [name for name in models if name in chosen]
