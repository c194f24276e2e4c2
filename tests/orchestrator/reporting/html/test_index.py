"""The index of a store: what it lists, with which numbers, and how little breaks it."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from segtransfer.comparison import compare_results
from segtransfer.reporting.comparison import write_comparison
from segtransfer.reporting.entries import read_entries
from segtransfer.reporting.folder import write_report
from segtransfer.reporting.html.index import write_index
from segtransfer.reporting.places import is_current, report_folder
from segtransfer.results import Results
from segtransfer.results.text import cell
from tests.orchestrator.toy_experiments import run_toy

ATTACKS = [
    {"preset": "noise", "eps": "8/255"},
    {"preset": "pgd", "eps": "8/255", "steps": 2},
]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    """Two experiments of a store, the first with a report, and their comparison."""
    folder = tmp_path_factory.mktemp("index")
    both = [run_toy(folder, name=f"toys-{seed}", seed=seed, attacks=ATTACKS) for seed in (0, 1)]
    write_report(both[0])
    write_comparison(compare_results(*both, [("pgd", "pgd")]))
    return both


def text_of(results: Results) -> str:
    return re.sub(r"\s+", " ", write_index(results.store).read_text())


def test_the_index_links_to_reports_with_their_headline_numbers(reported: list[Results]) -> None:
    page = text_of(reported[0])
    first = reported[0]
    assert "2 experiments" in page
    assert "1 comparison" in page
    mean = first.headlines("pgd")["same_backbone"]
    drop = first.headlines("pgd", "drop")["same_backbone"]
    assert f"<dd>{cell(mean, drop)}</dd>" in page
    assert "6 images of" in page
    assert "eps 8/255" in page


def test_every_link_of_the_index_leads_to_a_file(reported: list[Results]) -> None:
    page = write_index(reported[0].store)
    links = re.findall(r'href="([^#"][^"]*)"', page.read_text())
    files = [link for link in links if not link.startswith("data:")]
    assert len(files) == 6
    assert all((page.parent / unquote(link)).is_file() for link in files)


def test_experiment_without_report_names_command(reported: list[Results]) -> None:
    page = text_of(reported[0])
    assert f"--experiment {reported[1].identity[:12]}" in page


@pytest.mark.parametrize("content", [b'{"spec": {"name"', b'{"format": 2, "spec": 3}', b"[]"])
def test_a_broken_experiment_is_listed_with_the_reason(
    reported: list[Results], content: bytes
) -> None:
    store = reported[0].store
    store.files.write("experiments/broken.json", content)
    try:
        page = text_of(reported[0])
        assert "3 experiments" in page
        assert '<p class="state">' in page
        assert "segtransfer report" in page  # of the sound one
        assert re.search(r"broken[^<]*(cannot be read|damaged or altered)", page)
    finally:
        store.files.delete("experiments/broken.json")


def test_report_of_deleted_or_damaged_experiment_names_state(tmp_path: Path) -> None:
    results = run_toy(tmp_path, attacks=ATTACKS[:1])
    write_report(results)
    path = f"experiments/{results.identity}.json"
    results.store.files.write(path, b"{")
    assert "cannot be read: run its experiment again" in text_of(results)
    results.store.files.delete(path)
    assert "deleted from the store" in text_of(results)


def test_hostile_names_and_damaged_entries_are_harmless(tmp_path: Path) -> None:
    results = run_toy(tmp_path, attacks=ATTACKS[:1])
    folder = write_report(results)
    entry = folder / "index-experiment.json"
    entry.write_text(entry.read_text().replace('"toys', '"<script>alert(1)</script>'))
    other = folder.with_name("other")
    other.mkdir()
    (other / "index-study.json").write_text("{")
    (other / "index-search.json").write_text('{"kind": "search", "files": {"x": "../../x"}}')
    assert len(list(read_entries(folder.parent))) == 1
    page = text_of(results)
    assert "<script" not in page


def test_a_report_of_an_older_version_is_drawn_again_for_the_index(
    reported: list[Results],
) -> None:
    assert is_current(reported[0])
    entry = report_folder(reported[0]) / "index-experiment.json"
    content = entry.read_text()
    entry.unlink()
    assert not is_current(reported[0])
    entry.write_text(content)


@pytest.mark.parametrize("name", [r'"\ud800"', '"a"'])
def test_index_with_invalid_name_or_date_is_written(name: str, tmp_path: Path) -> None:
    results = run_toy(tmp_path, attacks=["noise"])
    write_report(results)
    ((entry, path),) = read_entries(tmp_path / "store/reports")
    far = entry.model_copy(update={"when": "9999-12-31T23:59:59-10:00"})
    path.write_text(far.model_dump_json())
    (tmp_path / "store/experiments/other.json").write_text(f'{{"spec": {{"name": {name}}}}}')
    assert "2 experiments" in text_of(results)
