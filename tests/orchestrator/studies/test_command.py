"""``segtransfer study``: every study on toys, again from the store, and refused bases."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.studies import CLAIMS, STUDIES
from tests.orchestrator.toy_experiments import toy, toy_spec, write_images

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toys of two backbones and two heads, with a store for all studies."""
    folder = tmp_path_factory.mktemp("study")
    write_images(folder / "data", count=4, size=(24, 32))
    families = [("a", "one"), ("b", "one"), ("c", "two")]
    networks = [
        toy(name, "staged", seed=seed) | {"backbone": backbone}
        for seed, (name, backbone) in enumerate(families)
    ]
    content: dict[str, Any] = toy_spec(
        folder,
        models=networks,
        attacks=[{"preset": "pgd", "eps": "8/255", "steps": 6}],
        schedule_groups=1,
        shard_size=4,
    )
    heads = {"a": "flat", "b": "pyramid", "c": "flat"}
    content["study"] = {"twins": [["a", "b"]], "heads": heads}
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    return folder


def study(folder: Path, *arguments: str) -> Any:
    name, *overrides = arguments
    return runner.invoke(app, ["study", name, str(folder / "mine.yaml"), *overrides])


@pytest.mark.parametrize("name", STUDIES)
def test_study_writes_a_figure_a_paragraph_and_numbers(name: str, folder: Path) -> None:
    # Scales scores each AE on every source at five scales: two sources are half of the tasks.
    sources = ["sources=[a, c]"] if name == "scales" else []
    answer = study(folder, name, *sources, "--no-tracking")
    assert answer.exit_code == 0, answer.output
    shown = " ".join(answer.output.split())
    assert STUDIES[name].question in shown
    assert "On 4 images of data, " in shown
    (report,) = (folder / "store" / "reports").glob(f"mine-{name}-*")
    with Image.open(report / "study.png") as picture:
        assert min(picture.size) > 200
    assert (report / "study.png").stat().st_size < 150_000
    written = (report / "study.md").read_text()
    assert "One schedule group: no verdict." in written
    assert not any(f" {claim} " in written for claim in CLAIMS)
    assert json.loads((report / "study.json").read_text())["facts"]["images"] == 4


def test_more_schedule_groups_give_verdicts_on_claims(folder: Path) -> None:
    answer = study(folder, "heads", "schedule_groups=2", "--no-tracking")
    assert answer.exit_code == 0, answer.output
    assert all(f" {claim} " in answer.output for claim in ("A3", "A4", "A6"))
    assert "One schedule group: no verdict" not in answer.output
    assert "no verdict of cause: one training per arm" in " ".join(answer.output.split())


def test_second_run_of_a_study_computes_nothing(folder: Path) -> None:
    first, second = (study(folder, "heads", "--no-tracking") for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert "Nothing to compute" in second.output


def test_overrides_reach_the_base(folder: Path) -> None:
    answer = study(folder, "heads", "attacks.0.eps=2/255", "data.images=2", "--no-tracking")
    assert "On 2 images of data, eps 2/255, 6 forward equivalents per attack" in " ".join(
        answer.output.split()
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["head"], "unknown study 'head'; did you mean 'heads'"),
        (["heads", "study.heads={}"], "The kind of head of a, b, c is unknown"),
        (["twins", "study={}"], "Study twins needs pairs of networks"),
        (
            ["eps", "sources=[a]", "targets=[a]"],
            "a is the only source and the only target.",
        ),
        (["eps", "atacks=1"], "did you mean 'attacks'"),
    ],
)
def test_impossible_study_ends_with_code_2_and_a_message(
    arguments: list[str], told: str, folder: Path
) -> None:
    answer = study(folder, *arguments, "--no-tracking")
    assert answer.exit_code == 2
    assert told in " ".join(answer.stderr.split())


def test_a_study_with_a_failed_task_has_no_paragraph(folder: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "bright", bright=2)
    answer = study(
        folder,
        "heads",
        f"data.folder={tmp_path / 'bright'}",
        "models.1.torch={callable: 'tests.toys:failing', arguments: {seed: 2}}",
        "--no-tracking",
    )
    assert answer.exit_code == 1
    assert "this toy fails on bright corners" in answer.stderr
    assert "This " not in answer.output
