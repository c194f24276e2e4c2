"""Which fields of an attack a search may name, and an attack as a mapping of paths."""

import pytest

from segtransfer.errors import InputError
from segtransfer.search_spaces.paths import FIXED, PARTS, PATHS, attack, expand, flatten, part_of
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.search_spaces.cases import PGD


def test_every_field_of_an_attack_is_searchable_or_has_a_reason() -> None:
    heads = {path.partition(".")[0] for path in PATHS}
    assert heads | set(FIXED) == set(AttackSpec.model_fields)
    assert not heads & set(FIXED)


def test_a_path_survives_ray_tune_which_splits_at_slashes() -> None:
    assert not [path for path in PATHS if "/" in path]


def test_a_transform_is_named_by_its_kind() -> None:
    assert {"transforms.ds", "transforms.ds.low", "momentum.mu", "step_size"} <= set(PATHS)
    assert not [path for path in PATHS if path.endswith(".kind")]
    assert part_of("transforms.ds.low") == "transforms.ds"
    assert part_of("momentum.mu") == "momentum"
    assert part_of("transforms.ds") is part_of("step_size") is None


def test_derived_fields_stay_as_written() -> None:
    assert expand(PGD, "base") == {"steps": 20, "step_size": "eps/4", "eps": "4/255"}
    under_budget = expand({**PGD, "budget": 10}, "base")
    assert under_budget["step_size"] == "eps/4 at least eps/steps"
    assert "steps" not in under_budget


def test_a_field_given_beside_a_preset_wins() -> None:
    flat = expand({"preset": "mi", "momentum": {"nesterov": True}, "steps": 3}, "base")
    assert flat["momentum.nesterov"] is True
    assert "momentum.mu" not in flat
    assert flat["steps"] == 3


@pytest.mark.parametrize("short", ["ti", {"ti": {}}, {}, {"kind": "ti"}])
def test_every_way_to_write_smoothing_is_read(short: object) -> None:
    assert flatten({"smoothing": short}) == {"smoothing": True}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_survives_as_paths(preset: str) -> None:
    spec = AttackSpec.model_validate({"preset": preset})
    assert attack(expand(preset, "base"), "x", "x").identity() == spec.identity()
    assert attack(flatten(spec.model_dump()), "x", "x").identity() == spec.identity()


def test_fields_of_a_part_that_is_off_are_ignored() -> None:
    flat = {"momentum": False, "momentum.mu": 0.5, "transforms.ds": False, "transforms.ds.low": 1}
    made = attack(flat, "x", "x")
    assert made.momentum is None
    assert made.transforms == ()


def test_a_wrong_base_attack_is_a_sentence() -> None:
    with pytest.raises(InputError, match=r"^base attack: unknown preset 'pdg': did you mean 'pgd'"):
        expand("pdg", "base attack")
    with pytest.raises(
        InputError, match=r"^base attack: field 'eps': eps is a fraction of .* did you mean 3/255"
    ):
        expand({"preset": "pgd", "eps": 3}, "base attack")


def test_every_part_is_a_typed_spec() -> None:
    for path, model in PARTS.items():
        assert model()
        assert path.removeprefix("transforms.") in (path, model().model_dump().get("kind"))
