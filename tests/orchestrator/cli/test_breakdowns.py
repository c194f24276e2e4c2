"""The option ``--by`` of ``segtransfer report``: equal tables on all surfaces, and wrong input."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.results import Results
from tests.orchestrator.toy_experiments import run_toy

ALL = "class,size,boundary,image"
FILES = {"breakdowns.html", "breakdowns.md", "breakdowns.json"}
runner = CliRunner()


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.setenv("COLUMNS", "200")
    return run_toy(tmp_path, attacks=["noise", {"preset": "pgd", "eps": "8/255", "steps": 3}])


def written(results: Results) -> dict[str, str]:
    folder = Path(results.store.location, "reports")
    return {path.name: path.read_text() for path in folder.glob("*/breakdowns.*")}


def test_terminal_markdown_page_and_json_have_the_same_numbers(results: Results) -> None:
    said = runner.invoke(app, ["report", results.store.location, "--by", ALL])
    assert said.exit_code == 0, said.output
    files = written(results)
    assert set(files) == FILES
    content = json.loads(files["breakdowns.json"])
    assert [part["by"] for part in content["breakdowns"]] == ALL.split(",")
    assert content["experiment"]["identity"] == results.identity
    surfaces = [said.output, files["breakdowns.md"], files["breakdowns.html"]]
    for part in content["breakdowns"]:
        assert part["rows"] == json.loads(results.breakdown(part["by"]).to_json(orient="records"))
        for row in part["rows"]:
            for text in (row["part"], f"{row['pixels']:,}", f"{row['attacked']:.1f}"):
                assert all(text in surface for surface in surfaces), text
        for note in part["notes"]:
            assert note in said.output
    for surface in surfaces:
        assert surface.count("pgd, white-box (diagonal) (2 pairs)") == len(ALL.split(","))
        assert "mean over targets (2 targets)" in surface
    assert not re.findall(r"\bnan\b", " ".join(surfaces), re.IGNORECASE)


def test_breakdowns_are_written_only_on_request(results: Results) -> None:
    said = runner.invoke(app, ["report", results.store.location])
    assert said.exit_code == 0, said.output
    assert "By class" not in said.output
    assert written(results) == {}


def test_unknown_part_is_refused_with_the_allowed_names_before_a_store_is_read() -> None:
    said = runner.invoke(app, ["report", "no-store", "--by", "class,colour"])
    assert said.exit_code == 2
    told = " ".join(said.stderr.split())
    assert "--by 'colour' is unknown; allowed: boundary, class, image, size" in told
    assert "did you mean 'image'?" in runner.invoke(app, ["report", "x", "--by", "images"]).stderr


def test_experiment_without_results_of_attacks_is_named_and_hides_no_other(
    results: Results, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = run_toy(
        tmp_path / "other",
        name="other",
        seed=1,
        attacks=["noise"],
        runtime={"store": results.store.location},
    )
    for cell in results.manifest.cells:
        if cell.attack != "clean":
            results.store.files.delete(f"rows/{cell.key[:2]}/{cell.key}.parquet")
    said = runner.invoke(app, ["report", results.store.location, "--by", "class"])
    assert said.exit_code == 2
    told = " ".join(said.stderr.split())
    assert "experiment has no attack with all results in a pair group" in told
    assert "run the experiment again" in told
    (folder,) = Path(results.store.location, "reports").glob("*/breakdowns.html")
    assert other.name in folder.parent.name
