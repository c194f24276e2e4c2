"""Surfaces of a search in Python: its table and HTML; apart from others because Optuna is heavy."""

from typing import Any

from markupsafe import Markup

from segtransfer.reporting import paper
from segtransfer.reporting.paper import PaperCell, PaperRow, PaperTable
from segtransfer.reporting.paper_tables import images_of, width_of
from segtransfer.reporting.search import attacks_yaml, noise_note, search_folder
from segtransfer.reporting.surfaces import box, links, paragraph
from segtransfer.results.text import signed_number
from segtransfer.searches import SearchResult
from segtransfer.searches.confirmation import verdict


def tables_of(result: SearchResult) -> list[PaperTable]:
    """Return the table of a search as a paper prints it."""
    return [search_table(result)]


def html_of(result: SearchResult) -> str:
    """Return the verdict, the differences to the baselines, and the best settings as YAML.

    Args:
        result: The search, confirmed or not.

    Returns:
        HTML; without a confirmation there is no table.
    """
    said = (
        verdict(result.comparisons, result.context.quality)
        if result.comparisons
        else "Nothing is confirmed yet."
    )
    table = [paper.html(search_table(result))] if result.comparisons else []
    best = Markup("<pre>{}</pre>").format(attacks_yaml(result.best))
    return box(repr(result), [paragraph(said), *table, best, links(search_folder(result))])


def search_table(result: SearchResult) -> PaperTable:
    """Return the differences of the best settings to the baselines, per kind of targets.

    Args:
        result: A confirmed search.

    Returns:
        A section per kind of targets, a row per pair of attack and baseline, a column per score;
        bold is beyond noise.
    """
    scores = list(dict.fromkeys(c.score for c in result.comparisons))
    sections: dict[Any, dict[str, dict[str, PaperCell]]] = {}
    for c in result.comparisons:
        interval, name = c.difference, f"{c.attack} − {c.baseline}"
        number, half = signed_number(interval.value, 2), width_of(interval, 2)
        cell = PaperCell(number, half, bold=c.beyond_noise)
        sections.setdefault(c.targets, {}).setdefault(name, {})[c.score] = cell
    notes = (
        (verdict(result.comparisons, result.context.quality), noise_note(result))
        if result.comparisons
        else ()
    )
    return PaperTable(
        label=result.context.search.name,
        caption=f"{result.context.search.name}: differences in mean "
        f"{result.context.quality}, points, on "
        f"{images_of(result.results)}; below 0 the search's settings are the stronger attack.",
        head=("against", *scores),
        sections=tuple(
            (
                PaperRow(f"{where}:", (PaperCell(),) * len(scores)),
                *(PaperRow(name, tuple(cells[s] for s in scores)) for name, cells in rows.items()),
            )
            for where, rows in sections.items()
        ),
        notes=notes,
    )
