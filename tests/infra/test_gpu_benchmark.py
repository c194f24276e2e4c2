"""The GPU benchmark: its judgements by hand-made results, and its CPU path on tiny images."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from segtransfer.tasks.batching import in_micro_batches
from tests.conftest import ROOT
from tests.tasks.cases import annotations, pictures, toy

FOLDER = ROOT / "infra/benchmarks"
WAYS = {
    "step, plain",
    "step, reference",
    "step, fold + channels_last",
    "step, fast",
    "evaluation, reference",
    "evaluation, fast",
}
TINY = """
import sys
import gpu
gpu.SETTINGS["cpu"] = gpu.Settings(1, (32, 48), 2, ("fcn-r18",), sys.argv[3:], (64, 64), 2, 1)
sys.argv = ["gpu.py", "--minutes", sys.argv[1], "--out", sys.argv[2]]
code = gpu.main()
print("imported:", sorted({"ray", "mlflow"} & set(sys.modules)))
sys.exit(code)
"""


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a module of the benchmarks, which import each other by their names alone."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(name)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module("gpu_checks", monkeypatch)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module("gpu_rows", monkeypatch)


def run_tiny(minutes: str, out: Path, *large: str) -> tuple[str, dict[str, Any]]:
    """Run the command without a GPU; return what it prints and its JSON."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(FOLDER)}
    command = [sys.executable, "-c", TINY, minutes, str(out), *large]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(out.read_text())


@pytest.mark.parametrize(
    "large", [None, pytest.param("pspnet-r50", marks=pytest.mark.slow)], ids=["zoo", "r50"]
)
def test_command_on_a_cpu_measures_every_row_without_ray_and_mlflow(
    large: str | None, tmp_path: Path
) -> None:
    networks = ["fcn-r18", *([large] if large else [])]
    printed, written = run_tiny("60", tmp_path / "gpu.json", *networks[1:])
    assert written["left_out"] == []
    assert "imported: []" in printed
    outcomes: dict[str, set[str]] = {}
    for row in written["rows"]:
        outcomes.setdefault(row["outcome"], set()).add(row["case"])
        assert f"| {row['case']} | {row['outcome']} |" in printed
        assert all(figure["name"] and figure["unit"] for figure in row["figures"])
    assert {"TF32 flags", "poisoned context", "halving on out-of-memory"} <= outcomes["needs CUDA"]
    assert len(outcomes["holds"]) == 6
    for name in networks:
        cases = [case for case in outcomes["measured"] if case.startswith(f"{name}, 1 of")]
        assert {case.partition(": ")[2] for case in cases} - {"step, torchattacks"} == WAYS
    assert set(outcomes) == {"holds", "measured", "needs CUDA"}


def test_command_without_time_leaves_out_every_row_and_names_it(tmp_path: Path) -> None:
    printed, written = run_tiny("0", tmp_path / "gpu.json")
    cases = [row["case"] for row in written["rows"]]
    assert written["left_out"] == cases
    assert printed.splitlines()[-2] == f"Left out for lack of time: {'; '.join(cases)}."


def test_parts_after_a_row_over_the_budget_are_left_out(
    rows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = module("gpu", monkeypatch)

    def needing(seconds: float) -> Callable[[Any], list[Any]]:
        def part(budget: Any) -> list[Any]:
            budget.need(seconds)
            return [rows.Row(f"{seconds} s", rows.MEASURED)]

        return part

    def broken(budget: Any) -> list[Any]:
        raise ValueError("no such layer")

    todo = [("a", needing(1)), ("b", broken), ("c", needing(1e9)), ("d", needing(1))]
    found = list(gpu.measured(iter(todo), rows.Budget(60)))
    assert [row.outcome for row in found] == ["measured", "fails", "left out", "left out"]
    assert found[1].note == "ValueError: no such layer"


def test_time_of_a_step_is_without_the_fixed_part_of_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ours takes 2 s per step and 10 s beside; plain takes 1 s per step and nothing beside."""
    speed = module("gpu_speed", monkeypatch)
    ours = {("ours", "long"): [20.0] * 5, ("ours", "short"): [12.0] * 5}
    plain = {("plain", "long"): [5.0] * 5, ("plain", "short"): [1.0] * 5}
    figures = speed.step_figures({**ours, **plain}, "ours", steps=5, images=3)
    assert {figure.name: figure.value for figure in figures} == {
        "step": 2000.0,
        "step / plain": 2.0,
        "whole call per step": 4000.0,
        "rate": 15 / 20,
    }


def test_model_stays_in_evaluation_mode_after_steps_of_torchattacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torchattacks")
    contenders, model = module("contenders", monkeypatch), toy("convolutional")
    images, labels = pictures(2, 16, 20), annotations(2, 16, 20, 3)
    batch = contenders.batch_of(images, labels, ("a", "b"), model)
    contenders.their_steps(model, batch, steps=1)()
    assert not any(part.training for part in model.modules())


@pytest.mark.parametrize(
    ("again", "after", "outcome"),
    [(0, 0, "holds"), (0, 1, "fails"), (2, 4, "holds"), (2, 5, "fails")],
)
def test_tf32_row_holds_up_to_twice_the_change_of_a_repetition(
    again: int, after: int, outcome: str, checks: ModuleType
) -> None:
    def computed(unequal: int) -> tuple[np.ndarray, np.ndarray]:
        images = np.zeros(100, np.uint8)
        images[:unequal] = 1
        return images, np.ones(3, np.float32)

    row = checks.tf32_row("", computed(0), computed(again), computed(after))
    assert row.outcome == outcome
    assert [figure.value for figure in row.figures] == [after, again, 0, 0]


def test_tf32_row_fails_if_only_logits_change(checks: ModuleType) -> None:
    images, logits = np.zeros(4, np.uint8), np.array([4.0, 1.0])
    row = checks.tf32_row("", (images, logits), (images, logits), (images, logits * [1, 2]))
    assert row.outcome == "fails"
    assert row.figures[2].value == 0.25


@pytest.mark.parametrize(
    ("room", "change", "outcome"),
    [(4, 0, "holds"), (8, 0, "fails"), (2, 0, "fails"), (4, 1, "fails")],
)
def test_halving_holds_after_one_halving_with_equal_results(
    room: int, change: int, outcome: str, checks: ModuleType
) -> None:
    """Memory suffices for ``room`` of eight images: enough, for half, for a quarter."""

    def attacked(micro_batch: int) -> np.ndarray:
        def work(part: slice) -> np.ndarray:
            if part.stop - part.start > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return np.arange(part.start, part.stop) + change

        return np.concatenate(in_micro_batches(work, 8, micro_batch))

    small = np.arange(8)
    assert checks.halved_row(attacked, 8, small, small).outcome == outcome


def test_attack_is_halved_under_the_limit_between_the_two_peaks(
    checks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image takes 100 bytes, so the limit for four images is between the peaks of two and four.

    The allocator of a CPU has no limit: a forward of too many images raises the error instead.
    """
    settings = module("gpu_rows", monkeypatch).Settings(4, (32, 48), 2, (), (), (64, 64), 2, 1)
    model, sizes = checks.load("fcn-r18"), list[int]()
    forward = type(model).logits

    def logits(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        if len(images) * 100 > limits[-1]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    def peak_of(call: Callable[[], object]) -> int:
        sizes.clear()
        call()
        return 100 * max(sizes)

    limits = [10**9]
    monkeypatch.setattr(type(model), "logits", logits)
    monkeypatch.setattr(checks, "peak_of", peak_of)
    monkeypatch.setattr(checks, "limit_memory", limits.append)
    (row,) = checks.halving_rows(settings)
    assert limits[1:] == [250]
    assert (row.outcome, row.figures[0].value) == ("holds", 0.0)


def test_child_without_a_gpu_answers_that_no_context_was_lost(
    checks: ModuleType, rows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "DEVICE", "cuda")  # of this process alone
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = checks.in_child("poisoned context", rows.Budget(60))
    assert [row.outcome for row in found] == ["fails", "fails"]
    assert found[0].note.startswith("IndexError: index 9 is out of bounds")
    assert found[1].note == "no error was raised"


def test_context_counts_as_recognised_only_with_an_error_of_the_device(checks: ModuleType) -> None:
    def lost() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered\nCompile with ...")

    def index() -> None:
        torch.zeros(1)[torch.tensor([9])]

    row = checks.recognised("assert", lost)
    assert (row.outcome, row.note) == (
        "holds",
        "RuntimeError: CUDA error: device-side assert triggered",
    )
    assert checks.recognised("assert", index).outcome == "fails"
    assert checks.recognised("assert", lambda: None).outcome == "fails"
