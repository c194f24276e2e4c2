"""Results as a notebook shows them and a paper prints them."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from segtransfer import InputError, compare, plan
from segtransfer.reporting import surfaces
from segtransfer.reporting.paper import (
    PaperCell,
    PaperRow,
    PaperTable,
    html,
    latex,
    latex_text,
    markdown,
)
from segtransfer.results import Results
from segtransfer.shown import Tabled
from segtransfer.statistics import Resampled
from segtransfer.studies import StudyResult, conclude, find_study
from tests.orchestrator.reporting.html.made_up import made_up
from tests.orchestrator.reporting.html.test_page import HOSTILE, renamed
from tests.orchestrator.reporting.latex import parsed
from tests.orchestrator.reporting.made_results import toy_result
from tests.orchestrator.studies.made_up import base_of, noisy, results_of
from tests.orchestrator.toy_experiments import run_toy, toy_spec

PDFLATEX = shutil.which("pdflatex")
ATTACKS = [{"preset": "noise"}, {"preset": "pgd"}, {"preset": "ds-mi"}]


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up(ATTACKS)


@pytest.fixture(scope="module")
def everything(results: Results, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """One of each class that a notebook shows."""
    folder = tmp_path_factory.mktemp("surfaces")
    run_toy(folder)
    return [
        results,
        plan(toy_spec(folder)),
        compare("pgd", "ds-mi", store=folder / "store"),
        toy_result(tmp_path_factory.mktemp("search")),
        study_result(),
    ]


def study_result() -> StudyResult:
    """A study whose attacks all leave the same."""
    study, base = find_study("heads"), base_of()
    scored = results_of(study.experiment(base), lambda *_: noisy(50.0, 1.0))
    return conclude(study, base, scored)


def test_reprs_are_a_few_lines_and_html_is_self_contained(everything: list[Any]) -> None:
    for shown in everything:
        assert len(repr(shown).splitlines()) <= 3, type(shown)
        assert repr(shown).startswith(f"<{type(shown).__name__} ")
        html = shown._repr_html_()
        assert html.startswith('<div class="segtransfer">')
        assert "<script" not in html
        assert "<table>" in html


def test_a_repr_of_many_cells_stays_short() -> None:
    assert len(repr(made_up(ATTACKS, sources=8, targets=8))) < 300


def test_every_latex_table_is_well_formed_and_as_wide_as_its_columns(
    everything: list[Any],
) -> None:
    for shown in everything:
        if isinstance(shown, Tabled):
            for columns, rows in parsed(shown.to_latex()):
                assert {len(row) for row in rows} == {columns}


def test_a_matrix_in_latex_has_the_numbers_of_the_results(results: Results) -> None:
    ((_, rows),) = parsed(results.to_latex("pgd"))
    matrix, drops = results.matrix("pgd"), results.matrix("pgd", "drop")
    shown = {row[0]: row[1:] for row in rows if row[0]}
    below = dict(zip([row[0] for row in rows], rows[1:], strict=False))
    assert shown["source"][:3] == results.targets
    half = Resampled(results).cell("pgd", "net-0", "net-1")
    width = f"{(half.high - half.low) / 2:.1f}"
    value, drop = matrix.loc["net-0", "net-1"], drops.loc["net-0", "net-1"]
    change = f"{-drop:+.1f}".replace("-", "$-$")
    assert shown["net-0"][:2] == [f"{matrix.loc['net-0', 'net-0']:.1f}$^{{*}}$", f"{value:.1f}"]
    assert below["net-0"][:3:2] == ["", rf"{{\scriptsize $\pm$ {width} ({change})}}"]
    assert shown["clean"][2] == f"{results.clean()['net-2']:.1f}"
    mean = results.headlines("pgd")["same_backbone"]
    assert shown["mean"][rows[0].index("same backbone") - 1] == f"{mean:.1f}"


def test_bold_is_a_difference_beyond_noise() -> None:
    """A cell that an attack turns wrong in every image by the same number of pixels is bold."""
    results = made_up(ATTACKS, images=12)
    cell = ("ds-mi", "net-0", "net-1")
    counts = results.counts[cell].copy()
    counts[:, 0] = 0  # no pixel is right
    stronger = replace(results, counts={**results.counts, cell: counts})
    assert r"\textbf{0.0}" in stronger.to_latex("ds-mi")
    assert "**0.0**" in stronger.to_markdown("ds-mi")
    (table,) = surfaces.tables_of(stronger, "ds-mi")
    assert "<b>0.0</b>" in html(table)
    assert "<sup>*</sup>" in html(table)
    assert "&lt;" not in html(table)
    assert r"\textbf" not in stronger.to_latex("pgd")  # the baseline


def test_a_metric_relative_to_clean_has_no_clean_row(results: Results) -> None:
    ((_, rows),) = parsed(results.to_latex("pgd", "drop"))
    assert [row[0] for row in rows if row[0]] == ["source", *results.sources, "mean"]


def test_missing_cells_are_dashes() -> None:
    partial = made_up(ATTACKS, missing=(("pgd", "net-0", "net-1"),))
    ((_, rows),) = parsed(partial.to_latex("pgd"))
    assert next(row for row in rows if row[0] == "net-0")[2] == r"\textendash{}"
    assert "–" in partial.to_markdown("pgd")
    assert parsed(partial.to_latex())


def test_hostile_names_are_escaped_everywhere(results: Results) -> None:
    named = renamed(results, {"net-1": HOSTILE})
    assert parsed(named.to_latex("pgd"))
    assert "<img" not in named._repr_html_()
    assert "</script" not in named._repr_html_()


def test_latex_text_escapes_every_special_character() -> None:
    text = latex_text("a_b & 50% of $x$ #1 {y} ~ ^ \\ <z> | [q] * a--b -0.5 − ± –\n c")
    assert parsed(latex(_table(text_of_head="plain")))
    bare = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}|\$-\$|\$\\pm\$|\{[\[\]*]\}|\{\}", "", text)
    assert not re.search(r"[&%$#_{}~^\\<>|\[\]*]", bare)
    assert "\n" not in text
    assert "--" not in text


def _table(text_of_head: str) -> PaperTable:
    cells = (PaperCell("[1]", "0.1", "−2.0", bold=True, white_box=True),)
    return PaperTable("a b", "50 %", ("x", text_of_head), ((PaperRow("[*]", cells),),), ("n_1",))


def test_markdown_keeps_a_row_on_a_line_and_pipes_out_of_cells() -> None:
    text = markdown(_table(text_of_head="a|b\nc"))
    head, rule, row = text.splitlines()[2:5]
    assert head == r"| x | a\|b c |"
    assert rule == "|---|---:|"
    assert row == r"| \[\*\] | **\[1\]**\* ± 0.1 (−2.0) |"


def test_plot_draws_into_given_axes_and_saves_by_the_ending(
    results: Results, tmp_path: Path
) -> None:
    axes = Figure().subplots()
    assert results.plot("pgd", ax=axes) is axes
    drawn = results.plot("pgd", "fooling")
    shown = {text.get_text() for text in drawn.texts}
    value = results.matrix("pgd", "fooling").iloc[0, 1]
    assert f"{value:.1f}" in shown
    assert {"source model ↓", "target model →", *results.sources} <= shown
    for ending, begin in {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}.items():
        drawn.figure.savefig(tmp_path / f"figure.{ending}")
        assert (tmp_path / f"figure.{ending}").read_bytes().startswith(begin)


def test_charts_hold_the_points_of_their_metric_and_can_be_saved(
    results: Results, tmp_path: Path
) -> None:
    charts = results.charts("drop")
    assert "Means by kind of pair" in charts
    for chart in charts.values():
        points = chart.to_dict()["datasets"]["points"]
        assert {point["metric"] for point in points} == {"drop"}
    charts["Means by kind of pair"].save(tmp_path / "means.svg")
    assert "white-box" in (tmp_path / "means.svg").read_text()


@pytest.mark.parametrize("call", ["to_latex", "to_markdown", "plot"])
def test_unknown_attack_or_metric_raises_input_error(results: Results, call: str) -> None:
    with pytest.raises(InputError, match="no attack 'pgb'; did you mean 'pgd'"):
        getattr(results, call)("pgb")
    with pytest.raises(InputError, match="miuo"):
        getattr(results, call)("pgd", "miuo")
    with pytest.raises(InputError, match="'wrong'"):
        results.charts("wrong")


def test_html_of_results_links_to_the_report_and_limits_the_matrices(tmp_path: Path) -> None:
    results = run_toy(tmp_path)
    report = surfaces.report_folder(results) / surfaces.PAGE
    assert "Report:" not in results._repr_html_()
    report.parent.mkdir(parents=True)
    report.write_text("page")
    assert f'href="{report.as_uri()}"' in results._repr_html_()
    many = made_up([{"preset": "pgd", "name": f"pgd-{n}"} for n in range(9)])
    assert many._repr_html_().count("<table>") == surfaces.MOST_MATRICES
    assert "Also: pgd-6, pgd-7, pgd-8." in many._repr_html_()


def test_a_study_prints_the_standing_of_each_claim() -> None:
    found = study_result()
    ((columns, rows),) = parsed(found.to_latex())
    assert columns == 3
    verdicts = found.study.verdicts(found.numbers)
    assert [row[:2] for row in rows[1:]] == [[v.claim, v.standing] for v in verdicts]


@pytest.mark.pages
@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex on the PATH")
def test_pdflatex_compiles_every_table(everything: list[Any], tmp_path: Path) -> None:
    named = renamed(everything[0], {"net-1": HOSTILE, "pgd": "a_b%c^d~e\\f{g}[h]#$&|*--i"})
    tables = [shown.to_latex() for shown in everything if isinstance(shown, Tabled)]
    tables += [named.to_latex(attack) for attack in (None, *named.attacks)]
    lines = [
        r"\documentclass{article}",
        # A small TeX comes without booktabs, whose three rules are lines then.
        r"\IfFileExists{booktabs.sty}{\usepackage{booktabs}}{\let\toprule\hline}",
        r"\ifdefined\midrule\else\let\midrule\hline\let\bottomrule\hline\fi",
        r"\begin{document}",
        *tables,
        r"\end{document}",
    ]
    (tmp_path / "tables.tex").write_text("\n".join(lines), encoding="utf-8")
    # A draft needs no fonts, of which a small TeX has few.
    options = ["-draftmode", "-halt-on-error", "-interaction=nonstopmode"]
    command = [str(PDFLATEX), *options, "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
