"""The verb ``segtransfer attacks``: all presets, a part of them, or one whole."""

import pytest
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.tasks.attacks.presets import PRESETS

runner = CliRunner()


def answer(*arguments: str) -> tuple[int, str]:
    result = runner.invoke(app, ["attacks", *arguments], terminal_width=200)
    return result.exit_code, " ".join(result.output.split())


def test_one_preset_has_both_schedules_cost_and_labels() -> None:
    code, told = answer("ds-mi")
    assert code == 0
    assert "rule g as ds" in told
    assert "source ours" in told
    assert "schedule: ours 20 steps of eps/4 from the clean image; momentum 1" in told
    assert "schedule: paper as ours" in told
    assert "cost 1.08 forwards per step, 21.7 per image" in told
    assert "labels follow the content, moved by ds" in told


def test_the_schedule_of_the_source_is_told_with_its_eps() -> None:
    _, told = answer("mi")
    paper = "10 steps of eps/10 from the clean image; momentum 1 (in the source: eps 16/255)"
    assert f"schedule: paper {paper}" in told
    assert "schedule: paper not known" in answer("ds")[1]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("pgd", "the image's own, in place"),
        ("noise", "not read"),
        ("admix", "those of the image itself, not of the images mixed in"),
        ("anda", "follow the content, moved by anda"),
        ("ds-flip-mi", "follow the content, moved by ds and flip"),
        ("fspgd", "not read by the steps, whose loss reads features"),
    ],
)
def test_labels_follow_from_the_parts_of_the_attack(name: str, labels: str) -> None:
    assert f"labels {labels}" in answer(name)[1]


def test_a_text_lists_the_presets_that_have_it_in_name_rule_or_source() -> None:
    code, told = answer("cvpr 2021")
    assert code == 0
    assert "vt" in told
    assert "VMI" in told
    assert "ds-tuned" not in told


def test_a_text_of_no_preset_is_refused_in_a_sentence() -> None:
    code, told = answer("svree")
    assert code == 2
    assert "no preset has 'svree' in its name, rule or source; did you mean 'svre'?" in told


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_told_whole(name: str) -> None:
    code, told = answer(name)
    assert code == 0
    for head in ("rule", "source", "fields", "schedule: ours", "schedule: paper", "cost", "labels"):
        assert head in told
