"""Tables of matrices: backbones, references, and experiments of one source model."""

from matplotlib.axes import Axes

from segtransfer.reporting.heatmaps import draw_overview, draw_small
from segtransfer.reporting.matrix_tables import ATTACK_AXIS, SOURCE_AXIS, matrix_tables
from tests.orchestrator.reporting.html.made_up import made_up

NOISE = {"preset": "noise", "eps": "8/255"}
PGD = {"preset": "pgd", "eps": "8/255", "steps": 10}
MI = {"preset": "mi", "eps": "8/255", "steps": 10}


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_models_are_grouped_by_backbone_in_both_axes() -> None:
    results = made_up([PGD], sources=4, targets=4, pictures=False)
    (table,) = matrix_tables(results, ["pgd"])
    assert [group.name for group in table.columns] == ["Backbone-0", "Backbone-1"]
    assert table.targets == ("net-0", "net-2", "net-1", "net-3")
    assert [[row.label for row in section] for section in table.sections] == [
        ["net-0", "net-2"],
        ["net-1", "net-3"],
    ]
    for row in (row for section in table.sections for row in section):
        for cell in row.cells:
            assert cell.value == results.matrix("pgd").loc[row.source, cell.target]


def test_attack_without_source_is_a_row_of_every_matrix() -> None:
    results = made_up([NOISE, PGD, MI], pictures=False)
    tables = matrix_tables(results, results.attacks)
    assert [table.title for table in tables] == ["pgd", "mi"]
    assert {row.label for table in tables for row in table.references} == {"noise"}
    assert {table.row_axis for table in tables} == {SOURCE_AXIS}


def test_single_source_gives_a_table_of_attacks() -> None:
    results = made_up([NOISE, PGD, MI], sources=1, pictures=False)
    (table,) = matrix_tables(results, results.attacks)
    assert (table.title, table.row_axis) == ("made on net-0", ATTACK_AXIS)
    assert [row.label for row in (*table.references, *table.sections[0])] == ["noise", "pgd", "mi"]


def test_no_model_used_gives_a_table_of_references() -> None:
    (table,) = matrix_tables(made_up([NOISE], pictures=False), ["noise"])
    assert (table.title, table.sections) == ("made on no model", ())


def test_figure_has_axis_names_and_a_key() -> None:
    results = made_up([NOISE, PGD, MI], pictures=False)
    pgd, mi, key = draw_overview(results).axes
    for axes in (pgd, mi):
        assert {"source model ↓", "target model →", "Backbone-0", "noise"} <= {*texts(axes)}
    assert "dataset mIoU, %; dark: strong attack" in texts(key)
    assert "white box: the source is the target, or a part of it" in texts(key)
    assert "change from the clean images, in points of mIoU" in texts(key)


def test_key_takes_the_free_place_of_the_last_row() -> None:
    results = made_up([PGD, MI, PGD | {"name": "again"}], pictures=False)
    *_, last, key = (axes.get_position() for axes in draw_overview(results).axes)
    assert key.x0 > last.x1
    assert key.y0 >= last.y0


def test_small_figure_has_whole_numbers() -> None:
    results = made_up([PGD], pictures=False)
    (axes,) = draw_small(results, "pgd").axes
    value = results.matrix("pgd").loc["net-0", "net-1"]
    assert f"{value:.0f}" in texts(axes)
    assert not any("." in text for text in texts(axes)[3:])


def test_wide_matrix_is_drawn_in_colours_without_numbers() -> None:
    results = made_up([PGD], sources=25, targets=25, pictures=False)
    table, key = draw_overview(results).axes
    names = [*results.sources, *results.targets]
    shown = texts(table)
    assert sorted(text for text in shown if text.startswith("net-")) == sorted(names)
    assert not any(text.replace(".", "").isdigit() for text in shown)
    assert len(table.collections) == 2 * len(results.sources) + 2  # colours and frames; clean
    assert not any("change from the clean images" in text for text in texts(key))
    assert table.figure.get_size_inches()[0] < 10
