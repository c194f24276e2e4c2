"""What the attack would refuse is refused before anything starts."""

from typing import Any

import pytest

from segtransfer.errors import InputError
from segtransfer.search_spaces import check
from tests.search_spaces.cases import PGD, space

ON = {"switch": True}


def message(fields: dict[str, Any], *first: str, **base: Any) -> str:
    with pytest.raises(InputError) as caught:
        check(space(fields, *first), PGD | base)
    return str(caught.value)


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "an end that is too high": (
        {"momentum.mu": {"float": [0.5, 3]}},
        {},
        ["'momentum.mu' offers 3.0", "give 2 or less"],
    ),
    "an end that is too low": (
        {"momentum": ON, "momentum.mu": {"float": [-1, 1]}},
        {},
        ["'momentum.mu' offers -1.0", "momentum=true", "give 0 or more"],
    ),
    "numbers between whole ones": (
        {"steps": {"float": [1, 9]}},
        {},
        ["'steps' offers 1.0", "integer"],
    ),
    "an even kernel": (
        {"smoothing.kernel": {"int": [3, 11]}},
        {},
        ["'smoothing.kernel' offers 4", "its width is odd"],
    ),
    "an unknown choice": (
        {"transforms.ds.law": {"choice": ["uniform", "normal"]}},
        {},
        ["'transforms.ds.law' offers normal", "'log-uniform'"],
    ),
    "a choice of null": (
        {"loss": {"choice": ["js", None]}},
        {},
        ["'loss' offers null", "give text, in quotes"],
    ),
    "an unknown loss": (
        {"loss": {"choice": ["segpgd", "sgpgd"]}},
        {},
        ["'loss' offers sgpgd", "did you mean 'segpgd'?"],
    ),
    "a step size in other words": (
        {"step_size": {"choice": ["eps/4", "eps/T"]}},
        {},
        ["'step_size' offers eps/T", "eps/steps"],
    ),
    "a choice behind its conditions": (
        {
            "transforms.ds": ON,
            "transforms.ds.law": {"choice": ["uniform", "discrete"]},
            "transforms.ds.levels": {"int": [1, 9], "when": {"transforms.ds.law": "discrete"}},
        },
        {},
        ["'transforms.ds.levels' offers 1", "transforms.ds.law=discrete", "give 2 or more"],
    ),
    "restarts that are all the same": (
        {"restarts": {"choice": [1, 2]}},
        {},
        ["'restarts' offers 2", "start: uniform"],
    ),
    "values that do not go together": (
        {"transforms.di.low": {"float": [1, 1.3]}, "transforms.di.high": {"float": [1.2, 1.4]}},
        {},
        ["transforms.di.low=1.3, transforms.di.high=1.2", "below low", "narrow the space"],
    ),
    "steps beside a budget": (
        {"steps": {"int": [1, 9]}},
        {"budget": 10},
        ["'steps'", "has a budget", "leave the budget out of the base attack, or steps out"],
    ),
    "a step that the budget does not buy": (
        {"transforms.ds.scales": {"int": [1, 9]}},
        {"budget": {"forward_equivalents": 6}},
        ["'transforms.ds.scales' offers 9", "a step costs 9.75", "leaves 6"],
    ),
    "a wrong base attack": (
        {"momentum": ON},
        {"preset": "pdg"},
        ["base attack", "unknown preset 'pdg'", "did you mean 'pgd'?"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_value_is_named_with_field_and_reason(case: str) -> None:
    fields, base, parts = WRONG[case]
    text = message(fields, **base)
    assert all(part in text for part in parts), text
    assert len(text.splitlines()) == 1, text
    assert "pydantic" not in text


def test_every_value_that_is_refused_is_reported_at_once() -> None:
    fields = {"momentum.mu": {"float": [0.5, 3]}, "smoothing.sigmas": {"float": [-1, 3]}}
    lines = message(fields).splitlines()
    assert ["momentum.mu" in lines[0], "smoothing.sigmas" in lines[1]] == [True, True]
    assert len(lines) == 2


def test_points_that_the_space_cannot_make_are_refused() -> None:
    assert "preset 'segpgd'" in message({"momentum": ON}, "segpgd")


def test_files_made_elsewhere_leave_nothing_to_search(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="finished AEs, without anything to search"):
        check(space({"momentum": ON}), {"name": "made", "files": str(tmp_path)})


@pytest.mark.parametrize(
    "fields",
    [
        {"smoothing.kernel": {"int": [3, 11], "step": 2}},
        {"transforms.di.low": {"float": [1.05, 1.2]}, "transforms.di.high": {"float": [1.2, 1.4]}},
        {"layer": {"choice": [None]}, "start": {"choice": ["clean", "uniform"]}},
        {
            "start": {"choice": ["clean", "uniform"]},
            "restarts": {"int": [1, 3], "when": {"start": "uniform"}},
        },
    ],
    ids=["odd kernels", "ends beyond the default of another field", "null", "a condition"],
)
def test_accepted_values_of_an_attack_pass_the_check(fields: dict[str, Any]) -> None:
    check(space(fields), PGD)
