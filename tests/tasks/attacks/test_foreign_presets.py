"""Presets and losses of a user's own, and of installed packages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.search_spaces.space import read_space
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.tasks.attacks.test_spec import STAGED, make
from tests.tasks.foreign import on_path, write_entry_points, write_module

CODE = '''
"""Parts of attacks."""

from segtransfer.extend import Preset, mean_labelled, reads_features

SLOW = Preset("as pgd, slowly", "ours", {"steps": 2, "step_size": "eps/8", "loss": "own_parts:up"})
ONCE = Preset("as fgsm", "ours", {"steps": 1, "step_size": "eps"})
WRONG = Preset("none", "ours", {"stps": 1})
NOTHING = {"steps": 1}


def up(logits, labels, context):
    """Return the mean logit."""
    return mean_labelled(logits.mean(1), labels)


@reads_features
def away(features, clean, context):
    """Return the distance of features."""
    return (features - clean).abs().mean((1, 2, 3)) + features.mean((1, 2, 3))
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_module(tmp_path, "own_parts", CODE)
    write_entry_points(
        tmp_path,
        "own_package",
        presets={"slow": "own_parts:SLOW", "wrong": "own_parts:WRONG"},
        losses={"up": "own_parts:up", "gone": "no_parts:up"},
    )
    with on_path(monkeypatch, tmp_path):
        yield tmp_path


def read(**fields: Any) -> AttackSpec:
    return AttackSpec.model_validate(fields)


def test_preset_equals_its_fields_written_out() -> None:
    own, written = read(preset="own_parts:SLOW"), read(preset="slow", name="SLOW")
    assert own == written
    assert (own.name, own.steps, own.step_size, own.loss) == (
        "SLOW", 2, pytest.approx(1 / 255), "own_parts:up",
    )  # fmt: skip
    fields = {"steps": 2, "step_size": "eps/8", "loss": "own_parts:up"}
    assert read(name="x", **fields).identity() == own.identity()
    assert read(preset="slow", steps=3).steps == 3


def test_a_preset_under_a_budget_has_the_budgets_steps() -> None:
    assert read(preset="slow", budget={"forward_equivalents": 5}).steps == 5
    with pytest.raises(ValidationError, match="always has steps: 1; leave the budget out"):
        read(preset="own_parts:ONCE", budget={"forward_equivalents": 5})


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("slw", "unknown preset 'slw'; did you mean 'slow'"),
        ("own_parts:NOTHING", "preset own_parts:NOTHING is no segtransfer.extend.Preset"),
        ("own_parts:no", "preset own_parts:no cannot be imported: AttributeError"),
        ("wrong", "unknown key 'stps'; did you mean 'steps'"),
    ],
)
def test_a_wrong_preset_is_refused(preset: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read(preset=preset)


def test_search_starts_from_a_users_preset() -> None:
    fields = {"steps": {"int": [1, 9]}}
    read_space({"name": "s", "fields": fields, "first": ["own_parts:SLOW", "slow"]})
    with pytest.raises(ValueError, match=r"first.0: unknown preset 'slwo'"):
        read_space({"name": "s", "fields": fields, "first": ["slwo"]})


def test_a_loss_has_the_same_result_under_both_names_and_another_key() -> None:
    one, other = read(preset="pgd", loss="own_parts:up"), read(preset="pgd", loss="up")
    assert one.identity() != other.identity()
    assert np.array_equal(make(STAGED, one).images, make(STAGED, other).images)


def test_users_feature_loss_reads_a_layer() -> None:
    spec = read(preset="pgd", steps=2, loss="own_parts:away", layer="backbone", transforms=["ds"])
    assert spec.step_cost == pytest.approx(2 * 13 / 12)
    assert not np.array_equal(make(STAGED, spec).images, make(STAGED, read(preset="pgd")).images)
    with pytest.raises(ValidationError, match="reads features, so a target has no effect"):
        read(preset="pgd", loss="own_parts:away", target={"every": 1})
    with pytest.raises(ValidationError, match="layer is for feature losses"):
        read(preset="pgd", loss="own_parts:up", layer="backbone")


def test_attacks_command_lists_entries_of_installed_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(app, ["attacks"])
    assert done.exit_code == 0, done.output
    for told in (
        "slow", "as pgd, slowly", "unknown key 'stps'", "Return the mean logit.", "own_parts:up",
        "loss no_parts:up cannot be imported", "S_{r_t}", "ssa", "fspgd",
    ):  # fmt: skip
        assert told in done.output, told


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ('{"steps": 6}, paper=["steps"]', "paper of a preset is a list; give a dict of fields"),
        ('{"steps": 6}, paper={"stepz": 3}', "paper of a preset has stepz; give only steps, step_"),
        ('{"steps": 6}, paper={"eps": 0.1}', "paper of a preset has eps; give only steps"),
        ('["steps"]', "fields of a preset is a list; give a dict of fields"),
        ('{"steps": 6}, paper={"steps": "x"}', "preset wrong_parts:BAD, schedule paper"),
        ('{"nope": 6}', "preset wrong_parts:BAD, schedule ours: unknown key 'nope'"),
    ],
)
def test_wrong_preset_of_a_users_own_is_refused_in_a_sentence(
    folder: Path, code: str, told: str
) -> None:
    module = f'from segtransfer.extend import Preset\nBAD = Preset("as pgd", "ours", {code})\n'
    write_module(folder, "wrong_parts", module)
    answer = CliRunner().invoke(app, ["attacks", "wrong_parts:BAD"], terminal_width=300)
    assert answer.exit_code == 2
    assert told in " ".join(answer.output.split())


def test_members_named_by_text_take_the_budget_of_their_attack(folder: Path) -> None:
    code = 'BEST = Preset("a", "b", {"worst_of": ["pgd", "js"]})'
    write_module(folder, "member_parts", f"from segtransfer.extend import Preset\n{code}\n")
    attack = read(preset="member_parts:BEST", budget=22)
    assert [member.steps for member in attack.worst_of] == [10, 10]
    assert [m.steps for m in read(preset="member_parts:BEST", steps=4).worst_of] == [4, 4]
