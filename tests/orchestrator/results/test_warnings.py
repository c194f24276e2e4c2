"""Warnings: each kind only if its condition holds, and the same list on every surface."""

import html
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli import app
from segtransfer.comparison.comparison import compare_results
from segtransfer.experiment.task import CLEAN
from segtransfer.reporting.folder import write_report
from segtransfer.reporting.html.page import draw_page
from segtransfer.reporting.places import report_folder
from segtransfer.reporting.terminal import print_results
from segtransfer.results import Results
from segtransfer.results.markdown import warning_sentences
from segtransfer.runtime.runner import carry_out
from segtransfer.store.rows import encode_rows, row_path
from segtransfer.tasks.data import shards
from segtransfer.tracking.experiments import log_results
from tests.orchestrator.results.warned import CLASSES, toy, warned_experiment, write_levels


def run(folder: Path, **changes: Any) -> Results:
    return carry_out(warned_experiment(folder, **changes))


def kinds(results: Results) -> list[str]:
    return [warning.kind for warning in results.warnings]


def sentences(results: Results) -> list[str]:
    return [warning.sentence for warning in results.warnings]


def only(results: Results, kind: str) -> str:
    (sentence,) = [w.sentence for w in results.warnings if w.kind == kind]
    return sentence


def data(folder: Path, labels: Callable[[np.ndarray], np.ndarray], **options: Any) -> Path:
    write_levels(folder / "data", labels=labels, **options)
    return folder


def nothing(classes: np.ndarray) -> np.ndarray:
    return np.full(classes.shape, 255)


def binary(classes: np.ndarray) -> np.ndarray:
    return np.where(classes > 0, 255, 0)


def attack(preset: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"preset": preset, "eps": "8/255", **fields}]


def mark_random(results: Results, *, source: bool = False) -> None:
    """Record in a stored report that the model is not deterministic."""
    cells = results.manifest.rows
    key = next(cell[5] if source else cell[4] for cell in cells if (cell[0] == CLEAN) is not source)
    row = results.store.row(key)
    assert row is not None
    marked = replace(row, report={**row.report, "deterministic": False})
    results.store.files.write(row_path(key), encode_rows([marked]))


def test_a_sound_experiment_has_no_warning(tmp_path: Path) -> None:
    assert run(tmp_path).warnings == ()


# One list on every surface -----------------------------------------------------------------------


def on_the_terminal(results: Results, width: int) -> list[str]:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_results(results, console)
    _, _, listed = console.export_text().partition("\nWarnings\n")
    assert all(len(line) <= width for line in listed.splitlines())
    return [" ".join(part.split()) for part in listed.split("  ! ")[1:]]


def on_the_page(text: str) -> list[str]:
    box = re.search(r'id="warnings">(.*?)</div>', text, re.DOTALL)
    return [] if box is None else [html.unescape(i) for i in re.findall("<li>(.*?)</li>", box[1])]


def in_markdown(text: str) -> list[str]:
    head, _, listed = text.partition("**Warnings**\n\n")
    assert not head
    return [line.removeprefix("- ") for line in listed.partition("\n\n")[0].splitlines()]


def in_mlflow(results: Results, client: MlflowClient) -> dict[str, list[str]]:
    (experiment,) = client.search_experiments(filter_string=f"name = '{results.name}'")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [r for r in runs if "segtransfer.attack" not in r.data.tags]
    file = client.download_artifacts(parent.info.run_id, "warnings.json")
    listed = json.loads(Path(file).read_text())["warnings"]
    assert parent.data.tags["segtransfer.warnings"] == str(len(listed))
    return {"file": listed, "note": in_markdown(parent.data.tags["mlflow.note.content"])}


def assert_everywhere(results: Results, client: MlflowClient, expected: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of numpy, of a mean over nothing
        write_report(results)
    log_results(results)
    shown = in_mlflow(results, client) | {
        "list": sentences(results),
        "attrs": results.frame().attrs["warnings"],
        "manifest": results.store.descriptions()[results.identity]["warnings"],
        "terminal": on_the_terminal(results, 80),
        "wide terminal": on_the_terminal(results, 200),
        "page": on_the_page((report_folder(results) / "report.html").read_text()),
        "summary": in_markdown((report_folder(results) / "summary.md").read_text()),
    }
    assert shown == dict.fromkeys(shown, expected)


CASES: dict[str, tuple[Callable[..., Results], list[str]]] = {
    "binary-0-255": (
        lambda folder: run(
            data(folder, binary, shown=(0, 1)),
            data={"folder": str(folder / "data"), "classes": ["background", "object"]},
            models=[toy("m", "constant", num_classes=2)],
            attacks=attack("noise"),
        ),
        ["unlabelled class", "clean mIoU near chance"],
    ),
    "zero-gradient": (
        lambda folder: run(folder, models=[toy("m", "rounded")]),
        ["zero gradient", "unchanged image"],
    ),
    "random-model": (lambda folder: run(folder, attacks=attack("noise")), ["random model"]),
}


@pytest.mark.parametrize("name", CASES)
def test_every_surface_shows_the_same_list_of_a_run_a_resumed_run_and_a_reopened_store(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient()
    make, expected = CASES[name]
    first = make(tmp_path)
    if name == "random-model":
        mark_random(first)
        first = make(tmp_path)
    assert [kind for kind in kinds(first) if kind != "ignored pixels"] == expected
    told = sentences(first)
    assert_everywhere(first, client, told)

    target = first.manifest.rows[-1][4]  # an evaluation that the run resumes with
    Path(first.store.location, row_path(target)).unlink()
    resumed = make(tmp_path)
    assert resumed.computed == 1
    assert_everywhere(resumed, client, told)

    (reopened,) = open_results(tmp_path / "store")
    assert_everywhere(reopened, client, told)


def test_the_command_shows_the_warning_of_binary_labels(tmp_path: Path) -> None:
    CASES["binary-0-255"][0](tmp_path)
    answer = CliRunner().invoke(app, ["report", str(tmp_path / "store")])
    assert answer.exit_code == 0, answer.output
    shown = " ".join(answer.output.split())
    assert "Class 'object' has no labelled pixel. The label value of 'object' is 1" in shown


# Each kind ---------------------------------------------------------------------------------------


@pytest.fixture
def planned_before_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data without a labelled pixel is refused by plans today; older stores hold its results."""
    monkeypatch.setattr(shards, "labelled_pixels", lambda shard: 1)


@pytest.mark.usefixtures("planned_before_refusals")
@pytest.mark.parametrize("preset", ["noise", "pgd"])
def test_data_without_labelled_pixels_has_no_measured_metric(preset: str, tmp_path: Path) -> None:
    results = run(data(tmp_path, nothing), attacks=attack(preset))
    assert "the ignored value" in only(results, "nothing labelled")
    frame = results.frame()
    metrics = frame.drop(columns=["attack", "source", "target", "group", "ssim", "high_frequency"])
    assert metrics.isna().all(axis=None)
    for metric in ("miou", "aacc", "macc", "wrong"):
        assert results.clean(metric).isna().all()
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_results(results, console)
    text = console.export_text()
    assert text.count("not measured") >= 3
    assert "0.0 (" not in text
    assert "not measured" in draw_page(results)


@pytest.mark.usefixtures("planned_before_refusals")
def test_group_without_pairs_differs_from_an_unmeasured_group(tmp_path: Path) -> None:
    results = run(data(tmp_path, nothing))
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_results(results, console)
    text = " ".join(console.export_text().split())
    assert "white-box (diagonal) not measured · same backbone no such pair" in text
    page = " ".join(re.sub("<[^>]*>", " ", draw_page(results)).split())
    assert "white-box (diagonal) not measured same backbone no such pair" in page


def test_a_missing_cell_makes_a_mean_not_measured_and_no_missing_pair(tmp_path: Path) -> None:
    results = run(tmp_path)
    assert results.headlines("pgd")["diagonal"] > 0
    partial = replace(results, counts={k: v for k, v in results.counts.items() if k[0] == CLEAN})
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_results(partial, console)
    assert "white-box (diagonal) not measured" in " ".join(console.export_text().split())


def test_several_classes_without_labels_are_named_and_counted(tmp_path: Path) -> None:
    classes = [*CLASSES, *(f"more-{number}" for number in range(9))]
    spec = {"folder": str(tmp_path / "data"), "classes": classes}
    write_levels(tmp_path / "data")
    results = run(tmp_path, data=spec, models=[toy("m", num_classes=12)])
    told = only(results, "unlabelled class")
    assert told.startswith("9 of 12 classes have no labelled pixel: 'more-0', 'more-1', ")
    assert "and 4 more" in told
    assert kinds(results) == ["unlabelled class"]


def test_class_predicted_without_labels_has_a_warning(tmp_path: Path) -> None:
    folder = data(tmp_path, lambda classes: np.where(classes == 2, 255, classes), count=4)
    results = run(folder)
    assert only(results, "unlabelled class").startswith("Class 'high' has no labelled pixel")
    assert "class only predicted" not in kinds(results)  # only ignored pixels are 'high'
    models = [toy("m", "constant", index=2), toy("n", gain=50.0)]
    told = only(run(folder, models=models), "class only predicted")
    assert told.startswith("Target m predicts 'high' without any labelled pixel, which adds an IoU")


@pytest.mark.parametrize(("rows", "expected"), [(8, False), (9, True), (15, True)])
def test_share_of_ignored_pixels_above_half_has_a_warning(
    rows: int, expected: bool, tmp_path: Path
) -> None:
    def some(classes: np.ndarray) -> np.ndarray:
        label = classes.copy()
        label[:rows] = 255
        return label

    results = run(data(tmp_path, some), attacks=attack("noise"))
    assert kinds(results) == ["ignored pixels"] * expected
    if expected:
        share = 100 * rows / 16
        assert only(results, "ignored pixels").startswith(f"Labels ignore {share:.3g} % of")


def test_a_constant_model_is_near_chance_and_has_classes_at_zero(tmp_path: Path) -> None:
    results = run(tmp_path, models=[toy("m", "constant", index=1), toy("n", gain=50.0)])
    assert "Target m has a clean mIoU of " in only(results, "clean mIoU near chance")
    told = only(results, "class at 0")
    assert told.startswith("Target m has a clean IoU of 0 for 'low' and 'high'")


def test_gradient_missing_on_some_images_has_a_warning(tmp_path: Path) -> None:
    results = run(tmp_path, models=[toy("m", "rounded", above=100)])  # images 3, 4 and 5
    # The red channel alone has a gradient: two thirds of the others' values are zero as well.
    share = f"{100 * (1 + 2 / 3) / 2:.3g} %"
    expected = f"The gradient on source m is zero at {share} of values under pgd, so "
    assert only(results, "zero gradient").startswith(expected)
    assert only(results, "unchanged image").endswith("clean images: 3 of 6 under pgd.")


def test_a_source_without_gradient_is_named_once_for_all_attacks(tmp_path: Path) -> None:
    attacks = [*attack("pgd", steps=4), *attack("mi", steps=4), *attack("noise")]
    results = run(tmp_path, attacks=attacks, models=[toy("m", "rounded"), toy("n")])
    told = only(results, "zero gradient")
    assert told.startswith("The gradient on source m is zero at 100 % of values under pgd and mi,")
    assert only(results, "unchanged image").endswith("clean images: 6 of 6 under pgd and mi.")
    assert warning_sentences(results, ["pgd"]) == sentences(results)
    assert warning_sentences(results, ["noise"]) == []


def test_an_eps_below_a_level_leaves_images_unchanged(tmp_path: Path) -> None:
    results = run(tmp_path, attacks=[{"preset": "noise", "eps": 0.002}])
    assert only(results, "unchanged image") == "AEs equal their clean images: 6 of 6 under noise."
    assert "far below eps" not in kinds(results)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"step_size": "1/255"}, "L-infinity of pgd is far below its eps of 8 levels"),
        ({"step_size": "4/255"}, None),
        ({"step_size": "4/255", "steps_at": [1, 2, 3]}, None),  # step 1 is meant to be small
        ({"norm": "l2", "step_size": "1/1000"}, "RMS of pgd is far below its eps of 8 levels"),
    ],
)
def test_perturbation_far_below_eps_has_a_warning(
    fields: dict[str, Any], expected: str | None, tmp_path: Path
) -> None:
    results = run(tmp_path, attacks=attack("pgd", steps=3, **fields))
    if expected is None:
        assert results.warnings == ()
    else:
        assert only(results, "far below eps").startswith(f"{expected}: a mean of ")


@pytest.mark.parametrize("source", [False, True])
def test_random_model_has_a_warning_as_source_and_as_target(source: bool, tmp_path: Path) -> None:
    results = run(tmp_path, models=[toy("m"), toy("n", gain=50.0)])
    assert "random model" not in kinds(results)  # reports without the field
    mark_random(results, source=source)
    again = run(tmp_path, models=[toy("m"), toy("n", gain=50.0)])
    assert again.computed == 0
    assert only(again, "random model").startswith("Model m is not deterministic")


def test_single_schedule_group_has_a_warning_and_no_verdict(tmp_path: Path) -> None:
    two = [*attack("pgd", steps=2), *attack("ds", steps=2)]
    results = run(tmp_path, attacks=two, models=[toy("m"), toy("n", gain=50.0)], schedule_groups=1)
    assert only(results, "one schedule group").startswith("One schedule group: no verdict")
    compared = compare_results(results, results, [("pgd", "ds")])
    assert "one schedule group: no verdict" in compared.verdict("ds")
    assert "noise" not in compared.verdict("ds")
    assert not compared.frame["beyond_noise"].any()
    assert any(note.startswith("Warning (A and B): One schedule group") for note in compared.notes)
    assert sentences(results)[-1] in on_the_page(draw_page(results))

    several = run(tmp_path, attacks=two, models=[toy("m"), toy("n", gain=50.0)], schedule_groups=4)
    assert "one schedule group" not in kinds(several)
    assert "no verdict" not in compare_results(several, several, [("pgd", "ds")]).verdict("ds")


def test_a_partial_experiment_without_any_result_has_no_warning(tmp_path: Path) -> None:
    results = run(tmp_path)
    assert replace(results, counts={}).warnings == ()


def test_eps_of_1_has_a_warning(tmp_path: Path) -> None:
    results = run(tmp_path, attacks=attack("noise", eps=1))
    assert "255 of 255 levels" in only(results, "unusual attack")
