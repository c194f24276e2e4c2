"""``segtransfer leaderboard``: run, rank, page and document; entries of others; refused specs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.errors import InputError
from segtransfer.leaderboard import leaderboard_of, verify_file
from segtransfer.leaderboard.ranking import rank_attacks
from tests.orchestrator.leaderboard.boards import THREAT, toy_board, toy_models, written
from tests.orchestrator.toy_experiments import CLASSES, run_toy, toy, write_images

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaderboard")
    write_images(folder / "data", count=8)
    spec = {
        "data": {"folder": str(folder / "data"), "classes": CLASSES},
        "models": toy_models(),
        "threat": THREAT,
        "attacks": ["pgd", "mi", "ds", "noise"],
        "schedule_groups": 4,
        "shard_size": 2,
        "runtime": {"store": str(folder / "store"), "executor": "inline", "tracking": False},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(spec))
    return folder


def command(*words: str) -> Any:
    return runner.invoke(app, ["leaderboard", *words])


def test_command_ranks_writes_page_and_document_and_verifies(folder: Path) -> None:
    answer = command(str(folder / "mine.yaml"))
    assert answer.exit_code == 0, answer.output
    assert "Rank 1: " in answer.output
    assert "Not ranked: vt, a step costs 21" in " ".join(answer.output.split())
    (report,) = (folder / "store" / "reports").glob("mine-*")
    page = (report / "leaderboard.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    index = (report.parent / "index.html").read_text()
    assert f"{report.name}/leaderboard.html" in index
    checked = command("verify", str(report / "leaderboard.json"), "--store", str(folder / "store"))
    assert checked.exit_code == 0, checked.output
    assert "is sound: 4 attacks" in " ".join(checked.output.split())
    again = command("run", str(folder / "mine.yaml"))
    assert "Nothing to compute" in again.output


def test_verify_of_a_changed_document_exits_with_1(folder: Path, tmp_path: Path) -> None:
    path = written(toy_board(tmp_path, attacks=["pgd", "mi"]), tmp_path)
    path.write_text(path.read_text().replace('"rank": 1', '"rank": 2'))
    answer = command("verify", str(path))
    assert answer.exit_code == 1
    assert "has rank 2, but its counts give 1" in " ".join(answer.output.split())


def test_run_and_plan_take_the_same_spec(folder: Path) -> None:
    for verb in ("plan", "run"):
        answer = runner.invoke(app, [verb, str(folder / "mine.yaml")])
        assert answer.exit_code == 0, answer.output


def test_spec_without_a_threat_model_or_other_backbones_is_refused(folder: Path) -> None:
    answer = command(str(folder / "mine.yaml"), "threat=null")
    assert answer.exit_code == 2
    assert "has no threat model; add the field threat" in " ".join(answer.stderr.split())
    answer = command(str(folder / "mine.yaml"), "sources=[a]", "targets=[a, b]", "attacks=[pgd]")
    assert answer.exit_code == 2
    assert "no target of another backbone" in " ".join(answer.stderr.split())


def test_help_names_both_verbs() -> None:
    answer = command("--help")
    assert answer.exit_code == 0
    assert "verify" in answer.output
    assert "SPEC" in answer.output


def test_document_is_deterministic_but_for_the_order_of_the_spec(tmp_path: Path) -> None:
    one = toy_board(tmp_path, attacks=["pgd", "mi", "ds"]).record
    other = toy_board(tmp_path, attacks=["ds", "pgd", "mi"]).record
    assert one.attacks == other.attacks
    assert one.data == other.data


def test_ranks_follow_from_results_as_resampled_sees_them(tmp_path: Path) -> None:
    """The drops and their intervals are those of every other report."""
    from segtransfer.statistics import Resampled, pairs_of

    board = toy_board(tmp_path)
    sample = Resampled(board.results)
    pairs = pairs_of(board.results, "cross_backbone")
    for place in board.ranking.attacks:
        expected = sample.mean(place.name, pairs, "drop")
        assert place.drop.value == pytest.approx(expected.value, abs=1e-9)
        assert place.drop.low == pytest.approx(expected.low, abs=1e-9)
        assert place.drop.high == pytest.approx(expected.high, abs=1e-9)


def test_stronger_entry_of_files_is_ranked_first_and_verified(tmp_path: Path) -> None:
    """Others enter AEs as files: here the images of the best attack on the source."""
    own = toy_board(tmp_path, attacks=["mi"], sources=["a"]).results
    (tmp_path / "theirs").mkdir()
    for _, shard in own.reader().shards():
        assert shard is not None
        for made in own.reader().adversarial(shard.shard_id, shard):
            for name, image in zip(made.image_ids, made.images, strict=True):
                target = tmp_path / "theirs" / f"{name}.png"
                Image.fromarray(np.moveaxis(image, 0, 2)).save(target)
    entry = {"name": "theirs", "files": str(tmp_path / "theirs")}
    board = toy_board(tmp_path, attacks=["mi", entry], sources=["a"])
    drops = {place.name: place.drop.value for place in board.ranking.attacks}
    assert drops["theirs"] == pytest.approx(drops["mi"])
    path = written(board, tmp_path)
    assert str(tmp_path) not in path.read_text()
    assert verify_file(path, board.results.store.location).problems == ()


def test_preset_of_a_module_is_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "entered_presets.py").write_text(
        "from segtransfer.extend import Preset\n"
        "HALF = Preset('mi, half the momentum', 'theirs',"
        " {'steps': 20, 'step_size': 'eps/4', 'momentum': {'mu': 0.5}})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    board = toy_board(tmp_path, attacks=["mi", "entered_presets:HALF"])
    entry = next(attack for attack in board.record.attacks if attack.name == "HALF")
    assert entry.cost.planned == 4
    assert verify_file(written(board, tmp_path)).problems == ()


def test_attack_with_a_failed_task_has_no_rank_and_the_others_do(tmp_path: Path) -> None:
    write_images(tmp_path / "data", count=8, bright=3)
    failing = [*toy_models(), toy("d", "failing", seed=4) | {"backbone": "three"}]
    board = toy_board(
        tmp_path, models=failing, sources=["a", "d"], targets=["a", "c"], attacks=["pgd", "noise"]
    )
    assert [attack.name for attack in board.record.attacks] == ["noise"]
    assert "pgd" in board.record.left_out
    assert "cells have no result" in board.record.left_out["pgd"]


def test_results_without_a_whole_attack_are_refused(tmp_path: Path) -> None:
    results = run_toy(tmp_path, models=toy_models(), attacks=["pgd"], threat=THREAT)
    partial = {cell: counts for cell, counts in results.counts.items() if cell[0] == "clean"}
    from dataclasses import replace

    with pytest.raises(InputError, match="no attack with results on all pairs"):
        leaderboard_of(replace(results, counts=partial))
    with pytest.raises(InputError, match="lacks clean scores"):
        leaderboard_of(replace(results, counts={}))


def test_resamples_change_intervals_but_no_value(tmp_path: Path) -> None:
    scores = toy_board(tmp_path).record.scores()
    one, other = (rank_attacks(scores, resamples=500, seed=seed) for seed in (0, 1))
    values = [
        {place.name: place.drop.value for place in ranking.attacks} for ranking in (one, other)
    ]
    assert values[0] == values[1]


def test_document_is_json_with_a_line_per_image(tmp_path: Path) -> None:
    path = written(toy_board(tmp_path), tmp_path)
    content = json.loads(path.read_text())
    assert content["schema"] == 1
    row = content["data"]["labelled"][0]
    assert f"[{','.join(map(str, row))}]" in path.read_text()
