"""A wrong spec is told in one message: a line per wrong field, of bounded length and number."""

from typing import Any

import pytest

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.tasks.schema import Frozen, Whole
from segtransfer.tasks.spec_errors import MOST_LINES, validated


class Inner(Frozen):
    """A spec inside another."""

    low: Whole = 0


class Outer(Frozen):
    """A spec with a nested one."""

    name: str
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()


def lines(kind: type[Frozen], raw: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        validated(kind, raw, "mine.yaml")
    return str(caught.value).splitlines()


def test_a_wrong_model_preset_and_key_are_told_together() -> None:
    raw = {"data": "camvid", "models": ["fcn-r19"], "attacks": ["pdg"], "runtim": {}}
    told = lines(Experiment, raw)
    assert len(told) == 3
    for line, part in zip(told, ("fcn-r18", "pgd", "runtime"), strict=True):
        assert line.startswith("mine.yaml: ")
        assert f"did you mean '{part}'?" in line


def test_unknown_keys_at_every_depth_are_told_beside_wrong_values() -> None:
    told = lines(Outer, {"nam": "a", "inner": {"lo": 1}, "several": [{"low": "x"}, {"lw": 2}]})
    assert told == [
        "mine.yaml: field 'name' is missing; add it",
        "mine.yaml: field 'inner': unknown key 'lo': did you mean 'low'? Allowed: low",
        "mine.yaml: field 'several.0.low': 'x' is not a whole number; write an integer, without "
        "quotes, point and exponent (value: 'x')",
        "mine.yaml: field 'several.1': unknown key 'lw': did you mean 'low'? Allowed: low",
        "mine.yaml: unknown key 'nam': did you mean 'name'? Allowed: inner, name, several",
    ]


def test_all_wrong_fields_of_an_attack_are_told() -> None:
    attack = {"preset": "pdg", "epz": 1, "loss": "los", "restarts": 0, "momentum": {"mu": "k"}}
    told = "\n".join(lines(Experiment, {"data": "camvid", "models": [], "attacks": [attack]}))
    assert all(part in told for part in ("'pdg'", "'epz'", "'los'", "restarts", "momentum.mu"))


def test_wrong_steps_are_told_and_not_the_step_size_that_follows_from_them() -> None:
    raw = {"data": "camvid", "models": [], "attacks": [{"preset": "pgd", "steps": "x"}]}
    assert [line.split("'")[1] for line in lines(Experiment, raw)] == ["attacks.0.steps"]


def test_many_wrong_fields_and_long_values_are_cut() -> None:
    raw = {"name": "a", **{f"k{i}{'x' * 1000}": i for i in range(3 * MOST_LINES)}}
    told = lines(Outer, raw)
    assert len(told) == MOST_LINES + 1
    assert told[-1] == f"mine.yaml: and {2 * MOST_LINES} more wrong fields"
    assert max(map(len, told)) < 200


@pytest.mark.parametrize(
    ("raw", "short"),
    [
        ({"attacks": [{"preset": "pgd", "scores": [], "stepz": 3}]}, "attacks.0.scores"),
        ({"data": {"sample": "camvid", "classes": ["a"], "smaple": 1}}, "data.classes"),
        ({"attacks": [{"preset": "pgd", "transforms": [{"ds": {"scalse": 1}}]}]}, "transforms"),
    ],
)
def test_an_unknown_key_beside_another_wrong_field_takes_nothing_from_its_line(
    raw: dict[str, Any], short: str
) -> None:
    whole = {"data": "camvid", "models": ["fcn-r18"], "attacks": ["pgd"], **raw}
    told = lines(Experiment, whole)
    assert any("unknown key" in line and "did you mean" in line for line in told), told
    assert any(f"'{short}" in line or short in line for line in told), told
