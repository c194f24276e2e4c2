"""The white-box attacks in the denominators of transfer ratios, in words."""

from collections.abc import Sequence

from segtransfer.results import Results
from segtransfer.tasks.schema import strength_text


def denominators(results: Results, attacks: Sequence[str]) -> list[str]:
    """Return a sentence per bound about the attacks that divide transfer ratios.

    Args:
        results: The results.
        attacks: Names of variants whose ratios are shown.

    Returns:
        Sentences that name, per target, the strongest white-box attack computed at the same norm
        and eps; empty if no target has one.
    """
    bounds: dict[tuple[str, float], str] = {}
    for attack in attacks:
        spec = results.attack_spec(attack)
        bounds.setdefault((spec.norm, spec.eps), attack)
    sentences = []
    for (norm, eps), attack in bounds.items():
        parts = [part for target in results.targets if (part := _named(results, attack, target))]
        if parts:
            size = strength_text(eps) + (" RMS (L2)" if norm == "l2" else "")
            sentences.append(
                f"Ratios at eps {size} divide by the drop under the strongest white-box attack "
                f"computed: {', '.join(parts)}."
            )
    return sentences


def _named(results: Results, attack: str, target: str) -> str:
    """Return the strongest white-box attack on a target with the target's name, or nothing."""
    strongest = results.strongest(attack, target)
    if strongest is None:
        return ""
    name, source = strongest
    return f"{name} on {target}" + (f" (made on {source})" if source != target else "")
