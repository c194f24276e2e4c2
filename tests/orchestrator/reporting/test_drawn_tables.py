"""Tables of many columns: colours, upright names on a line, and headings that fit."""

import pytest
from matplotlib.figure import Figure

from segtransfer.reporting.drawn_tables import (
    MOST_WRITTEN,
    DrawnCell,
    DrawnRow,
    DrawnTable,
    Geometry,
    draw_table,
    width_of_text,
)

MANY = MOST_WRITTEN + 1


def table(columns: list[tuple[str, tuple[str, ...]]]) -> DrawnTable:
    count = sum(len(names) for _, names in columns)
    row = DrawnRow("net", "", (DrawnCell("1.0", framed=True), *[DrawnCell("2.0")] * (count - 1)))
    return DrawnTable("pgd", (), "source model", "target model", tuple(columns), ((row,),))


def texts(drawn: DrawnTable) -> list[str]:
    axes = Figure().add_axes((0, 0, 1, 1))
    draw_table(axes, drawn, Geometry([drawn]))
    return [text.get_text() for text in axes.texts]


def test_numbers_are_written_up_to_a_number_of_columns() -> None:
    assert "2.0" in texts(table([("b", tuple(map(str, range(MOST_WRITTEN))))]))
    assert "2.0" not in texts(table([("b", tuple(map(str, range(MANY))))]))


def test_upright_names_are_on_a_line() -> None:
    names = ("mean,\nsame backbone", *(f"net-{number}" for number in range(MANY)))
    assert "mean, same backbone" in texts(table([("b", names)]))


def test_headings_wider_than_small_columns_are_left_out() -> None:
    alone = [(f"ResNet-{number}", (f"net-{number}",)) for number in range(MANY)]
    shown = texts(table(alone))
    assert all(f"net-{number}" in shown for number in range(MANY))
    assert not any(text.startswith("ResNet") for text in shown)
    together = [("ResNet", tuple(f"net-{number}" for number in range(MANY)))]
    assert "ResNet" in texts(table(together))


@pytest.mark.parametrize("cell", [None, 0.62, 1.08])
def test_cells_of_many_columns_are_small_whatever_is_asked(cell: float | None) -> None:
    drawn = table([("b", tuple(map(str, range(MANY))))])
    assert Geometry([drawn], cell).width < 6


def test_character_without_a_glyph_is_as_wide_as_the_type_is_high() -> None:
    assert width_of_text("道路", 72) == 2
    assert 0 < width_of_text("il", 72) < 1
