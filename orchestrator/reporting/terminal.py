"""Results as terminal tables."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segtransfer.reporting.columns import COLUMN_WIDTH, FRAME, column_blocks
from segtransfer.results import Results, ResultWarning
from segtransfer.results.published import published_line
from segtransfer.results.text import number
from segtransfer.results.views import AttackSummary, TransferMatrix, attack_summary, transfer_matrix

MOST_PRINTED = 24  # of a printed matrix
NAME_WIDTH = COLUMN_WIDTH - FRAME  # characters of a line of a folded name


def print_results(results: Results, console: Console) -> None:
    """Print a table of mIoU or accuracy and drop per attack, with clean values, then the warnings.

    Args:
        results: The experiment, with or without missing cells.
        console: The terminal; matrices wider than it are printed in parts.
    """
    console.print(
        f"\n{results.headline_in_words} in % on {len(results.image_ids)} images of "
        f"{results.manifest.dataset}; in brackets the change from clean.",
        highlight=False,
    )
    if line := published_line(results):
        console.print(Text(line), soft_wrap=True)
    for attack in results.attacks:
        matrix = transfer_matrix(results, attack)
        console.print()
        console.print(Text.assemble((attack, "bold"), f"  {matrix.settings}"))
        if len(matrix.targets) > MOST_PRINTED:
            size = f"{len(matrix.rows)} x {len(matrix.targets)}"
            console.print(_indented(f"{size} cells: see the page and results.csv", "dim"))
        else:
            for table in _tables(matrix, console.width):
                console.print(table)
        console.print(_indented("  ·  ".join(mean.text for mean in matrix.headlines)))
        for line in _perturbation_and_cost(attack_summary(results, attack)):
            console.print(_indented(line, "dim"))
    print_warnings(results.warnings, console)


def _tables(matrix: TransferMatrix, width: int) -> Iterator[Table]:
    """Yield a matrix as tables within the terminal's width, targets in order.

    Long names of models are folded if the matrix is wider than the terminal.
    """
    head = "source \\ target"
    first = max(len(head), *(len(row.name) for row in matrix.rows))
    numbers = [
        max(map(len, (number(clean), *(row.cells[place].text for row in matrix.rows))))
        for place, clean in enumerate(matrix.clean)
    ]
    columns = [max(*both) for both in zip(map(len, matrix.targets), numbers, strict=True)]
    if len([*column_blocks(first, columns, width)]) > 1:
        first = min(first, max(len(head), width // 3))
        columns = [min(c, max(n, NAME_WIDTH)) for c, n in zip(columns, numbers, strict=True)]
    for block in column_blocks(first, columns, width):
        table = Table(min_width=60)
        table.add_column(head, overflow="fold", max_width=first)
        for place in block:
            table.add_column(
                matrix.targets[place], justify="right", overflow="fold", max_width=columns[place]
            )
        table.add_row("clean", *(number(matrix.clean[p]) for p in block), style="green")
        table.add_section()
        for row in matrix.rows:
            cells = [row.cells[place] for place in block]
            table.add_row(
                row.name, *(Text(c.text, "dim" if c.white_box else "bold") for c in cells)
            )
        yield table


def _indented(line: str, style: str = "") -> Text:
    """Return an indented line; rich's Padding would cut lines off that a file takes whole."""
    return Text(f"  {line}", style)


def print_warnings(warnings: Sequence[ResultWarning], console: Console) -> None:
    """Print where the numbers mean little; nothing if there is no warning.

    Args:
        warnings: The warnings of an experiment.
        console: The terminal.
    """
    if warnings:
        console.print(Text("\nWarnings", style="bold yellow"))
        listed = Table.grid(padding=(0, 1))
        for warning in warnings:
            listed.add_row("  !", Text(warning.sentence))
        console.print(listed)


def _perturbation_and_cost(summary: AttackSummary) -> list[str]:
    if not summary.stored:
        return ["no adversarial example is stored"]
    return [
        f"perturbation: L-inf {summary.linf:.0f}, RMS {summary.rms:.2f} levels, "
        f"{summary.at_bound:.0f} % at the bound",
        f"cost: {summary.forward_equivalents:.1f} forward equivalents per image; in all "
        f"{summary.forwards:.0f} image forwards, {summary.backwards:.0f} backwards, "
        f"{summary.seconds:.0f} s in models",
    ]
