"""The page's content: its numbers are those of the results, and names stay names."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from segtransfer.experiment.manifest import Manifest
from segtransfer.reporting.folder import write_report
from segtransfer.reporting.html.estimates import metric_choices
from segtransfer.reporting.html.facts import decimal, failure_messages, interval_text
from segtransfer.reporting.html.gallery import GALLERY_BYTES, draw_gallery
from segtransfer.reporting.html.page import draw_page
from segtransfer.reporting.shading import shades
from segtransfer.results import Results
from segtransfer.results.text import NOT_MEASURED
from segtransfer.results.views import main_attacks, shown_groups
from segtransfer.statistics import Resampled, pairs_of
from tests.orchestrator.manifests import digest
from tests.orchestrator.reporting.html.made_up import made_up
from tests.orchestrator.reporting.html.reading import Page
from tests.orchestrator.toy_experiments import run_toy

ATTACKS: list[dict[str, Any]] = [
    {"preset": "noise", "eps": "8/255"},
    {"preset": "pgd", "eps": "8/255", "steps": 10},
    {"preset": "mi", "eps": "8/255", "steps": 10},
    {"preset": "ds", "eps": "8/255", "steps": 10, "steps_at": [1, 4, 10]},
]
BY_BACKBONE = ["net-0", "net-2", "net-1"]
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}"


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up(ATTACKS)


@pytest.fixture(scope="module")
def page(results: Results) -> Page:
    return Page(draw_page(results))


def test_matrices_hold_the_values_of_the_results(results: Results, page: Page) -> None:
    targets = sources = BY_BACKBONE
    for attack in results.attacks[1:]:
        backbones, head, clean, noise, *rows = page.table(attack).rows
        assert backbones[1:] == ["Backbone-0", "Backbone-1"]
        assert head == ["source model\u2009↓", *targets]
        assert clean == ["clean", *(decimal(v) for v in results.clean()[targets])]
        assert noise == ["noise", *map(decimal, results.matrix("noise")[targets].iloc[0])]
        matrix = results.matrix(attack)[targets]
        assert rows == [[source, *map(decimal, matrix.loc[source])] for source in sources]


def test_a_ratio_to_nothing_is_null_and_leaves_the_page_readable() -> None:
    """``JSON.parse`` of browsers refuses infinity and NaN, and then the whole page is dead."""
    results = made_up([{"preset": "pgd", "eps": "8/255", "steps": 10}])
    unmoved = {("pgd", "net-0", "net-0"): results.counts["clean", None, "net-0"]}
    page = Page(draw_page(replace(results, counts={**results.counts, **unmoved})))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    data = json.loads(page.scripts[0], parse_constant=refuse)
    ratios = data["figures"]["ratio"]
    assert None in ratios
    assert any(figures is not None for figures in ratios)
    assert None not in data["figures"]["drop"]


@pytest.mark.parametrize("metric", metric_choices("miou"))
def test_every_metric_is_in_page_data(results: Results, page: Page, metric: str) -> None:
    shown = page.data["figures"][metric]
    matrix = results.matrix("pgd", metric)
    sample = Resampled(results)
    places = cell_places(page, "pgd")[2 * len(results.targets) :]  # below clean and noise
    cells = [(s, t) for s in BY_BACKBONE for t in BY_BACKBONE]
    for place, (source, target) in zip(places, cells, strict=True):
        interval = sample.cell("pgd", source, target, metric)
        assert shown[place][0] == pytest.approx(matrix.loc[source, target], abs=0.0500001)
        assert shown[place][:3] == [
            pytest.approx(value, abs=0.0500001)
            for value in (interval.value, interval.low, interval.high)
        ]


def cell_places(page: Page, attack: str) -> list[int]:
    """The numbers of a matrix's cells, in the order of the page."""
    part = page.html.split(f"<strong>{attack}</strong>")[1].split("</table>")[0]
    return [int(piece.split('"')[0]) for piece in part.split('data-n="')[1:]]


def test_means_are_taken_per_kind_of_pair(results: Results, page: Page) -> None:
    sample = Resampled(results)
    table = next(table for table in page.tables if "Against pgd" in table.rows[0])
    row = next(row for row in table.rows if row[0] == "mi")
    for shown, group in zip(row[1:4], shown_groups(results), strict=True):
        interval = sample.mean("mi", pairs_of(results, group))
        value, low, high = map(decimal, (interval.value, interval.low, interval.high))
        assert shown == f"{value}{low} to {high}"
    difference = sample.difference("mi", "pgd", pairs_of(results, "cross_backbone"))
    assert row[4].startswith(decimal(difference.value, signed=True))


def test_only_differences_beyond_noise_are_marked() -> None:
    same = made_up([{"preset": "pgd", "name": name} for name in "abc"], images=24)
    counts = dict(same.counts)
    for source in same.sources:
        for target in same.targets:
            counts["b", source, target] = counts["a", source, target]
            counts["c", source, target] = counts["a", source, target].copy()
            counts["c", source, target][:, 0] //= 2  # fewer pixels are right
    html = draw_page(replace(same, counts=counts))
    table = next(t for t in Page(html).tables if "Against a" in t.rows[0])
    assert [row[4] for row in table.rows[1:3]] == ["–", "+0.0+0.0 to +0.0"]
    assert html.count('data-signed class="beyond"') == 1


def test_hostile_names_stay_text(results: Results) -> None:
    content = results.manifest.stored()
    manifest = results.manifest.changed(
        dataset=HOSTILE,
        classes=[HOSTILE, *content["classes"][1:]],
        spec=content["spec"] | {"name": HOSTILE},
        models=content["models"] | {HOSTILE: content["models"]["net-0"]},
    )
    failed = replace(results, manifest=manifest, failures={"key": f"Error: {HOSTILE}"})
    failed = replace(failed, image_ids=(HOSTILE, *results.image_ids[1:]))
    page = Page(draw_page(failed))
    assert "img" not in page.tags  # all are made by the page's script
    assert page.tags.count("script") == 3
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) >= 4
    assert "{{7*7}}" in page.text


def test_hostile_names_of_models_and_attacks_stay_text() -> None:
    results = renamed(made_up(ATTACKS[1:3]), {"net-1": HOSTILE, "mi": HOSTILE + "2"})
    page = Page(draw_page(results))
    assert "img" not in page.tags
    assert page.tags.count("script") == 3
    assert page.data["targets"][1] == HOSTILE
    assert page.table(HOSTILE + "2").rows[1][3] == HOSTILE


def renamed(results: Results, names: dict[str, str]) -> Results:
    """The results with other names of models and attacks, as another's store may hold them."""

    def new(value: Any) -> Any:
        if isinstance(value, dict):
            return {new(key): new(item) for key, item in value.items()}
        if isinstance(value, list):
            return [new(item) for item in value]
        return names.get(value, value) if isinstance(value, str) else value

    def keys(cells: Any) -> Any:
        return {tuple(map(new, cell)): value for cell, value in cells.items()}

    return replace(
        results,
        manifest=Manifest.model_validate(new(results.manifest.stored())),
        counts=keys(results.counts),
        fooled=keys(results.fooled),
    )


def test_page_requests_no_resource(page: Page) -> None:
    for tag, name, value in page.attributes:
        if name in ("src", "href", "action", "data", "poster", "srcset"):
            assert value.startswith(("data:", "#")), (tag, name, value[:80])
    policy = next(v for _, n, v in page.attributes if n == "content" and "default-src" in v)
    assert policy.startswith("default-src 'none'")


def test_the_parquet_in_the_page_is_the_frame(results: Results, page: Page) -> None:
    pd.testing.assert_frame_equal(page.frame(), results.frame(), check_exact=True)


def test_one_schedule_group_gives_no_verdict_on_a_difference() -> None:
    results = made_up(ATTACKS[1:3])
    page = " ".join(Page(draw_page(results)).text.split())
    assert ", within noise." in page.partition("The difference to pgd is")[2][:70]
    spec = {**results.manifest.spec, "schedule_groups": 1}
    judged = Page(draw_page(replace(results, manifest=results.manifest.changed(spec=spec))))
    told = " ".join(judged.text.split()).partition("The difference to pgd is")[2][:70]
    assert "one schedule group: no verdict" in told
    assert not any(
        figures and figures[3] for shown in judged.data["figures"].values() for figures in shown
    )


def test_missing_cells_are_not_measured_and_matrix_is_partial() -> None:
    results = made_up(ATTACKS[:3], missing=(("mi", "net-0", "net-2"),))
    page = Page(draw_page(results))
    rows = page.table("mi").rows
    assert rows[1][2] == "net-2"
    assert rows[4][:3] == ["net-0", rows[4][1], NOT_MEASURED]
    assert rows[4][3] != NOT_MEASURED
    assert "PARTIAL. 1 of 3 matrices lacks cells" in " ".join(page.text.split())
    table = next(table for table in page.tables if "Against pgd" in table.rows[0])
    means = {row[0]: row[1:4] for row in table.rows}
    assert NOT_MEASURED not in means["pgd"]
    # net-0 and net-2 share a backbone: only that mean is not known.
    assert [mean == NOT_MEASURED for mean in means["miPARTIAL"]] == [False, True, False]


def test_experiment_without_results_makes_page() -> None:
    page = Page(draw_page(nothing_yet()))
    assert {text for row in page.table("pgd").rows[3:] for text in row[1:]} == {NOT_MEASURED}
    # The AEs are stored, so their spectra are known.
    assert len(page.data["charts"]) == page.text.count("Radial spectrum") == 1
    assert "0 of 9 cells" in page.text


def nothing_yet() -> Results:
    """What a run leaves that was stopped after the clean images."""
    pairs = itertools.product(["pgd", "mi"], *2 * [["net-0", "net-1", "net-2"]])
    return made_up(ATTACKS[1:3], missing=tuple(pairs), pictures=False)  # type: ignore[arg-type]


def test_failed_tasks_are_listed_with_reason() -> None:
    results = made_up(ATTACKS[:2], missing=(("pgd", "net-0", "net-2"),))
    for key in results.missing:
        results.store.failures[key] = {"message": "Traceback\nValueError: too dark"}  # type: ignore[attr-defined]
    assert failure_messages(results) == [
        ("3 × ValueError: too dark", "Traceback\nValueError: too dark")
    ]
    assert "3 × ValueError: too dark" in Page(draw_page(results)).text


def test_failure_with_stored_result_is_not_listed(results: Results) -> None:
    key = results.manifest.rows[-1][4]
    store = replace(results.store, failures={key: {"message": "gone"}})  # type: ignore[type-var]
    assert failure_messages(replace(results, store=store)) == []


def test_six_by_six_by_eight_stay_under_five_megabytes() -> None:
    attacks = [{"preset": "pgd", "name": f"attack-{n}", "eps": "8/255"} for n in range(8)]
    results = made_up(attacks, sources=6, targets=6, classes=11, images=3, size=(120, 160))
    page = draw_page(results)
    gallery = Page(page).data["gallery"]
    assert len(page.encode()) < 5_000_000
    # Larger images, or more attacks, take no more than the budget either: they are made smaller.
    assert len(page.encode()) - len(json.dumps(gallery)) + GALLERY_BYTES < 5_000_000


def test_cells_of_a_large_matrix_have_no_interval_and_means_have(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtransfer.reporting.html.estimates.MOST_INTERVALS", 8)
    page = Page(draw_page(results))
    figures = page.data["figures"]["miou"]
    clean, cells = (np.array(cell_places(page, "pgd"))[part] for part in (slice(3), slice(6, 15)))
    assert all(figures[place][1] is not None for place in clean)
    cells = [figures[place] for place in cells]
    assert all(len(cell) == 1 for cell in cells)
    assert [value for (value,) in cells] == [
        round(float(v), 1)
        for v in results.matrix("pgd").loc[BY_BACKBONE, BY_BACKBONE].to_numpy().flat
    ]
    assert "Cells of matrices of more than 8 cells have no interval." in page.text


def test_pictures_of_many_models_are_of_some_and_the_page_says_so(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtransfer.reporting.pictured.MOST_TARGETS", 2)
    monkeypatch.setattr("segtransfer.reporting.pictured.MOST_SOURCES", 1)
    page = Page(draw_page(results))
    assert page.data["pictured"] == {"sources": ["net-0"], "targets": ["net-0", "net-1"]}
    for image in page.data["gallery"]:
        assert [prediction is not None for prediction in image["predictions"]] == [
            True,
            True,
            False,
        ]
    assert "pictures of 1 of 3 sources and 2 of 3 targets" in page.text


def test_the_gallery_takes_what_its_budget_allows(results: Results) -> None:
    everything = draw_gallery(results)
    assert len(everything) == 6
    size = len(json.dumps(everything))
    assert len(draw_gallery(results, budget=size * 2 // 3)) in (3, 4)
    tight = draw_gallery(results, budget=size // 4)
    assert len(json.dumps(tight)) < size // 3
    assert len(tight) in (2, 3)
    assert len(tight[0]["label"]) < len(everything[0]["label"])


def test_gallery_has_share_of_correct_pixels(results: Results) -> None:
    (shown, *_) = draw_gallery(results)
    shard = results.store.shard(results.manifest.shards[0])
    assert shard is not None
    key = digest(f"pgd|net-1|net-2|{shard.shard_id}")
    evaluation = results.store.evaluation(key)
    assert evaluation is not None
    counts = evaluation.confusions[0]
    place = main_attacks(results).index("pgd")
    _, share = shown["attacks"][place][1]["predictions"][2]
    assert share == round(100 * np.trace(counts) / counts.sum())


def test_gallery_without_stored_images_keeps_predictions() -> None:
    page = Page(draw_page(made_up(ATTACKS[:2], pictures=False)))
    assert page.data["gallery"][0]["attacks"][1][0]["image"] is None
    assert page.data["gallery"][0]["attacks"][1][0]["predictions"][0] is not None


def test_iterates_of_one_run_are_a_curve(results: Results, page: Page) -> None:
    curve = page.data["charts"][-1]
    rows = [row for rows in curve["datasets"].values() for row in rows]
    white_box = {
        row["step"]: row["value"]
        for row in rows
        if (row["metric"], row["pairs"]) == ("miou", "white-box (diagonal)")
    }
    assert white_box == {
        step: pytest.approx(results.headlines(f"ds:{step}")["diagonal"], abs=0.0500001)
        for step in (1, 4, 10)
    }


def test_last_raw_iterate_represents_attack(results: Results) -> None:
    assert main_attacks(results) == ["noise", "pgd", "mi", "ds:10"]
    scored = made_up([{"preset": "pgd", "scores": ["raw", "eps*sign"]}], images=2)
    assert main_attacks(scored) == ["pgd"]


def test_one_model_and_one_image_make_a_page() -> None:
    page = Page(draw_page(made_up(ATTACKS[1:2], sources=1, targets=1, images=1)))
    assert [row[0] for row in page.table("made on net-0").rows[1:]] == [
        "attack\u2009↓",
        "clean",
        "pgd",
    ]
    assert "no such pair" in page.text


def test_numbers_have_typographic_minus_and_intervals() -> None:
    assert decimal(-2.0) == "−2.0"
    assert decimal(2.0, signed=True) == "+2.0"
    assert interval_text((1.0, None, None, False)) == "1.0"
    assert interval_text((1.0, -0.5, 2.5, False)) == "1.0 (−0.5 to 2.5)"
    assert interval_text(None) == NOT_MEASURED


def test_text_on_every_shade_can_be_read() -> None:
    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        values = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    for shade, ink in shades():
        low, high = sorted((luminance(shade), luminance(ink)))
        assert (high + 0.05) / (low + 0.05) > 4.5


def test_the_report_folder_holds_the_page(tmp_path: Path) -> None:
    results = run_toy(tmp_path)
    page = Page((write_report(results) / "report.html").read_text())
    value = results.matrix("pgd").loc["a", "b"]
    assert page.table("pgd").rows[4][2] == decimal(float(value))
    assert not math.isnan(value)
