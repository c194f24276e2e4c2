"""Tables of matrices, as figures and the page show them: models grouped by backbone."""

from collections.abc import Sequence
from dataclasses import dataclass

from segtransfer.results import Results
from segtransfer.results.views import MatrixCell, MatrixRow, TransferMatrix, transfer_matrix

SOURCE_AXIS, TARGET_AXIS, ATTACK_AXIS = "source model", "target model", "attack"


@dataclass(frozen=True)
class Backbone:
    """The models of a backbone, in the order of the experiment.

    Attributes:
        name: The name of the backbone.
        models: The names of the models.
    """

    name: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        label: The source model, or the attack.
        detail: The backbone of the source model, or the settings of the attack.
        attack: The name of the attack's variant.
        source: The source model; the first of the experiment if the attack uses none.
        cells: The cells, in the order of the table's columns.
    """

    label: str
    detail: str
    attack: str
    source: str
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True)
class MatrixTable:
    """A transfer matrix, or a table of attacks by targets if a matrix would have a single row.

    Attributes:
        title: The attack, or the source model of a table of attacks.
        row_axis: The name of the rows: source model, or attack.
        views: The matrices in the table, of attacks with a source model.
        columns: The targets, grouped by backbone.
        clean: The metric on clean images per target, in percent; empty for a metric relative to
            the clean images.
        references: A row per attack without a source model.
        sections: The rows, in groups: sources by backbone, or all attacks.
    """

    title: str
    row_axis: str
    views: tuple[TransferMatrix, ...]
    columns: tuple[Backbone, ...]
    clean: tuple[float, ...]
    references: tuple[TableRow, ...]
    sections: tuple[tuple[TableRow, ...], ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the targets in the order of the columns."""
        return tuple(name for group in self.columns for name in group.models)


def by_backbone(results: Results, models: Sequence[str]) -> tuple[Backbone, ...]:
    """Group models by backbone, in the order in which the backbones first occur.

    Args:
        results: The experiment, which knows the backbones.
        models: Names of its models.

    Returns:
        A group per backbone; the order of the models within it is kept.
    """
    groups: dict[str, list[str]] = {}
    for model in models:
        groups.setdefault(results.manifest.models[model].backbone, []).append(model)
    return tuple(Backbone(name, tuple(members)) for name, members in groups.items())


def matrix_tables(
    results: Results, attacks: Sequence[str], metric: str | None = None
) -> list[MatrixTable]:
    """Return the tables that show attacks; no table repeats rows that are equal for all sources.

    Args:
        results: The experiment.
        attacks: Names of variants of attacks.
        metric: A metric of ``Results.matrix``. Default: the headline metric.

    Returns:
        A table per attack with a source model; its first rows are the other attacks. If the
        experiment has a single source model, or none, a single table of attacks by targets.
    """
    views = [transfer_matrix(results, attack, metric) for attack in attacks]
    made = [view for view in views if results.needs_source(view.attack)]
    table = _TableMaker(results, views)
    if not made or len(results.sources) == 1:
        title = f"made on {results.sources[0]}" if made else "made on no model"
        return [table(title, ATTACK_AXIS, made, [[table.attack(view) for view in made]])]
    sources = by_backbone(results, results.sources)
    return [
        table(view.attack, SOURCE_AXIS, [view], [table.sources(view, group) for group in sources])
        for view in made
    ]


class _TableMaker:
    """Makes the tables of an experiment, which share columns, clean row and references.

    Args:
        results: The experiment.
        views: The matrices of all attacks.
    """

    def __init__(self, results: Results, views: Sequence[TransferMatrix]) -> None:
        self._columns = by_backbone(results, results.targets)
        models = (model for group in self._columns for model in group.models)
        self._order = [results.targets.index(model) for model in models]
        clean = views[0].clean
        self._clean = tuple(clean[i] for i in self._order) if clean else ()
        others = [view for view in views if not results.needs_source(view.attack)]
        self._references = tuple(map(self.attack, others))

    def __call__(
        self, title: str, axis: str, views: list[TransferMatrix], sections: list[list[TableRow]]
    ) -> MatrixTable:
        return MatrixTable(
            title=title,
            row_axis=axis,
            views=tuple(views),
            columns=self._columns,
            clean=self._clean,
            references=self._references,
            sections=tuple(tuple(section) for section in sections if section),
        )

    def attack(self, view: TransferMatrix) -> TableRow:
        """Return the first row of a matrix, labelled with its attack."""
        row = view.rows[0]
        return TableRow(view.attack, view.settings, view.attack, row.source, self._cells(row))

    def sources(self, view: TransferMatrix, group: Backbone) -> list[TableRow]:
        """Return the rows of a matrix whose source has a backbone."""
        rows = [row for row in view.rows if row.source in group.models]
        return [
            TableRow(row.name, group.name, view.attack, row.source, self._cells(row))
            for row in rows
        ]

    def _cells(self, row: MatrixRow) -> tuple[MatrixCell, ...]:
        return tuple(row.cells[i] for i in self._order)
