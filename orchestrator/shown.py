"""Results in a notebook and in a paper: HTML, Markdown, LaTeX and figures."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# These packages read results, so their modules are named here, as registries name theirs.
PAPER = "segtransfer.reporting.paper"
BREAKDOWN_MODULE = "segtransfer.breakdowns"


class Shown:
    """Base of objects that a notebook shows as HTML.

    Attributes:
        surfaces: The module that draws objects of this class.
    """

    surfaces: ClassVar[str] = "segtransfer.reporting.surfaces"

    def _repr_html_(self) -> str:
        return self._drawn("html_of")

    def _drawn(self, function: str, *arguments: Any) -> Any:
        return getattr(import_module(self.surfaces), function)(self, *arguments)


class Tabled(Shown):
    """Base of objects whose tables a paper can print."""

    def to_latex(self) -> str:
        """Return the tables as LaTeX.

        Bold marks a difference beyond noise, a star a white-box cell. ± is half of the 95 %
        interval.

        Returns:
            Tables that need the package booktabs, with all names escaped.
        """
        return self._printed("latex")

    def to_markdown(self) -> str:
        """Return the tables as Markdown.

        Bold marks a difference beyond noise, a star a white-box cell. ± is half of the 95 %
        interval.

        Returns:
            Pipe tables.
        """
        return self._printed("markdown")

    def _printed(self, form: str, *which: Any) -> str:
        return import_module(PAPER).printed(self._drawn("tables_of", *which), form)


class Drawn(Tabled):
    """Base of results whose matrices can be drawn and printed."""

    def to_latex(self, attack: str | None = None, metric: str | None = None) -> str:
        """Return an attack's matrix, or the means of all attacks, as LaTeX.

        Bold marks a difference beyond noise to the first attack with a source, a star a white-box
        cell. ± is half of the 95 % interval, brackets hold the change from clean.

        Args:
            attack: The name of an attack's variant; None for the means of all attacks.
            metric: A metric of ``matrix``. Default: the headline metric.

        Returns:
            A table that needs the package booktabs, with all names escaped.

        Raises:
            InputError: The attack or the metric is unknown.
        """
        return self._printed("latex", attack, metric)

    def to_markdown(self, attack: str | None = None, metric: str | None = None) -> str:
        """Return an attack's matrix, or the means of all attacks, as Markdown.

        The marks are those of ``to_latex``.

        Args:
            attack: The name of an attack's variant; None for the means of all attacks.
            metric: A metric of ``matrix``. Default: the headline metric.

        Returns:
            A pipe table.

        Raises:
            InputError: The attack or the metric is unknown.
        """
        return self._printed("markdown", attack, metric)

    def plot(self, attack: str, metric: str | None = None, ax: "Axes | None" = None) -> "Axes":
        """Draw an attack's matrix, as the report draws it.

        Args:
            attack: The name of an attack's variant.
            metric: A metric of ``matrix``. Default: the headline metric.
            ax: The matplotlib axes to draw into, without a colour bar; None for a new figure.

        Returns:
            The axes. ``plot(...).figure.savefig("matrix.pdf")`` writes PDF, SVG or PNG by the
            file's ending.

        Raises:
            InputError: The attack or the metric is unknown.
        """
        return self._drawn("plot", attack, metric, ax)

    def charts(self, metric: str | None = None) -> dict[str, Any]:
        """Return the charts of the report: means, differences, energy, curves over steps.

        Args:
            metric: A metric that the report offers, for example ``miou`` or ``drop``. Default: the
                headline metric.

        Returns:
            An Altair chart per title. ``chart.save("means.svg")`` writes SVG, PDF, PNG, HTML or
            JSON by the file's ending. SVG, PDF and PNG need the package vl-convert-python.

        Raises:
            InputError: The metric is unknown or not on the report's page.
        """
        return self._drawn("charts", metric)

    def breakdown(self, by: str, attack: str | None = None) -> "pd.DataFrame":
        """Return a measure by parts of the images, clean and under attack.

            results.breakdown("class", "ds-mi")    # a row per class and pair group

        Args:
            by: ``class`` (IoU), ``size`` (recall per quarter of object areas), ``boundary`` (pixel
                accuracy near label boundaries and in the interior) or ``image`` (pixel accuracy of
                the images with outlying drops).
            attack: The name of an attack's variant; None for a variant per attack.

        Returns:
            Columns ``attack``, ``group``, ``part``, ``pixels``, ``images``; ``clean``, ``attacked``
            (percent) and ``drop`` (percentage points), each followed by its bounds ``_low`` and
            ``_high``; and ``z``. Bounds without an interval and ``z`` of other parts than images
            are NaN. ``attrs["notes"]`` has definitions, and the pair groups with missing results.

        Raises:
            InputError: ``by`` or the attack is unknown, no pair group has all results, or a part of
                the results is damaged.
        """
        return import_module(BREAKDOWN_MODULE).breakdown(self, by, attack).frame()
