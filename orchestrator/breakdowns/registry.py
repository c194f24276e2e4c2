"""The breakdowns by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from segtransfer.breakdowns.boundaries import by_boundary
from segtransfer.breakdowns.classes import by_class
from segtransfer.breakdowns.groups import AttackedGroup, complete_groups
from segtransfer.breakdowns.images import by_image
from segtransfer.breakdowns.sizes import by_size
from segtransfer.breakdowns.tables import Breakdown
from segtransfer.errors import InputError
from segtransfer.results import Results
from segtransfer.tasks.image_metrics import OF_IMAGES
from segtransfer.tasks.schema import suggest

BREAKDOWNS: Mapping[str, Callable[[Results, Sequence[AttackedGroup]], Breakdown]] = {
    "class": by_class,
    "size": by_size,
    "boundary": by_boundary,
    "image": by_image,
}
OF_CLASSIFIERS = ("class",)


def check_breakdown(name: str) -> None:
    """Refuse an unknown breakdown.

    Raises:
        InputError: If there is no breakdown of this name.
    """
    if name not in BREAKDOWNS:
        raise InputError(f"--by '{name}' is unknown; {suggest(name, BREAKDOWNS)}")


def breakdown(results: Results, by: str, attack: str | None = None) -> Breakdown:
    """Return a measure by parts of the images, clean and under attack.

    Args:
        results: The results. Pair groups with a missing cell are left out, and named in a note.
        by: A name of ``BREAKDOWNS``.
        attack: The name of an attack's variant. None for a variant per attack of the spec.

    Raises:
        InputError: If ``by`` or ``attack`` is unknown, no pair group has all results, a part of the
            results is damaged, or the targets are classifiers and ``by`` needs a class per pixel.
    """
    check_breakdown(by)
    if results.headline == OF_IMAGES and by not in OF_CLASSIFIERS:
        raise InputError(
            f"--by {by} needs a class per pixel, and the targets of {results.name} are "
            f"classifiers; give --by {', '.join(OF_CLASSIFIERS)}"
        )
    groups, partial = complete_groups(results, attack)
    found = BREAKDOWNS[by](results, groups)
    return replace(found, notes=(*found.notes, *partial))
