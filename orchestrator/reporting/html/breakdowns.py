"""Page of the breakdowns of an experiment: a single file with their tables."""

from collections.abc import Sequence

from markupsafe import Markup

from segtransfer.reporting.html.page import page_environment
from segtransfer.reporting.html.templates import HERE
from segtransfer.reporting.paper import PaperTable, html
from segtransfer.results import Results

Section = tuple[str, Sequence[PaperTable], Sequence[str]]  # title, tables, notes


def draw_breakdowns(results: Results, sections: Sequence[Section]) -> str:
    """Return breakdowns as HTML without external resources and without scripts.

    Args:
        results: The experiment.
        sections: Title, tables and notes of each breakdown.
    """
    css = "".join(
        (HERE / name).read_text(encoding="utf-8") for name in ("page.css", "breakdowns.css")
    )
    shown = [(title, [html(table) for table in tables], notes) for title, tables, notes in sections]
    template = page_environment().get_template("breakdowns.html")
    warnings = [warning.sentence for warning in results.warnings]
    return template.render(results=results, sections=shown, warnings=warnings, css=Markup(css))
