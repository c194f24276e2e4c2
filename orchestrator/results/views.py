"""Views of transfer matrices, which terminal, Markdown, figures and MLflow draw."""

from dataclasses import dataclass

from segtransfer.results.results import Results
from segtransfer.results.text import cell, headline_sentences, row_name, rows, settings


@dataclass(frozen=True)
class MatrixCell:
    """A cell of a transfer matrix.

    Attributes:
        miou: The mIoU under attack in percent; NaN if not measured.
        drop: The clean mIoU minus ``miou``, in points.
        white_box: Whether the attack had the target's own gradients.
    """

    miou: float
    drop: float
    white_box: bool

    @property
    def text(self) -> str:
        """Return the mIoU, with its change from clean in brackets."""
        return cell(self.miou, self.drop)


@dataclass(frozen=True)
class TransferMatrix:
    """The transfer matrix of an attack, with the words around it.

    Attributes:
        attack: The name of the attack's variant.
        settings: The attack in words, and the coverage of an incomplete matrix.
        targets: The names of the columns.
        clean: The mIoU on clean images per target, in percent.
        rows: Name and cells of each row; a single row if the attack uses no source.
        headlines: A phrase per headline mean.
    """

    attack: str
    settings: str
    targets: tuple[str, ...]
    clean: tuple[float, ...]
    rows: tuple[tuple[str, tuple[MatrixCell, ...]], ...]
    headlines: tuple[str, ...]


def transfer_matrix(results: Results, attack: str) -> TransferMatrix:
    """Return the view of an attack's matrix.

    Args:
        results: The results.
        attack: The name of an attack's variant.
    """
    values, drops = results.matrix(attack), results.matrix(attack, "drop")
    sourced = results.needs_source(attack)

    def cells(source: str) -> tuple[MatrixCell, ...]:
        return tuple(
            MatrixCell(
                float(values.loc[source, target]),
                float(drops.loc[source, target]),
                sourced and results.group(source, target) == "diagonal",
            )
            for target in results.targets
        )

    return TransferMatrix(
        attack=attack,
        settings=settings(results, attack),
        targets=tuple(results.targets),
        clean=tuple(float(value) for value in results.clean()),
        rows=tuple(
            (row_name(results, attack, source), cells(source)) for source in rows(results, attack)
        ),
        headlines=tuple(headline_sentences(results, attack)),
    )
