"""Matrices on a terminal: every number whole, at any width and any number of targets."""

import io

import pytest
from rich.console import Console

from segtransfer.reporting.columns import column_blocks
from segtransfer.reporting.terminal import print_results
from segtransfer.results import Results
from segtransfer.results.text import number
from segtransfer.results.views import transfer_matrix
from tests.orchestrator.reporting.html.made_up import made_up


def printed(results: Results, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_results(results, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table_cells(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith(("│", "┃"))]
    return [cell.strip() for line in lines for cell in line.strip("│┃").split(line[0])]


@pytest.mark.parametrize("targets", [1, 4, 8, 12])
@pytest.mark.parametrize("width", [80, 120])
def test_no_number_breaks_over_lines(targets: int, width: int) -> None:
    results = made_up([{"preset": "pgd", "eps": "8/255"}], sources=2, targets=targets, images=2)
    text = printed(results, width)
    assert max(map(len, text.splitlines())) <= width
    matrix, cells = transfer_matrix(results, "pgd"), table_cells(text)
    shown = [*map(number, matrix.clean), *(c.text for row in matrix.rows for c in row.cells)]
    for value in shown:
        assert cells.count(value) >= shown.count(value)
    named = [cell for cell in cells if cell in matrix.targets]
    assert set(named) == set(matrix.targets)


def test_long_names_fold_and_numbers_do_not() -> None:
    results = made_up(
        [{"preset": "pgd", "eps": "8/255"}],
        sources=6,
        targets=6,
        images=2,
        prefix="deeplabv3-r101-cityscapes",
    )
    text = printed(results, 80)
    assert max(map(len, text.splitlines())) <= 80
    cells = table_cells(text)
    for row in transfer_matrix(results, "pgd").rows:
        assert all(cell.text in cells for cell in row.cells)


def test_narrow_matrix_is_single_table() -> None:
    results = made_up([{"preset": "pgd", "eps": "8/255"}], sources=2, targets=8, images=2)
    assert printed(results, 200).count("source \\ target") == 1
    assert printed(results, 80).count("source \\ target") == 2


def test_blocks_hold_fitting_columns_and_at_least_a_column() -> None:
    assert [*column_blocks(10, [6, 6, 6], 14 + 2 * 9)] == [range(2), range(2, 3)]
    assert [*column_blocks(10, [90, 6], 20)] == [range(1), range(1, 2)]
    assert [*column_blocks(10, [], 20)] == [range(0)]


def test_wide_matrix_is_a_line_with_its_size_and_means() -> None:
    attacks = [{"preset": "pgd", "eps": "8/255"}]
    widest = printed(made_up(attacks, sources=2, targets=24, pictures=False), 120)
    assert "source \\ target" in widest
    wider = printed(made_up(attacks, sources=2, targets=25, pictures=False), 120)
    assert "source \\ target" not in wider
    assert "2 x 25 cells: see the page and results.csv" in wider
    assert "other backbone" in wider
