"""The page in a real browser: every control, by mouse and keyboard, at any size, in any light."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from segtransfer.reporting.html.estimates import metric_choices
from segtransfer.reporting.html.facts import decimal
from segtransfer.reporting.html.page import write_page
from segtransfer.results import Results
from segtransfer.results.text import NOT_MEASURED
from segtransfer.statistics import Resampled
from tests.orchestrator.reporting.html.made_up import made_up
from tests.orchestrator.reporting.html.test_page import (
    ATTACKS,
    BY_BACKBONE,
    HOSTILE,
    nothing_yet,
    renamed,
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.pages,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on the PATH (Debian's package is called chromium)"
    ),
]
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of '.[test]'")

TABLE = "table.sortable"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up(ATTACKS, missing=(("mi", "net-0", "net-2"),))


@pytest.fixture(scope="module")
def file(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(results, tmp_path_factory.mktemp("page") / "report.html")


@contextmanager
def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    """A page in a window of its own; fails where it complains, asks for something, or alerts."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    context.set_default_timeout(80_000)  # machines that do much else are slow, not wrong
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("request", lambda request: asked(request.url, file, troubles))
    page.goto(file.as_uri())
    if options.get("java_script_enabled", True):
        page.wait_for_selector("html[data-ready]", state="attached")
    yield page
    context.close()
    assert troubles == []


def asked(url: str, file: Path, troubles: list[str]) -> None:
    if not url.startswith(("data:", file.as_uri())):
        troubles.append(f"asked for {url}")


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    with opened(browser, file) as shown:
        yield shown


def matrix(page: Any, attack: str) -> Any:
    return page.get_by_role("grid").filter(has=page.locator("strong", has_text=attack)).first


def cells(table: Any) -> list[list[str]]:
    """The texts of a table's cells as they are seen, row by row, without its head."""
    return table.evaluate(
        """table => [...table.tBodies].flatMap(body => [...body.rows]).map(row => [...row.cells]
            .map(cell => {
            const seen = cell.cloneNode(true);
            seen.querySelectorAll(".sr, .detail").forEach(hidden => hidden.remove());
            return seen.textContent.trim();
        }))"""
    )


def choose(page: Any, metric: str) -> None:
    page.locator(f"input[name=metric][value={metric}]").check(force=True)


def test_page_draws_all_charts(page: Any) -> None:
    assert page.title().startswith("made up")
    drawn = page.locator("[data-chart] svg")
    assert drawn.count() == page.locator("[data-chart]").count() == 5
    for number in range(5):
        assert drawn.nth(number).locator(".mark-symbol path").count() > 0


@pytest.mark.parametrize("metric", metric_choices("miou"))
def test_metric_switch_shows_numbers_of_metric(page: Any, results: Results, metric: str) -> None:
    choose(page, metric)
    relative = metric in ("drop", "ratio", "fooling")
    clean = pd.Series(0.0, BY_BACKBONE) if relative else results.clean(metric)[BY_BACKBONE]
    noise = results.matrix("noise", metric)[BY_BACKBONE].iloc[0]
    for attack in ("pgd", "mi"):
        values = results.matrix(attack, metric).loc[BY_BACKBONE, BY_BACKBONE]
        shown = [
            [NOT_MEASURED if np.isnan(v) else decimal(v) for v in row] for row in values.to_numpy()
        ]
        first = [["clean", *map(decimal, clean)], ["noise", *map(decimal, noise)]]
        expected = [[s, *row] for s, row in zip(BY_BACKBONE, shown, strict=True)]
        assert cells(matrix(page, attack)) == [*first, *expected]
    label = metric_choices("miou")[metric].label
    assert page.locator("[data-unit]").first.inner_text().startswith(f"{label},")


@pytest.mark.parametrize("metric", ["miou", "fooling"])
def test_the_charts_follow_the_metric_switch(page: Any, results: Results, metric: str) -> None:
    choose(page, "macc")
    choose(page, metric)
    mean = results.headlines("pgd", metric)["diagonal"]
    label = f"value: {mean:.1f}; attack: pgd; pairs: white-box (diagonal);".replace(".0;", ";")
    page.wait_for_selector(f"[data-chart] path[aria-label^='{label}']", state="attached")


def test_the_metric_switch_works_by_keyboard(page: Any, results: Results) -> None:
    page.locator("input[name=metric]:checked").focus()
    page.keyboard.press("ArrowRight")
    values = results.matrix("pgd", "drop")[BY_BACKBONE].iloc[0]
    assert cells(matrix(page, "pgd"))[2][1:] == [decimal(value) for value in values]


def test_pointing_at_a_cell_tells_its_interval(page: Any, results: Results) -> None:
    matrix(page, "pgd").locator("tbody").last.locator("td").first.hover()
    readout = page.locator("#readout")
    interval = Resampled(results).cell("pgd", "net-1", "net-0")
    text = readout.inner_text()
    assert "pgd: net-1 → net-0" in text
    assert f"95 % interval {decimal(interval.low)} to {decimal(interval.high)}" in text
    assert f"clean {decimal(results.clean()['net-0'])}" in text
    page.keyboard.press("Escape")
    assert readout.is_hidden()


def test_cell_for_screen_readers_has_interval_and_kind_of_pair(page: Any, results: Results) -> None:
    choose(page, "fooling")
    cell = matrix(page, "pgd").locator("tbody").nth(1).locator("td").first
    interval = Resampled(results).cell("pgd", "net-0", "net-0", "fooling")
    heard = f", 95 % interval {decimal(interval.low)} to {decimal(interval.high)}, white-box"
    assert cell.locator(".sr").text_content() == heard


def test_arrow_keys_move_in_a_matrix_and_stop_at_its_edges(page: Any) -> None:
    def place() -> tuple[str, str]:
        return tuple(
            page.evaluate(
                """() => {
                const cell = document.activeElement, table = cell.closest("table");
                return [cell.parentNode.cells[0].querySelector("b").textContent,
                    [...table.tHead.rows].at(-1).cells[cell.cellIndex].textContent]; }"""
            )
        )

    matrix(page, "pgd").locator("[tabindex='0']").focus()
    assert place() == ("clean", "net-0")
    for key, expected in (
        ("ArrowLeft", ("clean", "net-0")),
        ("ArrowUp", ("clean", "net-0")),
        ("ArrowDown", ("noise", "net-0")),
        ("ArrowDown", ("net-0", "net-0")),
        ("ArrowRight", ("net-0", "net-2")),
        ("End", ("net-0", "net-1")),
        ("ArrowRight", ("net-0", "net-1")),
        ("Home", ("net-0", "net-0")),
        ("ArrowUp", ("noise", "net-0")),
        ("ArrowUp", ("clean", "net-0")),
    ):
        page.keyboard.press(key)
        assert place() == expected, key
    assert "net-0, clean images" in page.locator("#readout").inner_text()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('table') === null")


def column(page: Any, number: int) -> list[str]:
    return [row[number].split("\n")[0] for row in cells(page.locator(TABLE))]


@pytest.mark.parametrize("metric", ["miou", "drop"])
def test_attacks_sort_by_any_column_with_missing_values_last(
    page: Any, results: Results, metric: str
) -> None:
    button = page.locator(f"{TABLE} thead button").nth(2)
    button.click()
    assert page.locator(f"{TABLE} th[aria-sort=ascending]").inner_text().startswith("Same")
    choose(page, metric)  # what is sorted stays sorted
    means = {a: results.headlines(a, metric)["same_backbone"] for a in results.attacks}
    known = sorted((a for a in means if not np.isnan(means[a])), key=lambda a: means[a])
    assert column(page, 0) == [*known, "mi PARTIAL"]
    button.click()
    assert column(page, 0) == [*reversed(known), "mi PARTIAL"]
    assert page.locator(f"{TABLE} [aria-sort]").count() == 1


def test_attacks_sort_by_name_and_by_plain_numbers_from_the_keyboard(
    page: Any, results: Results
) -> None:
    buttons = page.locator(f"{TABLE} thead button")
    buttons.first.focus()
    page.keyboard.press("Enter")
    assert column(page, 0) == ["ds:1", "ds:4", "ds:10", "mi PARTIAL", "noise", "pgd"]
    buttons.nth(10).focus()
    page.keyboard.press("Space")
    assert [float(cost) for cost in column(page, 10)] == [0, 1, 4, 10, 10, 10]


def test_classes_show_the_chosen_attack_and_source(page: Any, results: Results) -> None:
    page.locator("#class-attack").select_option(label="ds:10")
    page.locator("#class-source").select_option(label="net-1")
    clean = [results.class_iou("clean", None, t).to_numpy() for t in results.targets]
    values = [results.class_iou("ds:10", "net-1", t).to_numpy() for t in results.targets]
    for k, row in enumerate(cells(page.locator("table.classes"))):
        assert row[0] == results.classes[k]
        expected = [decimal(v[k]) + decimal(c[k]) for v, c in zip(values, clean, strict=True)]
        assert row[1:] == expected
    page.locator("#class-attack").select_option(label="pgd")
    assert page.locator("#class-source option:checked").inner_text() == "net-1"
    page.locator("#class-attack").select_option(label="noise")
    assert page.locator("#class-source option").all_inner_texts() == ["any source"]


def loaded(page: Any) -> None:
    page.wait_for_function(
        "() => [...document.querySelectorAll('#gallery img')].every(i => i.naturalWidth > 0)"
    )


def test_the_gallery_moves_by_arrows_slider_and_keys(page: Any, results: Results) -> None:
    name = page.locator("#image-name")
    seen = [name.inner_text()]
    assert page.locator("#gallery img").count() == 4 + 2 * len(results.targets)
    loaded(page)
    first = page.locator("#gallery img").first.get_attribute("src")
    page.locator("#next").click()
    seen.append(name.inner_text())
    assert page.locator("#gallery img").first.get_attribute("src") != first
    page.locator("#image").focus()
    page.keyboard.press("ArrowRight")
    seen.append(name.inner_text())
    page.keyboard.press("End")
    seen.append(name.inner_text())
    loaded(page)
    page.locator("#next").click()  # around
    assert name.inner_text() == seen[0]
    page.locator("#previous").click()
    assert name.inner_text() == seen[-1]
    assert [text.split(" of ")[0] for text in seen] == ["1", "2", "3", "6"]
    assert page.locator("#image").get_attribute("aria-valuetext") in seen[-1]


def test_the_gallery_shows_the_chosen_attack_and_source(page: Any) -> None:
    def adversarial() -> str:
        return page.locator("#gallery img").nth(1).get_attribute("src")

    shown = {adversarial()}
    for attack, source in (("noise", "any source"), ("pgd", "net-2"), ("ds:10", "net-2")):
        page.locator("#image-attack").select_option(label=attack)
        page.locator("#image-source").select_option(label=source)
        loaded(page)
        shown.add(adversarial())
        assert f"under {attack} on {source}" in page.locator("#gallery img").nth(1).get_attribute(
            "alt"
        )
    assert len(shown) == 4


def test_gallery_without_result_says_no_result(page: Any) -> None:
    page.locator("#image-attack").select_option(label="mi")
    page.locator("#image-source").select_option(label="net-0")
    assert page.locator("#gallery .none").all_inner_texts() == ["no result"]


def background(page: Any) -> int:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.strip("rgb()").split(","))


def test_dark_theme_follows_system_until_button_is_used(browser: Any, file: Path) -> None:
    with opened(browser, file, color_scheme="dark") as page:
        assert background(page) < 150
        assert page.locator("#theme").inner_text() == "Switch to light"
        page.locator("#theme").click()
        assert background(page) > 700
        assert page.locator("#theme").inner_text() == "Switch to dark"
        page.reload()
        page.wait_for_selector("html[data-ready]", state="attached")
        assert background(page) > 700
        text = page.locator("[data-chart] svg text").first
        assert text.evaluate("text => getComputedStyle(text).fill") == "rgb(90, 96, 107)"


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_page_at_any_width_has_no_horizontal_overflow(browser: Any, file: Path, width: int) -> None:
    with opened(browser, file, viewport={"width": width, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_table_wider_than_window_shows_hint(browser: Any, file: Path) -> None:
    with opened(browser, file, viewport={"width": 360, "height": 800}) as page:
        box = page.locator(".scroll").filter(has=page.locator(TABLE))
        hint = box.locator("xpath=preceding-sibling::p[@class='hint']").last
        assert hint.inner_text() == "This table scrolls sideways ↔"
        assert "more-right" in box.get_attribute("class")
        box.evaluate("box => box.scrollTo(box.scrollWidth, 0)")
        page.wait_for_selector(".scroll.more-left:not(.more-right) .sortable")
        page.set_viewport_size({"width": 1600, "height": 800})
        page.wait_for_selector(".scroll:not(.more-left) .sortable")
        assert hint.is_hidden()


@pytest.mark.parametrize("metric", metric_choices("miou"))
def test_a_strong_attack_is_dark_under_every_metric(page: Any, metric: str) -> None:
    choose(page, metric)

    def light(row: int) -> float:
        colour = (
            matrix(page, "pgd")
            .locator("tbody tr")
            .nth(row)
            .locator("td")
            .first.evaluate("cell => getComputedStyle(cell).backgroundColor")
        )
        return sum(map(float, colour.strip("rgb()").split(",")))

    assert light(2) < light(1) <= light(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_accessibility_is_broken(browser: Any, file: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(browser, file, color_scheme=scheme, reduced_motion="reduce") as page:
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
        behaviour = page.evaluate("getComputedStyle(document.documentElement).scrollBehavior")
        assert behaviour == "auto"


def test_every_control_shows_its_focus(page: Any) -> None:
    page.locator("body").click(position={"x": 2, "y": 2})
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        tag, outline = page.evaluate(
            """() => {
            const focused = document.activeElement;
            const drawn = focused.matches("input[type=radio]") ? focused.nextSibling : focused;
            return [focused.tagName, getComputedStyle(drawn).outlineStyle]; }"""
        )
        if tag == "BODY":
            break
        seen.add(tag)
        assert outline != "none", tag
    assert seen >= {"A", "BUTTON", "INPUT", "TD", "SELECT"}


def test_saved_parquet_equals_frame(page: Any, results: Results) -> None:
    with page.expect_download() as saving:
        page.get_by_role("link", name="results.parquet").click()
    assert saving.value.suggested_filename == "results.parquet"
    frame = pd.read_parquet(saving.value.path())
    pd.testing.assert_frame_equal(frame, results.frame(), check_exact=True)


def test_printed_page_is_unfolded_without_controls(page: Any) -> None:
    page.emulate_media(media="print")
    for selector in ("#theme", ".downloads", "#next", "nav"):
        assert page.locator(selector).is_hidden(), selector
    assert page.locator(".bar label:visible").all_inner_texts() == ["mIoU"]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_the_matrices_can_be_read(
    browser: Any, file: Path, results: Results
) -> None:
    with opened(browser, file, java_script_enabled=False) as page:
        assert page.locator("table.matrix").first.inner_text().count(".") > 5
        assert page.get_by_text("Without scripts this page shows mIoU only").is_visible()


def test_a_page_without_results_works(browser: Any, tmp_path: Path) -> None:
    with opened(browser, write_page(nothing_yet(), tmp_path / "report.html")) as page:
        for metric in metric_choices("miou"):
            choose(page, metric)
            assert cells(matrix(page, "pgd"))[1][1:] == 3 * [NOT_MEASURED]


def test_hostile_names_run_no_script(browser: Any, tmp_path: Path) -> None:
    results = renamed(made_up(ATTACKS[:3]), {"net-1": HOSTILE, "pgd": HOSTILE + "2"})
    failed = replace(results, failures={"key": f"Error: {HOSTILE}"})
    with opened(browser, write_page(failed, tmp_path / "report.html")) as page:
        choose(page, "drop")
        page.locator("table.matrix").nth(1).locator("td.cell").nth(4).hover()
        page.locator("#image-attack").select_option(index=1)
        page.locator("#image-source").select_option(index=1)
        page.locator("#class-attack").select_option(index=1)
        page.locator(f"{TABLE} thead button").first.click()
        page.locator("[data-chart] .mark-symbol path").first.hover(force=True)
        assert page.locator("img[src=x]").count() == 0
        assert HOSTILE in page.locator("#gallery").inner_text()
