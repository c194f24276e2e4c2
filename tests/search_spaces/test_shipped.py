"""The spaces that ship: they read, they check, and all that they propose is an attack."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from segtransfer.errors import InputError
from segtransfer.search_spaces import (
    attack_of,
    check,
    first_points,
    point_of,
    read_space,
    space_names,
    suggest_point,
)
from segtransfer.search_spaces.space import SHIPPED
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.search_spaces.cases import PGD

optuna.logging.set_verbosity(optuna.logging.WARNING)

BUDGET = {**PGD, "budget": {"forward_equivalents": 20}}
BASES = {"steps": PGD, "budget": BUDGET, "small eps": {**PGD, "eps": "2/255"}}
CASES = [
    pytest.param(name, base, id=f"{name}, {which}")
    for name in space_names()
    for which, base in BASES.items()
    if not (base is BUDGET and "steps" in read_space(name).fields)
]


def test_shipped_spaces_are_listed() -> None:
    shipped = {"composition", "dynamic-scaling", "momentum", "quickstart", "step-size"}
    assert shipped <= set(space_names())


@pytest.mark.parametrize(("name", "base"), CASES)
def test_every_space_reads_and_checks(name: str, base: dict[str, Any]) -> None:
    read = read_space(name)
    assert read.name == name
    assert read.about
    assert read.first
    check(read, base)


@pytest.mark.parametrize(("name", "base"), CASES)
def test_enqueued_point_equals_the_proposal(name: str, base: dict[str, Any]) -> None:
    read, study = read_space(name), optuna.create_study()
    points = first_points(read, base)
    assert points
    for point in points:
        study.enqueue_trial(point)
    assert [suggest_point(read, study.ask()) for _ in points] == points


@pytest.mark.parametrize(("name", "base"), CASES)
def test_enqueued_preset_gives_its_attack(name: str, base: dict[str, Any]) -> None:
    read = read_space(name)
    for preset in (first for first in read.first if isinstance(first, str)):
        (point,) = first_points(read.model_copy(update={"first": (preset,)}), base)
        wanted = AttackSpec.model_validate({**base, "preset": preset})
        assert attack_of(read, base, point, "x").identity() == wanted.identity()


@pytest.mark.parametrize(("name", "base"), CASES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_every_proposal_is_an_attack_and_is_found_again(
    name: str, base: dict[str, Any], seed: int
) -> None:
    read = read_space(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(3):
        point = suggest_point(read, study.ask())
        assert not [path for path in point if path not in read.fields]
        assert json.loads(json.dumps(point)) == point
        made = attack_of(read, base, point, "trial")
        again = point_of(read, base, made)
        # Two choices may mean the same here: it is the attack that must come back.
        assert attack_of(read, base, again, "trial").identity() == made.identity()
        assert list(again) == list(point)
        numbers = {path: value for path, value in point.items() if isinstance(value, float)}
        assert {path: again[path] for path in numbers} == pytest.approx(numbers)


def test_the_search_of_dynamic_scaling_covers_the_axes_of_the_science() -> None:
    fields = read_space("dynamic-scaling").fields
    assert set(fields["transforms.ds.law"].choice or ()) == {"uniform", "log-uniform", "discrete"}
    assert set(fields["transforms.ds.handling"].choice or ()) == {"whole", "native", "back"}
    assert set(fields["transforms.ds.antialias"].choice or ()) == {False, True}
    assert set(fields["label_version"].choice or ()) == {"logits", "labels"}
    assert fields["transforms.ds.scales"].int == (1, 5)
    lows, widths = fields["transforms.ds.low"].float, fields["transforms.ds.width"].float
    assert lows is not None
    assert widths is not None
    for low, high in ((0.9, 1.1), (0.5, 1.5), (0.5, 2), (0.75, 1.25)):
        assert lows[0] <= low <= lows[1]
        assert widths[0] <= round(high - low, 9) <= widths[1]


def test_the_search_of_the_step_size_covers_the_axes_of_the_science() -> None:
    fields = read_space("step-size").fields
    assert {"1/255", "2/255", 0.01, "eps/steps"} <= set(fields["step_size"].choice or ())
    assert fields["steps"].int == (1, 100)


def test_the_composition_switches_every_partner_of_dynamic_scaling() -> None:
    fields = read_space("composition").fields
    partners = ("transforms.ds", "transforms.di", "transforms.flip", "transforms.si",
                "transforms.sia", "momentum", "smoothing", "variance")  # fmt: skip
    assert all(fields[part].switch for part in partners)
    assert "momentum.nesterov" in fields


def test_a_search_of_steps_refuses_a_budget() -> None:
    with pytest.raises(InputError, match="has a budget"):
        check(read_space("step-size"), BUDGET)


def test_the_quickstart_has_few_dimensions() -> None:
    assert len(read_space("quickstart").fields) <= 6


def readme_block(start: str, end: str) -> str:
    readme = (SHIPPED / "README.md").read_text()
    return readme[readme.index(start) : readme.index(end, readme.index(start))]


def test_the_readme_shows_a_space_that_checks() -> None:
    block = readme_block("    name: my-space", "\n\n## The rules")
    check(read_space(yaml.safe_load(block)), BUDGET)


def test_the_readmes_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_space.yaml").write_text(readme_block("    name: my-space", "\n\n## The rules"))
    monkeypatch.chdir(tmp_path)
    code = readme_block("from segtransfer.search_spaces import", "```")
    study = optuna.create_study()
    exec(code, {"study": study})
    assert study.trials


@pytest.mark.parametrize(
    "name", ["quickstart", "dynamic-scaling", "step-size", "momentum", "composition"]
)
def test_the_readme_lists_every_space(name: str) -> None:
    assert f"| `{name}` |" in readme_block("## The shipped spaces", "## Your own")
