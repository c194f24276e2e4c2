"""Pair groups of attacks with all results, in which breakdowns take their means."""

from collections.abc import Iterable
from dataclasses import dataclass

from segtransfer.errors import InputError
from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.results import Results
from segtransfer.results.lookup import check_attack
from segtransfer.results.text import HEADLINES
from segtransfer.results.views import OVER_TARGETS, main_attacks, shown_groups
from segtransfer.statistics import pairs_of


@dataclass(frozen=True)
class AttackedGroup:
    """The matrix cells of an attack in a pair group, with all results.

    Attributes:
        attack: The name of the attack's variant.
        group: The pair group; empty for an attack without a source.
        cells: The attack, source (None without a source) and target of each pair, at least one.
    """

    attack: str
    group: str
    cells: tuple[MatrixIndex, ...]

    @property
    def words(self) -> str:
        """Return the pair group in words."""
        return HEADLINES[self.group] if self.group else OVER_TARGETS


def cells_with_clean(groups: Iterable[AttackedGroup]) -> set[MatrixIndex]:
    """Return the cells of some groups, and the clean cell of each target."""
    attacked = {cell for group in groups for cell in group.cells}
    return attacked | {(CLEAN, None, target) for *_, target in attacked}


def complete_groups(
    results: Results, attack: str | None
) -> tuple[list[AttackedGroup], tuple[str, ...]]:
    """Return the pair groups with all results, and a note per group with missing results.

    Args:
        results: The results.
        attack: The name of an attack's variant. None for a variant per attack of the spec.

    Returns:
        The groups, at least one, by attack and from near to far; and the notes.

    Raises:
        InputError: If the attack is unknown, or no group has all results.
    """
    if attack is not None:
        check_attack(results, attack)
    complete, notes = [], []
    for name in main_attacks(results) if attack is None else [attack]:
        for group in _groups_of(results, name):
            needed = cells_with_clean([group])
            if lacking := len(needed - results.counts.keys()):
                notes.append(
                    f"PARTIAL: {name} on {group.words} is left out, because {lacking} of "
                    f"{len(needed)} cells lack results. Run the experiment again."
                )
            else:
                complete.append(group)
    if not complete:
        raise InputError(
            f"{results.name} has no attack with all results in a pair group, which a breakdown "
            f"needs: {len(results.missing)} of {len(results.manifest.cells)} evaluations are "
            "missing or damaged; run the experiment again."
        )
    return complete, tuple(notes)


def _groups_of(results: Results, attack: str) -> list[AttackedGroup]:
    """Return the pair groups of an attack, with or without results."""
    if not results.needs_source(attack):
        cells = tuple((attack, None, target) for target in results.targets)
        return [AttackedGroup(attack, "", cells)]
    return [
        AttackedGroup(attack, group, tuple((attack, *pair) for pair in pairs))
        for group in shown_groups(results)
        if (pairs := pairs_of(results, group))
    ]
